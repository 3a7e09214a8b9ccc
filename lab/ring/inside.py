"""What the ring does in a guest: hold workloads still, then photograph, between two looks of other witnesses.

Nothing is compared here. A round counts when the guest was quiet by the kernel's own word: /proc/buddyinfo
reads the same before and after. Run as ``python3 -m lab.ring.inside`` with a plan in ``$LAB_OUT/plan.json``.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import mmap
import os
import platform
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lab.quiet import calm, refresh, settle
from lab.ring import NR_ROUNDS
from lab.workloads import hold
from vmprobe.collect import Options, take
from vmprobe.store import write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmprobe.tables import Snapshot


OUT: Final = Path(os.environ.get("LAB_OUT", "."))
TEXTS: Final = ("buddyinfo", "zoneinfo", "vmstat", "meminfo", "pagetypeinfo", "iomem")
TASK_TEXTS: Final = ("maps", "smaps_rollup", "statm", "numa_maps")
FRAME_FILES: Final = ("kpageflags", "kpagecount")
MAX_ATTEMPTS: Final = 16
PIECE_BYTES: Final = 1 << 20


class Witness:
    """Frame words and texts, read by the plainest means into memory that was touched before."""

    def __init__(self, nr_frames: int, pids: list[int]) -> None:
        self.words = {name: np.full((2, nr_frames), 0, np.uint64) for name in FRAME_FILES}
        self.fds = {name: os.open(f"/proc/{name}", os.O_RDONLY) for name in FRAME_FILES}
        self.texts: dict[str, bytes] = {}
        self.tasks: dict[str, bytes] = {}
        self.free: set[bytes] = set()
        self.pids = pids

    def look(self, which: int) -> None:
        """Read all frames; 0 is the look before the photograph, 1 the one after it."""
        for name, fd in self.fds.items():
            view = self.words[name][which].data.cast("B")
            done = 0
            while got := os.preadv(fd, [view[done : done + PIECE_BYTES]], done):
                done += got

    def read_tasks(self) -> None:
        """Read what the kernel says of the stopped processes."""
        for pid in self.pids:
            for name in TASK_TEXTS:
                with contextlib.suppress(FileNotFoundError):  # a kernel without NUMA has no numa_maps
                    self.tasks[f"{pid}/{name}"] = Path(f"/proc/{pid}/{name}").read_bytes()

    def during(self, _stage: str, _done: int, _total: int) -> None:
        """Look while the frames are being read: vmprobe calls this several times in each of its passes."""
        if not self.texts:
            for name in TEXTS:
                self.texts[name] = Path(f"/proc/{name}").read_bytes()
        self.free.add(Path("/proc/buddyinfo").read_bytes())

    def photograph(self) -> Snapshot:
        """Take a snapshot between two looks."""
        self.texts, self.free = {}, set()
        for _ in range(4):  # a remote node's per-CPU lists are given back at the third time
            refresh()
        self.look(0)
        snapshot = take(Options(), progress=self.during)
        self.look(1)
        # Else what came since the last time is still in the counters of one CPU, and both readings agree.
        refresh()
        self.texts["vmstat-end"] = Path("/proc/vmstat").read_bytes()
        return snapshot

    def was_quiet(self, snapshot: Snapshot) -> bool:
        """Whether no free block and no page of the page cache came or went while frames were read.

        By the witness, whose own two counts must agree, and by vmprobe: a reading of it that is wrong makes
        no guest quiet, and the ring then fails for want of rounds.
        """
        rows = snapshot.table("free_areas").rows("node", "zone", "nr_free", "nr_free_after")
        counts: dict[tuple[int, str], tuple[list[str], list[str]]] = {}
        for node, zone, *looks in rows:
            for listed, nr in zip(counts.setdefault((node, zone), ([], [])), looks, strict=True):
                listed.append(str(nr))
        told = [line.replace(b",", b"").split() for line in self.texts["buddyinfo"].splitlines()]
        read = {(int(words[1]), words[3].decode()): [w.decode() for w in words[4:]] for words in told}
        nr_free = sum(int(nr) << order for blocks in read.values() for order, nr in enumerate(blocks))
        return (
            len(self.free) == 1
            and self._vmstat("nr_free_pages") == nr_free
            and all(self._vmstat(n) == self._vmstat(n, "vmstat-end") for n in ("nr_file_pages", "nr_shmem"))
            and all(looks == (read.get(zone), read.get(zone)) for zone, looks in counts.items())
        )

    def _vmstat(self, name: str, text: str = "vmstat") -> int:
        return int(self.texts[text].partition(f"{name} ".encode())[2].split()[0])

    def save(self, folder: Path) -> None:
        """Write it all; of the second look at frames, which ones differ."""
        for name, (before, after) in self.words.items():
            before.tofile(folder / name)
            np.packbits(before != after).tofile(folder / f"{name}.moved")
        for name, text in (self.texts | {f"tasks/{name}": text for name, text in self.tasks.items()}).items():
            path = folder / f"{name}.text"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)


def end_pfn() -> int:
    """Return how many words the frame files have."""
    low, high = 0, 1 << 40
    fd = os.open("/proc/kpageflags", os.O_RDONLY)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if os.pread(fd, 8, middle * 8) else (low, middle)
    os.close(fd)
    return low


def rounds(pids: list[int]) -> dict[str, Any]:
    """Take photographs until `NR_ROUNDS` of them were taken while the guest was quiet."""
    calm()
    # One CPU's lists fill, and then serve: with two, what one frees the other lacks.
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {0})
    witness = Witness(end_pfn(), pids)
    witness.read_tasks()
    nr_quiet, nr_attempts = 0, 0
    # Modules, caches and arenas fill once.
    write(witness.photograph(), "/tmp/first.vmsnap")
    while nr_quiet < NR_ROUNDS and nr_attempts < MAX_ATTEMPTS:
        nr_attempts += 1
        gc.collect()
        settle()
        snapshot = witness.photograph()
        if not witness.was_quiet(snapshot):
            continue
        nr_quiet += 1
        folder = OUT / f"round-{nr_quiet}"
        folder.mkdir()
        witness.save(folder)
        write(snapshot, str(folder / "host.vmsnap"))
    os.sched_setaffinity(0, cpus)
    return {"quiet": nr_quiet, "attempts": nr_attempts}


def stamps(nr_pages: int) -> Iterator[tuple[int, int, str]]:
    """Yield (area, offset, first line) of the pages of each swap area that hold a workload's stamp."""
    for area, line in enumerate(Path("/proc/swaps").read_text().splitlines()[1:]):
        # Past the page cache: swap is written below it.
        fd = os.open(line.split()[0], os.O_RDONLY | os.O_DIRECT)
        with mmap.mmap(-1, mmap.PAGESIZE) as page:  # aligned, as O_DIRECT wants it
            for offset in range(nr_pages):
                if os.preadv(fd, [page], offset * len(page)) < len(page):
                    break
                head = page[:64].split(b"\n")[0]
                if head.startswith(b"vmprobe-lab "):
                    yield area, offset, head.decode()
        os.close(fd)


def stop(pids: list[int]) -> None:
    """Stop processes and wait until the kernel says so."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    while any(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T" for pid in pids):
        time.sleep(0.01)


def family(pid: int) -> list[int]:
    """Return a process and its children, which do not end meanwhile."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(p for child in children for p in family(int(child)))]


def interleave(nodes: int) -> None:
    """Spread what this process and its children touch from now on over nodes 0 to `nodes` - 1; 0 ends it."""
    SYS_SET_MEMPOLICY, MPOL_DEFAULT, MPOL_INTERLEAVE = 238, 0, 3  # noqa: N806 - as the kernel calls them
    mask = ctypes.c_ulong((1 << nodes) - 1)
    policy = MPOL_INTERLEAVE if nodes else MPOL_DEFAULT
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(SYS_SET_MEMPOLICY, policy, ctypes.byref(mask) if nodes else None, 64 if nodes else 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def visit(plan: dict[str, Any]) -> dict[str, Any]:
    """Do all that the plan asks for, and return the facts."""
    with contextlib.ExitStack() as stack:
        interleave(plan["nodes"])
        truths = stack.enter_context(hold(*plan["workloads"], seed=plan["seed"]))
        interleave(0)
        pids = [pid for truth in truths for pid in family(truth["pid"])]
        for pid in pids:
            stack.callback(os.kill, pid, signal.SIGCONT)
        stop(pids)
        # What is merged stays merged; the merging itself would be the only thing that moves.
        Path("/sys/kernel/mm/ksm/run").write_text("0")
        counted = rounds(pids)
        return {
            "truths": truths,
            "pids": pids,
            "rounds": counted,
            "release": platform.release(),
            "ksm_pages_shared": int(Path("/sys/kernel/mm/ksm/pages_shared").read_text()),
            "cgroup_inode": Path("/sys/fs/cgroup/lab").stat().st_ino,
            "stamps": list(stamps(plan["swap_pages"])),
            "commands": {name: _command(words) for name, words in plan["commands"].items()},
        }


def _command(words: list[str]) -> dict[str, Any]:
    """Run a command line as a user would."""
    begin = time.monotonic()
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=OUT)
    seconds = round(time.monotonic() - begin, 2)
    return {"status": done.returncode, "err": done.stderr, "seconds": seconds}


if __name__ == "__main__":
    told = visit(json.loads((OUT / "plan.json").read_text()))
    (OUT / "facts.json").write_text(json.dumps(told))

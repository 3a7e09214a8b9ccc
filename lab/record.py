"""Save what ``vmprobe snapshot`` would read of this host, to be replayed elsewhere with ``--procfs DIR``.

One file that needs Python 3.8 and its standard library alone: copy it to any host and run it there. It never
reads command lines, environments or memory contents. What DIR holds, and why: docs/snapshot-format.md,
"Recorded trees". Without root it saves what it may and notes the rest, as vmprobe does.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import gzip
import json
import os
import re
import shutil
import signal
import struct
import sys
import time
from array import array
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

FORMAT = {"name": "vmprobe-recording", "version": [1, 1]}

SYSCTLS = ("compaction_proactiveness", "compact_unevictable_allowed", "defrag_mode", "extfrag_threshold",
           "lowmem_reserve_ratio", "min_free_kbytes", "nr_hugepages", "overcommit_memory",
           "percpu_pagelist_high_fraction", "swappiness", "watermark_boost_factor",
           "watermark_scale_factor")  # fmt: skip
AGAIN = ("buddyinfo", "zoneinfo", "vmstat", "meminfo", "stat", "loadavg", "uptime",
         *(f"sys/vm/{name}" for name in SYSCTLS))  # fmt: skip
"""Cheap files that are saved at both looks."""
ONCE = ("pagetypeinfo", "iomem", "swaps", "sysvipc/shm", "version", "sys/kernel/random/boot_id",
        "self/status", "self/uid_map")  # fmt: skip
SYSFS_FOLDERS = ("kernel/mm/ksm", "kernel/mm/transparent_hugepage", "kernel/mm/hugepages")
CGROUPS = ("fs/cgroup/memory", "fs/cgroup", "fs/cgroup/unified")  # one of them charges memory
FRAMES = ("kpageflags", "kpagecount", "kpagecgroup")
TOLD = ("/", "anon_inode:[io_uring]", "anon_inode:[userfaultfd]", "anon_inode:bpf-map")
"""Open files of which fdinfo tells more than the link."""
MAX_FDS = 1 << 16  # looked at in one process

PIECE = 1 << 19  # bytes read at a time
TRIES = 5  # readings of a list of VMAs that changes, or of a process that replaces its memory (exec)

PF_KTHREAD = 0x00200000
PAGEMAP_SCAN, PAGE_IS_PRESENT, PAGE_IS_SWAPPED = 0xC0606610, 1 << 3, 1 << 4
VEC_LEN = 512
"""Regions a call: more, and some kernels report a walk end that is behind the last of them."""
NO_SCAN = (errno.ENOTTY, errno.EINVAL, errno.EFAULT, errno.ENOSYS)

PAGE = os.sysconf("SC_PAGE_SIZE")
HIGHEST = slice(7, None, 8) if sys.byteorder == "little" else slice(0, None, 8)
# In the highest byte of a populated entry's word bit 63 (present), 62 (swap) or 57 (uffd-wp) is set.
THERE = re.compile(b"[" + re.escape(bytes(b for b in range(256) if b & 0xC2)) + b"]+")
# Eight digits at least; sixteen are the vsyscall page, which belongs to no address space.
VMA = re.compile(rb"^([0-9a-f]{8,15})-([0-9a-f]{8,15}) [r-][w-][x-][sp] ", re.MULTILINE)
# File systems in memory: stat there waits for no server.
MOUNT = re.compile(r"^(\d+) .*? - (?:tmpfs|hugetlbfs|ramfs|devtmpfs|rootfs) ", re.MULTILINE)
MNT_ID = re.compile(r"^mnt_id:\s*(\d+)$", re.MULTILINE)


class RecordError(Exception):
    """The end: a line and an exit status."""


class UnreadableError(Exception):
    """A file of the kernel cannot be read, by error number and text: that is noted, and not the end."""


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Tell errors of reading from those of writing."""
    try:
        yield
    except OSError as error:
        raise UnreadableError(error.errno or errno.EIO, error.strerror or str(error)) from error


@contextlib.contextmanager
def opened(path: str) -> Iterator[int]:
    """Open a file for reading."""
    with reading():
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def pieces(fd: int) -> Iterator[bytes]:
    """Yield what is in a file."""
    while True:
        with reading():
            data = os.read(fd, PIECE)
        if not data:
            return
        yield data


def text_of(path: str) -> str:
    """Return a small file; empty where it cannot be read."""
    with contextlib.suppress(UnreadableError), opened(path) as fd:
        return b"".join(pieces(fd)).decode("utf-8", "surrogateescape")
    return ""


def bounds_in(path: str) -> array[int]:
    """Return start and end of each VMA in a maps or smaps file, one after the other."""
    found, tail = array("Q"), b""
    with opened(path) as fd:
        for data in pieces(fd):
            lines, newline, tail = (tail + data).rpartition(b"\n")
            for vma in VMA.finditer(lines + newline):
                found.extend(int(address, 16) for address in vma.groups())
    return found


class Stat:
    """What a process's stat tells of its memory; ValueError or IndexError where it tells nothing."""

    def __init__(self, text: str) -> None:
        state, *words = text.rpartition(")")[2].split()
        numbers = [int(word) for word in words]
        self.zombie_leader = state == "Z" and numbers[16] > 1
        self.has_memory = not numbers[5] & PF_KTHREAD and (state not in "ZX" or self.zombie_leader)
        # The start, which a later owner of the pid has not, and addresses that an exec changes.
        self.identity = [numbers[i] for i in (18, 22, 23, 24, 43) if i < len(numbers)]


def scanned(fd: int, start: int, end: int) -> array[int]:
    """Return bounds of page numbers that hold all entries, by PAGEMAP_SCAN (Linux 6.7)."""
    vec, found, seen_to = array("Q", bytes(VEC_LEN * 24)), array("Q"), start
    mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED
    while start < end:
        words = (96, 0, start, end, 0, vec.buffer_info()[0], VEC_LEN, 0, 0, 0, mask, mask)
        arg = bytearray(struct.pack("=12Q", *words))
        nr_regions = fcntl.ioctl(fd, PAGEMAP_SCAN, arg)
        for i in range(0, nr_regions * 3, 3):
            if vec[i + 1] > seen_to:  # else a repetition after a stale walk end
                found.extend((max(vec[i], seen_to) // PAGE, vec[i + 1] // PAGE))
                seen_to = vec[i + 1]
        walk_end = struct.unpack("=12Q", arg)[4]
        if walk_end <= start:
            break
        start = walk_end
    return found


def words_in(fd: int, bounds: array[int]) -> Iterator[tuple[int, bytes]]:
    """Yield the pagemap words of ranges of pages, with the number of their first page."""
    for i in range(0, len(bounds), 2):
        vpn, end = bounds[i], bounds[i + 1]
        while vpn < end:
            with reading():
                data = os.pread(fd, min((end - vpn) * 8, PIECE), vpn * 8)
            if not data:
                break  # the address space is gone
            yield vpn, data
            vpn += len(data) // 8


def internal_mounts() -> list[tuple[int, str]]:
    """Return mounts in memory that no mountinfo lists: an empty file of our own is on each."""
    found = []
    for order in (0, *range(14, 40)):  # of the bytes in a huge page
        with contextlib.suppress(OSError, AttributeError):  # an old C library has no such call
            fd = os.memfd_create("record", order and os.MFD_HUGETLB | order << 26)
            kind = "hugetlbfs" if order else "tmpfs"
            found += [(int(number), kind) for number in MNT_ID.findall(text_of(f"/proc/self/fdinfo/{fd}"))]
            os.close(fd)
    return found


class Recorder:
    """Writes one recording of some processes, or of all if none are chosen, into a folder that is there."""

    def __init__(self, procfs: str, sysfs: str, folder: str, pids: list[int]) -> None:
        self.procfs, self.sysfs, self.folder, self.pids = procfs, sysfs, folder, pids
        self.errors: list[tuple[Any, ...]] = []
        self.frame_words: dict[str, int] = {}
        self.vmas: dict[int, str] = {}  # processes whose page tables were saved: the file with their VMAs
        self.scan: bool | None = None
        self.internal = internal_mounts()

    def record(self) -> None:
        """Look, look again, and write down what this was."""
        start, begin = time.time(), time.monotonic()
        listed = self.listed()
        for pid in set(self.pids) - set(listed):
            raise RecordError(f"process {pid} is not there", 3)
        for name in (*ONCE, *AGAIN):
            self.keep(name, name)
        self.config()
        self.settings("sysfs")
        for pid in listed:
            self.process(pid)
        for name in FRAMES:
            self.frames(name, name)
        denied = [row for row in self.errors if row[1] in (errno.EACCES, errno.EPERM)]
        refused = [row for row in denied if not row[0].startswith("sysfs/")]
        if refused and not self.vmas and not self.frame_words:
            name, _, text = refused[-1]
            raise RecordError(f"{name}: {text}; no memory could be recorded, which needs root", 4)

        self.frames("kpageflags", "later/kpageflags")
        for pid in self.listed():
            about = self.texts(pid, f"later/{pid}", "stat")
            if about is not None and pid in self.vmas:
                name = f"{pid}/{self.thread(pid, about)}pagemap"
                self.entries(name, f"later/{name}", bounds_in(f"{self.folder}/{self.vmas[pid]}"))
        for name in AGAIN:
            self.keep(name, f"later/{name}")
        self.settings("later/sysfs")
        self.cgroups()
        self.write_json("internal_mounts.json", self.internal)
        self.write_json("recording.json", self.about(start, time.monotonic() - begin))

    def listed(self) -> list[int]:
        """Return the processes to save that are there now."""
        try:
            there = sorted(int(name) for name in os.listdir(self.procfs) if name.isdecimal())
        except OSError as error:
            raise RecordError(f"{self.procfs}: {error.strerror}", 3) from error
        return [pid for pid in there if pid in self.pids] if self.pids else there

    def process(self, pid: int) -> None:
        """Save one process; again when it replaced its address space meanwhile."""
        nr_errors = len(self.errors)
        for _ in range(TRIES):
            about = self.texts(pid, str(pid), "stat", "status", "cgroup")
            if about is None or not about.has_memory:
                return
            prefix = f"{pid}/{self.thread(pid, about)}"
            self.keep(f"{pid}/ksm_stat", f"{pid}/ksm_stat")
            self.memory(pid, prefix)
            self.open_files(prefix)
            replaced = False  # nor if it ended: what was saved of it is its own
            with contextlib.suppress(ValueError, IndexError):
                replaced = Stat(text_of(f"{self.procfs}/{pid}/stat")).identity != about.identity
            if not replaced:
                return
            del self.errors[nr_errors:]
            self.vmas.pop(pid, None)
            shutil.rmtree(f"{self.folder}/{pid}")
        self.errors.append((str(pid), errno.EAGAIN, "replaced its memory (exec) each time it was read"))

    def texts(self, pid: int, target: str, *names: str) -> Stat | None:
        """Save who a process is; None, and nothing saved, when that cannot be read."""
        try:
            for name in names:
                self.copy(f"{self.procfs}/{pid}/{name}", f"{target}/{name}")
            return Stat(text_of(f"{self.folder}/{target}/stat"))
        except UnreadableError as error:
            self.errors.append((target, *error.args))
        except (ValueError, IndexError):
            self.errors.append((target, errno.ESRCH, "ended while it was read"))
        shutil.rmtree(f"{self.folder}/{target}", ignore_errors=True)
        return None

    def thread(self, pid: int, about: Stat) -> str:
        """Return the folder of a thread that has the memory, where the leader ended."""
        with contextlib.suppress(OSError):
            tids = sorted(map(int, os.listdir(f"{self.procfs}/{pid}/task") if about.zombie_leader else ()))
            return next((f"task/{tid}/" for tid in tids if tid != pid), "")
        return ""

    def memory(self, pid: int, prefix: str) -> None:
        """Save the VMAs and the populated entries of one address space."""
        kept, bounds = False, array("Q")
        for name in (f"{prefix}smaps", f"{prefix}maps"):
            for _ in range(TRIES):
                kept = self.keep(name, name)
                bounds = bounds_in(f"{self.folder}/{name}") if kept else bounds
                # VMAs that overlap are torn: each read() of a few KiB sees another moment.
                if not kept or all(bounds[i] <= bounds[i + 1] for i in range(1, len(bounds) - 1, 2)):
                    break
        if self.entries(f"{prefix}pagemap", f"{prefix}pagemap", bounds) and kept:
            self.vmas[pid] = f"{prefix}maps"

    def entries(self, name: str, target: str, bounds: array[int]) -> bool:
        """Save the words of populated entries, one behind the other, and the pages that they belong to."""
        first, end, index = 0, 0, f"{target}.runs"
        try:
            with opened(f"{self.procfs}/{name}") as fd, self.new(target) as words, self.new(index) as runs:
                for vpn, data in words_in(fd, self.populated(fd, bounds)):
                    for found in THERE.finditer(data[HIGHEST]):
                        words.write(data[found.start() * 8 : found.end() * 8])
                        if vpn + found.start() != end:
                            runs.write(b"%x %d\n" % (first, end - first) if end else b"")
                            first = vpn + found.start()
                        end = vpn + found.end()
                runs.write(b"%x %d\n" % (first, end - first) if end else b"")
        except UnreadableError as error:
            self.missing(target, error)
            self.missing(index, None)
            return False
        return True

    def open_files(self, prefix: str) -> None:
        """Save where the open files of a process lead, and its mounts, which tell what lies there."""
        place = f"{self.procfs}/{prefix}"
        try:
            with reading():
                mounts, rows = os.readlink(f"{place}ns/mnt"), []
                fds = sorted(int(fd) for fd in os.listdir(f"{place}fd"))[:MAX_FDS]
        except UnreadableError as error:
            return self.missing(f"{prefix}fds.json", error)
        name = f"mountinfo/{mounts.strip('mnt:[]')}"
        self.keep(f"{prefix}mountinfo", name)
        memory = {*MOUNT.findall(text_of(f"{self.folder}/{name}")), *(str(n) for n, _ in self.internal)}
        for fd in fds:
            with contextlib.suppress(OSError):  # closed meanwhile
                link, info, stat = os.readlink(f"{place}fd/{fd}"), None, None
                if link.startswith(TOLD):
                    info = text_of(f"{place}fdinfo/{fd}")
                    if memory.intersection(MNT_ID.findall(info)):
                        at = os.stat(f"{place}fd/{fd}")
                        stat = at.st_mode, os.major(at.st_dev), os.minor(at.st_dev), at.st_size, at.st_blocks
                rows.append((fd, link, info or None, stat))
        return self.write_json(f"{prefix}fds.json", {"mounts": mounts, "files": rows})

    def populated(self, fd: int, bounds: array[int]) -> array[int]:
        """Return bounds of page numbers that hold all entries: by the ioctl, or whole VMAs without it."""
        try:
            if bounds and self.scan is not False:
                found = scanned(fd, bounds[0], bounds[-1])
                self.scan = True
                return found
        except OSError as error:
            if error.errno not in NO_SCAN:
                raise UnreadableError(error.errno, error.strerror) from error
            if error.errno != errno.EFAULT:  # that is an address beyond this process's own
                self.scan = False
        return array("Q", (address // PAGE for address in bounds))

    def frames(self, name: str, target: str) -> None:
        """Save one of the files of frame words."""
        if self.keep(name, target):
            self.frame_words[target] = os.stat(f"{self.folder}/{target}").st_size // 8

    def settings(self, target: str) -> None:
        """Save the folders of /sys that vmprobe reads."""
        for top in SYSFS_FOLDERS:
            for place, _, names in os.walk(f"{self.sysfs}/{top}"):
                folder = place[len(self.sysfs) + 1 :]
                for name in names:
                    self.keep(f"{folder}/{name}", f"{target}/{folder}/{name}", self.sysfs)

    def config(self) -> None:
        """Save how the kernel was built: its own word, or the file that distributions put beside it."""
        text = "" if self.keep("config.gz", "config.gz") else text_of(f"/boot/config-{os.uname().release}")
        if text:
            with self.new("config.gz") as file:
                file.write(gzip.compress(text.encode("utf-8", "surrogateescape")))

    def cgroups(self) -> None:
        """Save inode and path of each memory cgroup: a copied folder has another inode."""
        for top in (f"{self.sysfs}/{name}" for name in CGROUPS):
            v1 = any(os.path.exists(f"{top}/{name}") for name in ("memory.usage_in_bytes", "memory.stat"))
            if v1 or "memory" in text_of(f"{top}/cgroup.controllers"):
                rows = []
                for place, _, _ in os.walk(top):
                    with contextlib.suppress(OSError):  # removed while we looked
                        rows.append((os.stat(place).st_ino, place[len(top) :] or "/"))
                return self.write_json("sysfs/cgroups.json", rows)
        return None

    def about(self, start: float, seconds: float) -> dict[str, Any]:
        """Return what is true of the host whenever it is looked at, who we are, and what we may."""
        itself = f"{self.procfs}/self"
        looked = [datetime.fromtimestamp(t, timezone.utc).isoformat() for t in (start, time.time())]  # noqa: UP017
        effective = re.search(r"^CapEff:\s*([0-9a-f]+)$", text_of("/proc/self/status"), re.MULTILINE)
        return {
            "format": FORMAT, "host": {
                "release": os.uname().release, "machine": os.uname().machine, "page_size": PAGE,
                "clock_ticks": os.sysconf("SC_CLK_TCK"), "nr_cpus": os.cpu_count() or 1,
                "boot_id": text_of(f"{self.procfs}/sys/kernel/random/boot_id").strip() or None,
                "byte_order": sys.byteorder,
            },
            "recorder": {
                "pid": int(os.readlink(itself)) if os.path.exists(itself) else None,
                "euid": os.geteuid(), "effective": effective[1] if effective else "0",
                "uid_map": [int(word) for word in text_of("/proc/self/uid_map").split()] or None,
            },
            "time": {"start": looked[0], "end": looked[1], "seconds": round(seconds, 6)},
            "scan_ioctl": self.scan, "pids": self.pids, "frame_words": self.frame_words,
            "errors": self.errors,
        }  # fmt: skip

    def new(self, name: str) -> BinaryIO:
        """Make a file of the recording, and the folders above it."""
        path = f"{self.folder}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return open(path, "wb")

    def write_json(self, name: str, content: object) -> None:
        """Write a file of our own."""
        with self.new(name) as file:
            file.write(json.dumps(content, indent=1).encode())

    def copy(self, path: str, target: str) -> None:
        """Save one file."""
        with opened(path) as fd, self.new(target) as file:
            file.writelines(pieces(fd))

    def keep(self, name: str, target: str, root: str | None = None) -> bool:
        """Save one file of /proc, or of another root, or note why it is missing."""
        try:
            self.copy(f"{root or self.procfs}/{name}", target)
        except UnreadableError as error:
            self.missing(target, error)
            return False
        return True

    def missing(self, target: str, error: UnreadableError | None) -> None:
        """Note why a file is missing, and remove what was saved of it."""
        if error is not None:
            self.errors.append((target, *error.args))
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(f"{self.folder}/{target}")


@contextlib.contextmanager
def ending_by(handler: Any) -> Iterator[None]:
    """Handle the signals that end a run, in the main thread; nohup's is none."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {n: signal.signal(n, handler) for n in numbers if signal.getsignal(n) != signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handled in before.items():
            signal.signal(number, handled)


def save(options: argparse.Namespace) -> str:
    """Make the recording under another name, then give it its own; return a line about it."""
    folder = os.path.abspath(options.folder)
    if os.path.lexists(folder):
        raise RecordError(f"{options.folder}: exists; choose another name", 3)
    unfinished = f"{os.path.dirname(folder)}/.{os.path.basename(folder)}.record-tmp-{os.getpid()}"
    try:
        os.mkdir(unfinished, 0o700)
        recorder = Recorder(options.procfs, options.sysfs, unfinished, options.pids or [])
        recorder.record()
        os.rename(unfinished, folder)
    except BaseException as error:
        with ending_by(signal.SIG_IGN):
            shutil.rmtree(unfinished, ignore_errors=True)
        if isinstance(error, (OSError, UnreadableError)):  # of our own files: the kernel's are noted
            raise RecordError(f"{options.folder}: {error.args[-1]}", 3) from error
        raise
    nr_frames = max(recorder.frame_words.values(), default=0)
    text = f"{len(recorder.vmas)} address spaces, {nr_frames} frames; {len(recorder.errors)} files not read"
    return f"wrote {options.folder}: {text}\n"


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> Any:  # type: ignore[explicit-override]
        """Refuse the command line."""
        raise RecordError(f"{message}; --help shows the usage", 2)


def main(argv: list[str]) -> int:
    """Make one recording and return the exit status: 0, 2 usage, 3 files, 4 privilege, 130 interrupted."""
    parser = Parser("record", description="Save what vmprobe reads of this host, to replay it elsewhere.")
    parser.add_argument("folder", metavar="DIR", help="the folder to write, which must not be there")
    parser.add_argument("--pid", dest="pids", type=int, action="append", metavar="P", help="only P")
    parser.add_argument("--procfs", default="/proc", metavar="DIR", help="where /proc of the host is mounted")
    parser.add_argument("--sysfs", default="/sys", metavar="DIR", help="where its /sys is")
    umask = os.umask(0o077)  # layouts of memory defeat address randomisation
    try:
        with ending_by(signal.default_int_handler):
            text = save(parser.parse_args(argv))
    except RecordError as error:
        message, status = error.args
    except KeyboardInterrupt:
        message, status = "interrupted; nothing was recorded", 130
    else:
        with contextlib.suppress(OSError):  # nobody who listens
            sys.stdout.write(text)
            sys.stdout.flush()
        return 0
    finally:
        os.umask(umask)
    sys.stderr.write(f"record: {message}\n")
    return int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

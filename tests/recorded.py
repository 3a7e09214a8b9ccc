"""Recorded /proc trees: the golden files of one guest laid out for the collector to read.

Page maps and frame words are put at their offsets in sparse files: every number is where the kernel had it;
what was not captured reads as zero.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmprobe.collect import Options, take

if TYPE_CHECKING:
    from vmprobe.tables import Snapshot

PROC = Path(__file__).parents[1] / "fixtures" / "proc"
TEXTS = ("buddyinfo", "pagetypeinfo", "zoneinfo", "vmstat", "meminfo", "iomem", "swaps", "version")
PAGE = 4096
SEGMENTS = (
    "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime"
    "      dtime      ctime                   rss                  swap\n"
    "         0          0  1600               8192   301   302      1  1000  1000  1000  1000 1700000000"
    "          0 1700000000                  4096                     0\n"
    "-559038737          7   600              65536   301     0      0     0     0     0     0          0"
    "          0 1700000000                 65536                  4096\n"
)
MOUNTS = (
    "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
    "24 27 0:6 / /dev rw,relatime shared:2 - devtmpfs devtmpfs rw,size=10k\n"
    "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n"
    "30 27 0:27 / /dev/shm rw,relatime - tmpfs tmpfs rw,size=24684084k\n"
)


def put(path: Path, first: int, data: bytes) -> None:
    """Write words at word number `first` of a sparse file."""
    with path.open("r+b" if path.exists() else "wb") as file:
        file.seek(first * 8)
        file.write(data)


def tree(shape: str, into: Path) -> Path:
    """Make a /proc out of ``fixtures/proc/<shape>`` and return its folder."""
    source = PROC / shape
    root = into / "proc"
    root.mkdir()
    # As in the /proc of a host that is there, seen from another PID namespace: two looks may differ.
    (root / "self").symlink_to("nowhere")
    for name in TEXTS:
        shutil.copy(source / name, root)
    mixed = json.loads((source / "mixed" / "range.json").read_text())
    for name in ("kpageflags", "kpagecount", "kpagecgroup"):
        put(root / name, 0, (source / name).read_bytes())
        put(root / name, mixed["start_pfn"], (source / "mixed" / name).read_bytes())
    (root / "loadavg").write_text("0.00 0.01 0.18 1/86 25810\n")
    (root / "sysvipc").mkdir()
    (root / "sysvipc" / "shm").write_text(SEGMENTS)
    (into / "in-memory").write_bytes(bytes(5000))
    add_task(source / "task", root)
    return root


def add_open_files(folder: Path) -> None:
    """Give a process open files of every kind that can be laid out: links, and what fdinfo says."""
    in_memory = folder.parents[1] / "in-memory"
    files = {
        0: ("/dev/null", 24, 3, ""),
        1: ("pipe:[812]", 13, 812, ""),
        3: ("socket:[913]", 9, 913, ""),
        4: ("/srv/data/lib one.so", 27, 77, ""),
        5: (str(in_memory), 30, 78, ""),
        6: ("anon_inode:[eventpoll]", 15, 11, "tfd:       30 events:       19\n"),
        7: ("anon_inode:[io_uring]", 15, 11, "SqMask:\t0x7\nUserBufs:\t1\n    0: 0x7f0000000000/65536\n"),
        8: ("anon_inode:bpf-map", 15, 11, "map_type:\t27\nmap_id:\t4711\nfrozen:\t0\n"),
        9: ("/proc/1/maps", 22, 79, ""),
        10: (str(in_memory.parent), 30, 80, ""),
        11: ("/gone/elsewhere", 999, 81, ""),
    }
    for name in ("fd", "fdinfo", "ns"):
        (folder / name).mkdir()
    for fd, (link, mnt_id, inode, more) in files.items():
        (folder / "fd" / str(fd)).symlink_to(link)
        (folder / "fdinfo" / str(fd)).write_text(
            f"pos:\t0\nflags:\t0100002\nmnt_id:\t{mnt_id}\nino:\t{inode}\n{more}"
        )
    (folder / "ns" / "mnt").symlink_to("mnt:[4026531841]")
    (folder / "mountinfo").write_text(MOUNTS)
    (folder / "ksm_stat").write_text("ksm_rmap_items 9\nksm_zero_pages 4\nksm_merging_pages 5\n")


def pid_of(root: Path) -> int:
    """Return the only process of a tree."""
    (pid,) = [int(entry.name) for entry in root.iterdir() if entry.name.isdecimal()]
    return pid


def add_task(source: Path, root: Path, pid: int | None = None) -> Path:
    """Add the captured process, under another pid if asked."""
    stat = (source / "stat").read_bytes()
    pid = pid or int(stat.split()[0])
    folder = root / str(pid)
    folder.mkdir()
    (folder / "stat").write_bytes(str(pid).encode() + stat[stat.index(b" ") :])
    for name in ("status", "cgroup", "maps", "smaps"):
        shutil.copy(source / name, folder)
    add_open_files(folder)
    words = (source / "pagemap").read_bytes()
    for area in json.loads((source / "pagemap.json").read_text()):
        first = area["first_word"] * 8
        put(folder / "pagemap", area["start"] // PAGE, words[first : first + area["nr_pages"] * 8])
    return folder


def photograph(root: Path, **choices: Any) -> Snapshot:
    return take(Options(procfs=str(root), sysfs=str(root.parent / "sys"), **choices))


def pid_of_other(root: Path, pid: int) -> int:
    (other,) = {int(e.name) for e in root.iterdir() if e.name.isdecimal()} - {pid}
    return other

"""Recorded /proc trees: the golden files of one guest laid out for the collector to read.

Page maps and frame words are put at their offsets in sparse files: every number is where the kernel had it;
what was not captured reads as zero.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

PROC = Path(__file__).parents[1] / "fixtures" / "proc"
TEXTS = ("buddyinfo", "pagetypeinfo", "zoneinfo", "vmstat", "meminfo", "iomem", "swaps", "version")
PAGE = 4096


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
    add_task(source / "task", root)
    return root


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
    words = (source / "pagemap").read_bytes()
    for area in json.loads((source / "pagemap.json").read_text()):
        first = area["first_word"] * 8
        put(folder / "pagemap", area["start"] // PAGE, words[first : first + area["nr_pages"] * 8])
    return folder

"""Frames: words, counts, classes and free pages against buddyinfo, vmstat and the words themselves."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel.pageflags import mask
from lab.errors import DiffersError
from lab.ring.check import Check, equal
from vmprobe.analyses.show import show

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from lab.ring.visit import Round, Visit

BUDDY: Final = np.uint64(mask("BUDDY"))
SLAB: Final = np.uint64(mask("SLAB"))
MOST_RECYCLED: Final = 8
JUNK: Final = np.uint64(mask("ANON", "KSM", "MMAP"))
"""Bits that mean nothing on slab pages, where a counter of the slab shows through them."""


def vmstat(text: str) -> dict[str, int]:
    """Return /proc/vmstat or a like list of names and numbers."""
    return {name: int(value) for name, value in (line.split() for line in text.splitlines())}


def meminfo_kib(text: str, name: str) -> int:
    """Return a line of /proc/meminfo."""
    found = re.search(rf"^{re.escape(name)}: +(\d+)", text, re.MULTILINE)
    assert found is not None, name
    return int(found[1])


def free_blocks(text: str) -> dict[tuple[int, str], list[int]]:
    """Return /proc/buddyinfo: free blocks by order of each (node, zone)."""
    rows = re.findall(r"^Node (\d+), zone +(\S+) +(.*)$", text, re.MULTILINE)
    return {(int(node), zone): [int(nr) for nr in counts.split()] for node, zone, counts in rows}


def class_frames(taken: Round) -> dict[str, int]:
    """Return frames by class, as ``vmprobe show`` says."""
    answer = show(taken.snapshot)
    assert answer.frames is not None
    return {row.name: row.nr_frames for row in answer.frames.classes}


def compare_free(_visit: Visit, taken: Round) -> str:
    """Compare frames with BUDDY, in all and by zone, with both counts of the kernel; free blocks by order."""
    blocks = free_blocks(taken.text("buddyinfo"))
    expected = sum(nr << order for counts in blocks.values() for order, nr in enumerate(counts))
    equal(vmstat(taken.text("vmstat"))["nr_free_pages"], expected, "nr_free_pages against buddyinfo")
    found = class_frames(taken)["free"]
    equal(found, expected, "free frames")
    frames = taken.snapshot.table("frames")
    free = frames.column("pfn")[(frames.column("flags") & BUDDY) != 0]
    zones = taken.snapshot.table("zones").rows("node", "zone", "start_pfn", "spanned_pages")
    for node, zone, start, spanned in zones:
        if (node, zone) in blocks:
            there = np.count_nonzero((free >= start) & (free < start + spanned))
            equal(int(there), sum(n << o for o, n in enumerate(blocks[node, zone])), f"free, {node} {zone}")
    table: dict[tuple[int, str], list[int]] = {}
    for node, zone, _, nr in taken.snapshot.table("free_areas").rows("node", "zone", "order", "nr_free"):
        table.setdefault((node, zone), []).append(nr)
    equal(table, blocks, "free blocks by order")
    return f"{found:,} = {expected:,}"


def plant_free(_visit: Visit, taken: Round) -> Round:
    """Plant one free frame too many."""
    flags = taken.snapshot.table("frames").column("flags")
    row = int(np.flatnonzero(flags & SLAB)[0])
    return taken.changed("frames", "flags", row, BUDDY)


def compare_classes(_visit: Visit, taken: Round) -> str:
    """Compare the sum of the classes inside System RAM with the pages that the zones call present."""
    present = sum(int(nr) for nr in re.findall(r"^ +present +(\d+)$", taken.text("zoneinfo"), re.MULTILINE))
    ram = sum(end - start for start, end in taken.system_ram)
    equal(ram, present, "System RAM of iomem against present pages of zoneinfo")
    classes = class_frames(taken)
    pfn = taken.snapshot.table("frames").column("pfn")
    rows = sum(int(np.count_nonzero((pfn >= start) & (pfn < end))) for start, end in taken.system_ram)
    equal(rows, present, "frames inside System RAM")
    outside = len(pfn) - rows
    equal(sum(classes.values()) - outside, present, "sum of classes without what is no RAM")
    if classes.get("hole", 0) > outside:
        raise DiffersError(f"classes: {classes['hole']} holes, and {outside} frames are outside System RAM")
    return f"{sum(classes.values()):,} - {outside:,} = {present:,}"


def plant_classes(_visit: Visit, taken: Round) -> Round:
    """Plant a frame of RAM that is in no class."""
    frames = taken.snapshot.table("frames")
    valid = np.ones(len(frames), np.bool_)
    valid[np.flatnonzero(frames.column("flags") & SLAB)[0]] = False
    columns = {name: frames.columns[name] for name in frames.columns}
    return taken.with_table(type(frames)(frames.schema, columns, frames.nr_rows, {"flags": valid}))


def _comparable(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return words without the junk of slab pages."""
    return np.where(words & SLAB, words & ~JUNK, words)


def _same(
    pfn: NDArray[np.uint64], found: NDArray[np.uint64], expected: NDArray[np.uint64], what: str
) -> None:
    """Demand that every frame has what the witness says."""
    wrong = np.flatnonzero(found != expected)
    if len(wrong):
        first = wrong[0]
        raise DiffersError(
            f"{len(wrong)} {what} differ, the first at pfn {pfn[first]}: "
            f"vmprobe {int(found[first]):#x}, witness {int(expected[first]):#x}"
        )


def without_recycled(
    pfn: NDArray[np.uint64], found: NDArray[np.uint64], expected: NDArray[np.uint64]
) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64]]:
    """Leave out the few frames that were given back and taken as slab again between the witness's looks.

    No counter of the kernel tells of it: a slab page goes to a per-CPU list and comes from there. That
    happens to single frames, while a bit that is read wrong is wrong on all of them.
    """
    recycled = ((found ^ expected) & SLAB) != 0
    nr = int(np.count_nonzero(recycled))
    if nr > MOST_RECYCLED:
        raise DiffersError(
            f"{nr} frames are slab for one and not for the other, the first at {pfn[recycled][0]}"
        )
    return pfn[~recycled], found[~recycled], expected[~recycled]


def compare_flags(_visit: Visit, taken: Round) -> str:
    """Compare each word that stood still, and how many frames have each of the 64 bits."""
    pfn, found, expected = without_recycled(*taken.frame_rows("kpageflags"))
    found, expected = _comparable(found), _comparable(expected)
    nr_bits = 0
    for bit in range(64):
        ours, theirs = (
            int(np.count_nonzero(words >> np.uint64(bit) & np.uint64(1))) for words in (found, expected)
        )
        equal(ours, theirs, f"frames with bit {bit}")
        nr_bits += theirs > 0
    _same(pfn, found, expected, "words")
    return f"{len(pfn):,} words, {nr_bits} kinds of bit"


def plant_flags(_visit: Visit, taken: Round) -> Round:
    """Plant one wrong bit in one word."""
    pfn, found, _ = taken.frame_rows("kpageflags")
    return taken.changed(
        "frames",
        "flags",
        taken.frame_row(pfn[len(pfn) // 2]),
        found[len(pfn) // 2] ^ np.uint64(mask("REFERENCED")),
    )


def compare_counts(_visit: Visit, taken: Round) -> str:
    """Compare each map count that stood still."""
    pfn, found, expected = taken.frame_rows("kpagecount")
    _same(pfn, found, expected, "map counts")
    return f"{len(pfn):,} counts, the largest {int(expected.max())}"


def plant_counts(_visit: Visit, taken: Round) -> Round:
    """Plant one mapping too many."""
    pfn, found, _ = taken.frame_rows("kpagecount")
    return taken.changed("frames", "mapcount", taken.frame_row(pfn[0]), found[0] + np.uint64(1))


def compare_totals(_visit: Visit, taken: Round) -> str:
    """Compare frames by class with the kernel's own running totals.

    Not anonymous frames and page tables: a photographer that runs has its own of them.
    """
    stat = vmstat(taken.text("vmstat"))
    classes = class_frames(taken)
    pages = {
        "shmem": stat["nr_shmem"],
        "file": stat["nr_file_pages"] - stat["nr_shmem"] - stat["nr_swapcached"],
    }
    for name, expected in pages.items():
        equal(classes.get(name, 0), expected, f"frames of class {name}")
    return ", ".join(f"{name} {nr:,}" for name, nr in pages.items())


def plant_totals(_visit: Visit, taken: Round) -> Round:
    """Plant a page of the page cache that is called slab."""
    flags = taken.snapshot.table("frames").column("flags")
    lru = np.uint64(mask("LRU"))
    other = np.uint64(mask("ANON", "SWAPBACKED", "HUGE", "COMPOUND_HEAD"))
    row = int(np.flatnonzero(((flags & lru) != 0) & ((flags & other) == 0))[0])
    return taken.changed("frames", "flags", row, SLAB)


CHECKS: Final = (
    Check("free frames", "buddyinfo, vmstat nr_free_pages", compare_free, plant_free),
    Check("classes sum to frames", "zoneinfo present, iomem", compare_classes, plant_classes),
    Check("flag words and bits", "kpageflags, counted apart", compare_flags, plant_flags),
    Check("map counts", "kpagecount, read apart", compare_counts, plant_counts),
    Check("frames by class", "vmstat totals", compare_totals, plant_totals),
)
"""Rows of the table about frames."""

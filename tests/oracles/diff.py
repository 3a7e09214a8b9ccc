"""What became of pageblocks and frames, one pageblock and one frame at a time: dictionaries, no arrays.

A host is a dictionary of pfn to a `Frame`; what is not in it has no memory.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple


class Frame(NamedTuple):
    """Whose a frame is, what it does to its pageblock, and whether it changed while it was read."""

    owner: str
    rank: str
    """free, moves, stays, unknown or absent"""
    unstable: bool = False


ABSENT = Frame("hole", "absent")


def frames_of(host: dict[int, Frame], block: int, order: int) -> list[Frame]:
    return [host.get((block << order) + i, ABSENT) for i in range(1 << order)]


def content(frames: list[Frame]) -> str:
    """The word of `kernelmodel.pageblock.CONTENT_NAMES`."""
    ranks = [frame.rank for frame in frames]
    staying = ranks.count("stays") + ranks.count("absent")
    if all(rank == "free" for rank in ranks):
        return "free"
    if not staying:
        return "unknown" if "unknown" in ranks else "movable only"
    if not ranks.count("free") + ranks.count("moves"):
        return "unmovable"
    return "one unmovable page only" if staying == 1 and "unknown" not in ranks else "mixed"


class Turn(NamedTuple):
    """As `vmprobe.bridge.turns.Turn`; owners to (alone, shared, pages, pages that stay)."""

    pageblocks: int
    by_staying: int
    by_moving: int
    by_unknown: int
    shared: int
    unstable: int
    owners: dict[str, tuple[int, int, int, int]]


def has_turned(then: str, now: str, was: str) -> bool:
    if was == "free":
        return then == "free" and now != "free"
    return then == "movable only" and now not in {"free", "movable only"}


def turn(then: dict[int, Frame], now: dict[int, Frame], blocks: list[int], order: int, was: str) -> Turn:
    """Look at each of `blocks`; `was` is the content that they had: free or movable only."""
    by: Counter[str] = Counter()
    nr = shared = unstable = 0
    owners: dict[str, list[int]] = {}
    for block in blocks:
        before, after = frames_of(then, block, order), frames_of(now, block, order)
        if not has_turned(content(before), content(after), was):
            continue
        nr += 1
        ranks = ("stays", "moves", "unknown") if was == "free" else ("stays", "unknown")
        decides = next(rank for rank in ranks if any(frame.rank == rank for frame in after))
        by[decides] += 1
        deciders = {frame.owner for frame in after if frame.rank == decides}
        shared += len(deciders) > 1
        for owner in deciders:
            row = owners.setdefault(owner, [0, 0, 0, 0])
            row[len(deciders) > 1] += 1
            row[2] += sum(frame.owner == owner for frame in after)
            row[3] += sum(frame.owner == owner and frame.rank == "stays" for frame in after)
        # Look again without the frames that changed in either snapshot while it was read.
        sure = [i for i in range(1 << order) if not before[i].unstable and not after[i].unstable]
        left = [after[i] for i in sure]
        unstable += not any(frame.rank in ranks for frame in left)
    return Turn(
        nr, by["stays"], by["moves"], by["unknown"], shared, unstable,
        {owner: (row[0], row[1], row[2], row[3]) for owner, row in owners.items()},
    )  # fmt: skip


def contents(then: dict[int, Frame], now: dict[int, Frame], order: int) -> Counter[tuple[str, str]]:
    """Pageblocks with memory by content then and now."""
    found: Counter[tuple[str, str]] = Counter()
    for block in sorted({pfn >> order for pfn in then.keys() & now.keys()}):
        both = frames_of(then, block, order), frames_of(now, block, order)
        if any(frame.rank != "absent" for frames in both for frame in frames):
            found[content(both[0]), content(both[1])] += 1
    return found


def changes(then: dict[int, Frame], now: dict[int, Frame]) -> tuple[Counter[tuple[str, str]], int]:
    """Frames by owner then and now, where it is another one; and how many more are unstable."""
    found: Counter[tuple[str, str]] = Counter()
    unstable = 0
    for pfn in then.keys() & now.keys():
        before, after = then[pfn], now[pfn]
        if before.owner == after.owner:
            continue
        if before.unstable or after.unstable:
            unstable += 1
        else:
            found[before.owner, after.owner] += 1
    return found, unstable


def owners_of_frames(
    pfns: list[int],
    kinds: list[str],
    entries: list[tuple[int, int, int]],
    processes: list[tuple[int, int, int]],
    cgroups: dict[int, int],
) -> dict[int, str]:
    """Whose each frame is.

    Parameters
    ----------
    pfns, kinds
        Every frame with what it is: a kind of owner that needs no name (``free``, ``slab``), or one of
        `MAPPED` and `CHARGED` that does.
    entries
        Runs of page-table entries: frame, pages, address space.
    processes
        pid, start time, address space.
    cgroups
        Inode that is charged, by frame.
    """
    mappers: dict[int, set[int]] = {}
    for start, nr, mm in entries:
        for pfn in range(start, start + nr):
            mappers.setdefault(pfn, set()).add(mm)
    found = {}
    for pfn, kind in zip(pfns, kinds, strict=True):
        of = [(start, pid) for pid, start, mm in processes if mm in mappers.get(pfn, ())]
        if kind in MAPPED and of:
            word = "pinned" if kind == "pinned" else "process"
            # The one that started first, called by the first process of its address space.
            mm = next(mm for pid, start, mm in processes if (start, pid) == min(of))
            found[pfn] = f"{word}/{min(pid for pid, _, other in processes if other == mm)}"
        elif kind in {*MAPPED, *CHARGED}:
            found[pfn] = f"{kind}/{cgroups.get(pfn, 0)}"
        else:
            found[pfn] = kind
    return found


MAPPED = ("page cache", "shared memory", "anonymous", "process", "pinned")
CHARGED = ("cgroup", "page tables")

"""Who holds which window, frame by frame: dictionaries, no arrays, no runs.

A host is a dictionary of pfn to what the frame is: ``free``, ``movable``, ``hole``, or the kind of its owner.
"""

from __future__ import annotations

KINDS = ("process", "cgroup", "slab", "page tables", "kernel", "pinned", "unknown")


def window_frames(host: dict[int, str], order: int) -> dict[int, list[str]]:
    """First frame of each window to what each of its frames is."""
    starts = sorted({pfn >> order << order for pfn in host})
    return {start: [host.get(start + i, "hole") for i in range(1 << order)] for start in starts}


def held(host: dict[int, str], order: int) -> dict[str, tuple[int, int, int, int, int]]:
    """Kind to windows, alone, full, pages, trapped free pages."""
    found = {}
    for kind in KINDS:
        nr = alone = full = pages = trapped = 0
        for frames in window_frames(host, order).values():
            if kind not in frames:
                continue
            nr += 1
            alone += not any(other in frames for other in KINDS if other != kind)
            full += all(frame == kind for frame in frames)
            pages += frames.count(kind)
            trapped += frames.count("free")
        found[kind] = (nr, alone, full, pages, trapped)
    return found


def hostages(host: dict[int, str], order: int) -> tuple[int, int]:
    """Windows that anybody holds, and the free frames in them."""
    some = [frames for frames in window_frames(host, order).values() if any(kind in frames for kind in KINDS)]
    return len(some), sum(frames.count("free") for frames in some)


def held_by_owner(
    host: dict[int, str], owners: dict[int, set[str]], order: int, who: str
) -> tuple[int, int, int, int, int]:
    """The same for one owner; `owners` says for some frames who they are."""
    nr = alone = full = pages = trapped = 0
    for start, frames in window_frames(host, order).items():
        mine = [i for i in range(1 << order) if who in owners.get(start + i, ())]
        if not mine:
            continue
        nr += 1
        blockers = [i for i, frame in enumerate(frames) if frame in KINDS]
        alone += blockers == mine and all(owners[start + i] == {who} for i in mine)
        full += len(mine) == 1 << order
        pages += len(mine)
        trapped += frames.count("free")
    return nr, alone, full, pages, trapped


def most_free(host: dict[int, str], order: int) -> int:
    """Windows that can be free at once if what is movable can go anywhere: tried out, not reasoned."""
    free = sum(frame == "free" for frame in host.values())
    windows = [
        frames
        for frames in window_frames(host, order).values()
        if all(frame in {"free", "movable"} for frame in frames)
    ]
    windows.sort(key=lambda frames: frames.count("movable"))
    for nr in range(len(windows), 0, -1):
        room = free - sum(frames.count("free") for frames in windows[:nr])
        if sum(frames.count("movable") for frames in windows[:nr]) <= room:
            return nr
    return 0

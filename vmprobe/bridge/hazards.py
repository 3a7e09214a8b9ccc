"""What can make a forecast of compaction wrong on a host: in how many pages it is, and what to do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kernelmodel.compaction.scanners import linux
from kernelmodel.compaction.zone_layout import HEAD, TAIL, UNSPLITTABLE, Frame

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kernelmodel.compaction.result import Outcome
    from kernelmodel.memmap import MemMap
    from vmprobe.bridge.compaction import KernelRules
    from vmprobe.bridge.pins import Pins
    from vmprobe.tables import Snapshot

PAGE_REPORTING_CAPACITY: Final = 32
"""``include/linux/page_reporting.h``: blocks that are isolated at a time."""
MOST_NAMES: Final = 3


@dataclass(frozen=True)
class HazardRow:
    """What can make a forecast wrong: in how many pages it is, and what to do."""

    hazard: str
    pages: int
    advice: str


def hazards(
    snapshot: Snapshot,
    outcomes: Sequence[Outcome],
    pins: Pins,
    *,
    memmap: MemMap,
    kernel: KernelRules,
) -> tuple[HazardRow, ...]:
    """Return the hazards that there are, those that do most damage first.

    Parameters
    ----------
    snapshot
        The host.
    outcomes
        Of one strategy, one for each zone.
    pins
        Long-term pins.
    memmap
        The frames.
    kernel
        How its kernel runs its scanners.
    """
    rows = (
        _dirty(outcomes, kernel),
        *_pins(snapshot, outcomes, pins),
        _lists(outcomes),
        *_scanners(outcomes, kernel),
        _splits(outcomes),
        *_hidden(snapshot, outcomes, memmap),
        _others(snapshot),
    )
    return tuple(row for row in rows if row.pages)


def _dirty(outcomes: Sequence[Outcome], kernel: KernelRules) -> HazardRow:
    taken = any(rules.large_folios for rules in (kernel.rules, *kernel.others))
    stuck = sum(
        int(np.count_nonzero(each.before.state & UNSPLITTABLE))
        for each in outcomes
        if (taken or each.strategy != "linux") and each.strategy != "evict"
    )
    advice = "run `sync` first: one that finds no free block of its size makes Linux give a zone up"
    return HazardRow("dirty large folios", stuck, advice)


def _pins(snapshot: Snapshot, outcomes: Sequence[Outcome], pins: Pins) -> Iterator[HazardRow]:
    names = _pinning(snapshot)
    who = f" (pinning: {names})" if names else ""
    advice = f"each may keep a block: end what pins, or count on the fewest{who}"
    yield HazardRow("pins not found", pins.nr_unlocated or 0, advice)
    held = sum(int(np.count_nonzero(each.before.kinds == Frame.PINNED)) for each in outcomes)
    yield HazardRow("pins found", held, f"they stay where they are: end what pins them{who}")
    of_mounts = sum(int(np.count_nonzero(each.before.kinds == Frame.HELD)) for each in outcomes)
    advice = "taken to be held as long as a file system is mounted: its superblock, its group descriptors"
    yield HazardRow("file system metadata", of_mounts, advice)


def _pinning(snapshot: Snapshot) -> str:
    """Return name and pid of those who pin most, by VmPin."""
    if not snapshot.has("tasks"):
        return ""
    names = ("vm_pin_bytes", "pid", "comm")
    rows = [row for row in snapshot.table("tasks", names).rows(*names) if row[0]]
    rows.sort(key=lambda row: (-row[0], row[1]))
    said = [f"{comm or 'process'} {pid}" for _, pid, comm in rows[:MOST_NAMES]]
    more = len(rows) - len(said)
    return ", ".join(said) + (f" and {more} more" if more else "")


def _lists(outcomes: Sequence[Outcome]) -> HazardRow:
    on_cpus = sum(each.before.pcp_pages or 0 for each in outcomes)
    advice = (
        "free pages that look used, and compaction does not drain them: `sysctl"
        " vm.percpu_pagelist_high_fraction=1000000` shortens them, 0 gives them their size back; or wait"
    )
    return HazardRow("per-CPU lists", on_cpus, advice)


def _scanners(outcomes: Sequence[Outcome], kernel: KernelRules) -> Iterator[HazardRow]:
    """Yield what hangs on rules and on types of pageblocks that are not told; of Linux alone."""
    done = [each for each in outcomes if each.strategy == "linux"]
    moves = sum(each.moves.total_pages for each in done)

    def differs(rules: Any) -> int:
        again = sum(linux(each.before, each.order, rules).moves.total_pages for each in done)
        return abs(again - moves)

    others = max((differs(rules) for rules in kernel.others), default=0)
    yield HazardRow(
        "rules of the scanners", others, "kernels that look like this one move so many more or fewer"
    )
    everywhere = differs(replace(kernel.rules, movable_targets_only=False))
    advice = "the kernel fills Movable pageblocks alone and tells no type: told from contents and free lists"
    yield HazardRow("types of pageblocks", everywhere, advice)


def _splits(outcomes: Sequence[Outcome]) -> HazardRow:
    nr = 0
    for each in outcomes:
        source = each.moves.source_pfn[each.moves.nr_pages == 1] - each.before.base_pfn
        nr += int(np.count_nonzero(each.before.state[source] & (HEAD | TAIL)))
    return HazardRow("folios split", nr, "huge pages among them come back only as khugepaged makes new ones")


def _hidden(snapshot: Snapshot, outcomes: Sequence[Outcome], memmap: MemMap) -> Iterator[HazardRow]:
    """Yield what looks like no memory in use, or is given away."""
    blank = sum(_blank_pages(each) for each in outcomes)
    zones = {(each.before.node, each.before.zone) for each in outcomes}
    names = ("node", "zone", "present_pages", "managed_pages")
    sizes = snapshot.table("zones", names).rows(*names)
    unmanaged = sum(present - managed for node, zone, present, managed in sizes if (node, zone) in zones)
    deferred = min(blank, max(0, unmanaged))
    advice = "memory that the allocator was not given yet, or never: taken as used; look again later"
    yield HazardRow("struct pages without content", deferred, advice)
    reported = memmap.having("BUDDY", "UPTODATE").any()
    block = max((1 << each.before.pageblock_order for each in outcomes), default=0)
    isolated = min(blank - deferred, PAGE_REPORTING_CAPACITY * block) if reported else 0
    advice = "some of these pageblocks may be free and on the way to the hypervisor: look again"
    yield HazardRow("free page reporting", isolated, advice)
    given = int(memmap.having("OFFLINE").sum())
    yield HazardRow(
        "given to the hypervisor", given, "they stay until the balloon is deflated or memory plugged"
    )
    unused = 0
    if memmap.mapcount is not None:
        unused = int(np.count_nonzero(memmap.having("HUGE") & (memmap.mapcount == 0)))
    advice = "nobody maps these huge pages: lower vm.nr_hugepages and they are free"
    yield HazardRow("pool of huge pages", unused, advice)
    yield HazardRow("memory errors", int(memmap.having("HWPOISON").sum()), "each keeps a block for ever")


def _blank_pages(outcome: Outcome) -> int:
    """Return the pages of pageblocks in which every word is 0."""
    block = 1 << outcome.before.pageblock_order
    whole = (outcome.before.state == Frame.UNKNOWN).reshape(-1, block).all(axis=1)
    return int(whole.sum()) * block


def _others(snapshot: Snapshot) -> HazardRow:
    moved = snapshot.manifest.get("volatility", {})
    before, after = moved.get("free_pages_before"), moved.get("free_pages_after")
    drift = abs(after - before) if before is not None and after is not None else 0
    nr = max(drift, moved.get("frames_changed") or 0)
    return HazardRow("other processes", nr, "memory changed while it was read: ask again on a quieter host")

"""Every strategy of compaction on the zones of a snapshot, and what must hold when it is carried out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.compaction.blit import blit
from kernelmodel.compaction.eviction import EvictionLimits, evict
from kernelmodel.compaction.gravity import gravity
from kernelmodel.compaction.planner import plan, plan_with_eviction
from kernelmodel.compaction.scanners import linux
from kernelmodel.compaction.single_entry import busy_frames, shared_frames
from kernelmodel.compaction.tree import plan_orders
from kernelmodel.compaction.zone_layout import KIND_MASK, Frame
from kernelmodel.consistency import check
from kernelmodel.migrate import Migrated, migrate
from lab.plants import drop_entry
from vmprobe.analyses.evidence import Evidence
from vmprobe.analyses.quirk_detectors import PRESENT, averaged_mapcounts
from vmprobe.bridge.compaction import kernel_rules, zone_layouts
from vmprobe.bridge.model import host_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernelmodel.compaction.result import Outcome
    from kernelmodel.compaction.scanners import Rules
    from kernelmodel.compaction.zone_layout import ZoneLayout
    from kernelmodel.host import HostModel
    from vmprobe.tables import Snapshot

LIMITS = EvictionLimits(swap_free_pages=4096)


@dataclass(frozen=True)
class Host:
    """A snapshot with its model, its zones and the rules of its kernel."""

    snapshot: Snapshot
    model: HostModel
    layouts: tuple[ZoneLayout, ...]
    rules: Rules

    def grown(self, model: HostModel) -> dict[str, int]:
        """Return the kinds of violation that a model has more of.

        How many and not which: what contradicted itself on this host may have moved elsewhere.
        """
        return dict(nr_of_kinds(model) - nr_of_kinds(self.model))


def nr_of_kinds(model: HostModel) -> Counter[str]:
    """Count violations by kind, those that are only counted included."""
    found: Counter[str] = Counter()
    for violation in check(model).violations:
        more = violation.where == "elsewhere"
        found[violation.kind] += int(violation.detail.split()[0]) if more else 1
    return found


def opened(snapshot: Snapshot) -> Host:
    """Build model and layouts of a snapshot."""
    averaged = averaged_mapcounts(Evidence(snapshot)).status == PRESENT
    model = host_model(snapshot, averaged=averaged)
    layouts = zone_layouts(snapshot, memmap=model.frames)
    return Host(snapshot, model, layouts, kernel_rules(snapshot).rules)


def _orders(_: Host, layout: ZoneLayout) -> Outcome:
    now = layout.free_blocks()
    return plan_orders(layout, {9: int(now[9] + 2 * now[10]) + 4, 6: 8})


def _single(host: Host, layout: ZoneLayout) -> Outcome:
    return blit(layout, 4, 50, shared_frames(host.model, layout) | busy_frames(host.model, layout))


STRATEGIES: dict[str, Callable[[Host, ZoneLayout], Outcome]] = {
    "linux": lambda host, layout: linux(layout, 9, host.rules),
    "linux with per-CPU lists": lambda host, layout: linux(layout, 9, replace(host.rules, pcp_high=700)),
    "plan": lambda _, layout: plan(layout, 9, 40),
    "plan, or evict": lambda _, layout: plan_with_eviction(layout, 9, 40, LIMITS),
    "plan of two orders": _orders,
    "evict": lambda _, layout: evict(layout, 9, 20, LIMITS),
    "blit": lambda host, layout: blit(layout, 4, 50, busy_frames(host.model, layout)),
    "blit, single entries": _single,
    "gravity": lambda _, layout: gravity(layout, 9),
}
"""Name to what it does with one zone."""


def carried_out(host: Host, name: str) -> tuple[list[Outcome], Migrated]:
    """Run a strategy on every zone and carry it out; all that must hold afterwards is asserted."""
    outcomes = [STRATEGIES[name](host, layout) for layout in host.layouts]
    for outcome in outcomes:
        outcome.validate()
    done = migrate(host.model, outcomes)
    assert host.grown(done.model) == {}
    tables, entries = done.model.tables, done.model.entries
    assert tables is not None
    assert entries is not None
    tables.validate()
    entries.validate()
    before = host.model.tables
    assert before is not None
    assert tables.nr_entries == before.nr_entries - done.entries_cleared == len(entries)
    # What the strategy says of a zone is what its frames say, but for what only map counts tell.
    later = zone_layouts(host.snapshot, memmap=done.model.frames)
    for outcome, layout in zip(outcomes, later, strict=True):
        expected, kinds = outcome.after & KIND_MASK, layout.kinds
        same = (expected == kinds) | (kinds == Frame.UNCERTAIN) | (kinds == Frame.HOLE)
        # Whether metadata is held hangs on the type of its pageblock, which it may have left.
        file = [np.isin(each, (Frame.CLEAN, Frame.DIRTY, Frame.HELD)) for each in (expected, kinds)]
        same |= file[0] & file[1] & ((expected == Frame.HELD) | (kinds == Frame.HELD))
        assert same.all(), (name, outcome.before.zone, np.flatnonzero(~same)[:5])
        assert (
            layout.free_blocks().tolist() == outcome.before.with_state(outcome.after).free_blocks().tolist()
        )
    return outcomes, done


def lost_entry_is_caught(host: Host, name: str) -> None:
    """Lose a reverse entry of a frame that is to be left: the page-table entry left behind must be found."""
    outcomes = [STRATEGIES[name](host, layout) for layout in host.layouts]
    assert host.model.entries is not None
    left = np.concatenate([outcome.moves.frames()[0] for outcome in outcomes])
    rows = np.flatnonzero(np.isin(host.model.entries.frame_of_entry(), left))
    for row in rows[[0, len(rows) // 2, -1]].tolist():
        frame = int(host.model.entries.frame_of_entry()[row])
        done = migrate(drop_entry(host.model, row), outcomes)
        assert host.grown(done.model).keys() >= {"entry-dropped", "count-rmap"}
        assert ("count-rmap", f"pfn {frame}") in {each[:2] for each in check(done.model).violations}

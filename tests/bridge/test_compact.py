"""Strategies on a made-up host, added up by hand, and on real ones held against their bounds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from kernelmodel.compaction.cost import CostModel
from kernelmodel.compaction.scanners import linux
from kernelmodel.compaction.zone_layout import Frame
from kernelmodel.consistency import check
from kernelmodel.migrate import migrate
from tests.compactable import (
    ANON,
    FREE,
    MAPPED,
    NR_SHARED,
    RUNS,
    SLAB,
    ZONE_NAMES,
    Runs,
    counters,
    frames_of,
    host,
    zones,
)
from tests.synthetic import rows, snapshot
from vmprobe.bridge import compact as bridge
from vmprobe.bridge.compact import STRATEGIES, Host, reverse_map_difference, run
from vmprobe.bridge.compaction import KernelRules
from vmprobe.bridge.effect import Status, effect
from vmprobe.bridge.hazards import hazards
from vmprobe.bridge.interval import intervals, pcp_room
from vmprobe.store import load

if TYPE_CHECKING:
    from vmprobe.tables import Snapshot, Table

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures/snapshots"
REAL = (
    "6.12-compacting",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("6.1-fragmented", "6.12-fragmented", "6.12-two-nodes", "6.12-swapping")
    ),
)
HEAD, TAIL = (*ANON, "COMPOUND_HEAD", "THP"), (*ANON, "COMPOUND_TAIL", "THP")


def made(**replaced: Any) -> Host:
    return bridge.host(host(**replaced), averaged=False)


def test_zones_are_chosen_by_name_and_node() -> None:
    def names(*zones: tuple[int | None, str]) -> list[str]:
        return [layout.zone for layout in bridge.host(host(), averaged=False, zones=zones).layouts]

    assert names() == names((None, "DMA32"), (0, "Normal")) == ["DMA32", "Normal"]
    assert names((0, "Normal")) == ["Normal"]
    assert names((1, "Normal")) == []


@pytest.mark.parametrize(
    ("count", "moves", "gained"),
    [
        # Windows cost 8, 50, 200 in Normal and 100, 300 in DMA32; there is room for two and for one.
        (1, [0, 8], [0, 1]),
        (2, [0, 58], [0, 2]),
        (3, [100, 58], [1, 2]),
        (None, [100, 58], [1, 2]),
        (9, [100, 58], [1, 2]),
    ],
)
def test_the_planner_takes_the_cheapest_windows_of_all_zones(
    count: int | None, moves: list[int], gained: list[int]
) -> None:
    outcomes = run(made(), "plan", 9, count)
    assert [outcome.moves.total_pages for outcome in outcomes] == moves
    assert [outcome.gained_blocks for outcome in outcomes] == gained
    short = count is not None and count > 3
    assert effect(made(), outcomes).status == (Status.INFEASIBLE if short else Status.COMPLETE)


def test_blit_leaves_dirty_pages_and_with_one_entry_shared_ones() -> None:
    full = run(made(), "blit", 9, None)
    assert [outcome.moves.total_pages for outcome in full] == [100, 250]
    single = run(made(), "blit", 9, None, single_entry=True)
    assert [outcome.moves.total_pages for outcome in single] == [300, 250]
    asked = run(made(), "blit", 9, 2)
    assert [outcome.moves.total_pages for outcome in asked] == [100, 50]
    found = reverse_map_difference(made(), 9)
    assert (found.windows_full, found.windows_single) == (4, 3)
    assert (found.blocks_full, found.blocks_single) == (3, 3)


def test_evict_asks_the_highest_zone_first_and_shares_the_swap() -> None:
    with_swap = made(counters=counters(SwapFree=4 * 150))
    assert with_swap.swap_free_pages == 150
    outcomes = run(with_swap, "evict", 9, None)
    # Normal swaps 50 and drops its cache, which leaves swap for the 100 of DMA32.
    assert [len(outcome.evicted_pfn) for outcome in outcomes] == [100, 258]
    outcomes = run(made(counters=counters(SwapFree=4 * 140)), "evict", 9, None)
    assert [len(outcome.evicted_pfn) for outcome in outcomes] == [0, 258]
    outcomes = run(with_swap, "evict", 9, 1)
    assert [len(outcome.evicted_pfn) for outcome in outcomes] == [0, 200], "dropping is cheaper than writing"
    assert effect(with_swap, outcomes).status == Status.COMPLETE
    short = effect(made(), run(made(), "evict", 9, 3))
    assert (short.gained_blocks, short.status) == (2, Status.INFEASIBLE)


def test_an_effect_is_added_up_over_zones() -> None:
    host_ = made()
    found = effect(host_, run(host_, "plan", 9, 3))
    assert (found.gained_blocks, found.moves_pages, found.evicted_pages) == (3, 158, 0)
    # 100 pages of one process, ten of which another maps, 50 of that one, and 8 of a file.
    assert found.ptes_patched == 100 + NR_SHARED + MAPPED[2048]
    assert found.address_spaces == 2
    assert (found.minimum_moves_pages, found.ratio_to_minimum) == (158, 1.0)
    assert (found.migrate_scanned, found.free_scanned) == (None, None)
    assert found.blocked == {"fixed": 2}
    assert sum(nr << order for order, nr in enumerate(found.after)) == sum(
        nr << order for order, nr in enumerate(found.before)
    )
    cost, model = found.cost_us, CostModel()
    flushes = found.tlb_flushes
    assert flushes is not None
    extra = max(0, found.ptes_patched - 158)
    assert cost.mid == pytest.approx(
        158 * model.move_us[1] + extra * model.patch_us[1] + flushes * model.flush_us[1]
    )
    assert cost.low < cost.mid < cost.high


def test_evicted_pages_are_entries_gone_and_priced_apart() -> None:
    host_ = made(counters=counters(SwapFree=4 * 50))
    found = effect(host_, run(host_, "evict", 9, None))
    assert (found.moves_pages, found.evicted_pages, found.ptes_patched) == (0, 258, 50)
    model = CostModel()
    flushes = found.tlb_flushes or 0
    priced = 200 * model.drop_us[1] + 58 * model.swap_us[1] + flushes * model.flush_us[1]
    assert found.cost_us.mid == pytest.approx(priced)
    assert (found.minimum_moves_pages, found.ratio_to_minimum) == (258, 1.0), "evicted like moved"


def test_without_page_tables_entries_are_unknown() -> None:
    tables = {name: host().table(name) for name in host().tables() if name != "mappings"}
    bare = bridge.host(snapshot(without=("mappings", "free_areas"), **tables), averaged=False)
    found = effect(bare, run(bare, "plan", 9, 3))
    assert (found.ptes_patched, found.address_spaces, found.tlb_flushes) == (None, None, None)
    assert found.moves_pages == 158


def test_one_zone_that_is_given_up_is_the_status_of_all() -> None:
    host_ = made()
    outcomes = list(run(host_, "linux", 9, None))
    assert effect(host_, outcomes).status == Status.COMPLETE
    outcomes[0] = replace(outcomes[0], status=Status.CONTENDED)
    assert effect(host_, outcomes).status == Status.CONTENDED


def bounds(asked: Snapshot, host_: Host, strategy: str, count: int | None = None) -> tuple[int, int]:
    return intervals(asked, host_, strategy, run(host_, strategy, 9, count), count).total


@pytest.mark.usefixtures("nothing_churns")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_where_all_is_known_both_ends_are_the_forecast(strategy: str) -> None:
    host_ = made()
    gained = sum(outcome.gained_blocks for outcome in run(host_, strategy, 9, None))
    assert bounds(host(), host_, strategy) == (gained, gained)


def test_each_pin_that_is_not_located_may_cost_a_block() -> None:
    def total(acquired: int) -> tuple[int, int]:
        replaced = {"counters": counters(nr_foll_pin_acquired=acquired)}
        return bounds(host(**replaced), made(**replaced), "plan")

    assert [total(50 + nr) for nr in (0, 1, 2, 3, 900)] == [(3, 3), (2, 3), (1, 3), (0, 3), (0, 3)]


def test_words_of_zero_may_be_free_and_what_is_uncertain_may_move() -> None:
    runs = with_block(2, (SLAB, 300), (FREE, 212))
    runs[2:4] = [((), 5), (ANON, 95), (FREE, 412)]
    assert sum(nr for _, nr in runs) == 4096

    def total(pcp_pages: int, mapped: dict[int, int]) -> tuple[int, int]:
        replaced = {"frames": frames_of(runs, mapped), "zones": zones(pcp_pages=pcp_pages)}
        return bounds(host(**replaced), made(**replaced), "plan")

    assert total(0, MAPPED) == (2, 2)
    assert total(4, MAPPED) == (2, 2), "lists with too few pages"
    assert total(5, MAPPED) == (2, 3)
    # Anonymous memory that nobody maps is held by something: of three windows only the page cache is sure.
    assert total(0, {}) == (2, 2)
    assert total(5, {}) == (2, 3)


def test_what_nobody_maps_by_count_and_by_flag_is_held() -> None:
    unmapped = tuple(flag for flag in ANON if flag != "MMAP")
    runs = with_block(2, (ANON, 10), (unmapped, 10), ((*unmapped, "SWAPCACHE"), 10), (FREE, 482))
    layout = bridge.host(host(frames=frames_of(runs, {})), averaged=False).layouts[0]
    kinds = layout.kinds[1024:1054].reshape(3, 10)
    # The first were mapped between the readings of kpagecount and kpageflags.
    assert [set(each.tolist()) for each in kinds] == [{Frame.ANON}, {Frame.UNCERTAIN}, {Frame.ANON}]


@pytest.mark.usefixtures("nothing_churns")
def test_what_other_kernels_do_is_in_the_interval() -> None:
    host_ = made()
    outcomes = run(host_, "linux", 9, None)
    rules = host_.kernel.rules
    other = replace(rules, movable_targets_only=False, stride=False)
    unsure = replace(host_, kernel=KernelRules(rules, (other,)))
    gained = [
        sum(linux(layout, 9, each).gained_blocks for layout in host_.layouts) for each in (rules, other)
    ]
    assert gained[0] != gained[1]
    # What lists keep lowers the one end alone.
    listed = intervals(host(counters=with_lists(400)), unsure, "linux", outcomes, None)
    assert listed.total[1] == max(gained)
    found = intervals(host(), unsure, "linux", outcomes, None)
    assert found.total == (min(gained), max(gained))
    assert found.total == tuple(map(sum, zip(*found.zones, strict=True)))


def with_lists(high: int) -> Table:
    """Counters of a host on which each list may hold so many pages."""
    table = counters()
    values = table.column("value").copy()
    values[table.column("name") == "pcp_high_max"] = high
    return replace(table, columns={**table.columns, "value": values})


@pytest.mark.usefixtures("nothing_churns")
def test_lists_with_room_keep_what_was_freed() -> None:
    def total(high: int) -> tuple[int, int]:
        return bounds(host(counters=with_lists(high)), made(counters=with_lists(high)), "linux")

    none, some = total(0), total(400)
    assert none[0] == none[1] == some[1]
    assert some[0] < none[0]


@pytest.mark.parametrize(
    ("limit", "on_lists", "room"), [(100, 0, 100), (100, 150, 100), (None, 0, 2048 // 8 // 2)]
)
def test_room_on_per_cpu_lists(limit: int | None, on_lists: int, room: int) -> None:
    table = counters()
    told = table.column("name") == "pcp_high_max"
    keep = ~told if limit is None else np.ones(len(table), bool)
    columns = {name: table.column(name)[keep].copy() for name in ("source", "scope", "name", "value")}
    if limit is not None:
        columns["value"][told] = limit
    changed = host(
        counters=replace(table, columns=columns, nr_rows=int(keep.sum()), valid={}),
        zones=zones(pcp_pages=on_lists),
    )
    layout = bridge.host(changed, averaged=False).layouts[0]
    assert pcp_room(changed, layout) == room


def named(asked: Snapshot, strategy: str = "linux") -> dict[str, int]:
    host_ = bridge.host(asked, averaged=False)
    outcomes = run(host_, strategy, 9, None)
    found = hazards(asked, outcomes, host_.pins, memmap=host_.model.frames, kernel=host_.kernel)
    assert all(row.pages > 0 and row.advice for row in found)
    return {row.hazard: row.pages for row in found}


def with_block(number: int, *runs: tuple[tuple[str, ...], int]) -> Runs:
    """Return the runs with other contents of one pageblock."""
    assert sum(nr for _, nr in runs) == 512
    blocks: list[Runs] = [[]]
    for flags, nr in RUNS:
        if sum(each for _, each in blocks[-1]) == 512:
            blocks.append([])
        blocks[-1].append((flags, nr))
    blocks[number] = list(runs)
    return [each for block in blocks for each in block]


def test_a_quiet_host_has_no_hazards_but_guessed_types() -> None:
    assert set(named(host())) <= {"types of pageblocks"}
    assert named(host(), "plan") == {}


BLANK = ((), 512)
DRIFT = {"free_pages_before": 90, "free_pages_after": 50}
LARGE_DIRTY = (
    (("UPTODATE", "LRU", "DIRTY", "COMPOUND_HEAD"), 1),
    (("UPTODATE", "LRU", "DIRTY", "COMPOUND_TAIL"), 15),
    (FREE, 496),
)


@pytest.mark.parametrize(
    ("hazard", "pages", "replaced"),
    [
        ("dirty large folios", 16, {"frames": frames_of(with_block(6, *LARGE_DIRTY), {})}),
        ("pins not found", 7, {"counters": counters(nr_foll_pin_acquired=57)}),
        ("per-CPU lists", 18, {"zones": zones(pcp_pages=9)}),
        ("struct pages without content", 512, {"frames": frames_of(with_block(3, BLANK)), "zones": "short"}),
        ("given to the hypervisor", 512, {"frames": frames_of(with_block(3, (("OFFLINE",), 512)), {})}),
        ("pool of huge pages", 512, {"frames": frames_of(with_block(3, (("HUGE",), 512)), {})}),
        ("pool of huge pages", 500, {"frames": frames_of(with_block(3, (("HUGE",), 512)), {1536: 12})}),
        ("memory errors", 1, {"frames": frames_of(with_block(3, (("HWPOISON",), 1), (FREE, 511)), {})}),
        (
            "free page reporting",
            512,
            {"frames": frames_of([*with_block(3, ((), 512))[:-1], ((*FREE, "UPTODATE"), 312)], {})},
        ),
        ("other processes", 40, {"manifest": {"volatility": DRIFT}}),
        ("other processes", 9, {"manifest": {"volatility": {"frames_changed": 9}}}),
    ],
)  # fmt: skip
def test_each_hazard_is_named_where_it_is(hazard: str, pages: int, replaced: dict[str, Any]) -> None:
    if replaced.get("zones") == "short":
        each = [
            (0, name, start, 2048, 2048, 2048 - 256, 9, 10, 0, [0])
            for name, start in (("DMA32", 0), ("Normal", 2048))
        ]
        replaced = {**replaced, "zones": rows("zones", ZONE_NAMES, *each)}
    assert named(host(**replaced), "plan")[hazard] == pages
    assert hazard not in named(host(), "plan")


def test_dirty_large_folios_are_no_hazard_to_kernels_that_leave_them() -> None:
    frames = frames_of(with_block(6, *LARGE_DIRTY), {})
    table = counters()
    keep = table.column("source") != "thp"
    keep &= table.column("name") != "pgscan_khugepaged"
    columns = {name: table.column(name)[keep] for name in ("source", "scope", "name", "value")}
    old = host(frames=frames, counters=replace(table, columns=columns, nr_rows=int(keep.sum()), valid={}))
    assert "dirty large folios" not in named(old)
    assert named(host(frames=frames))["dirty large folios"] == 16
    assert "dirty large folios" not in named(host(frames=frames), "evict")


def test_who_pins_is_named() -> None:
    tasks = [
        (pid, f"p{pid}", pid, size, False) for pid, size in ((1, 4096), (2, 8192), (3, 0), (4, 1), (5, 2))
    ]
    asked = host(
        tasks=rows("tasks", "pid comm mm vm_pin_bytes frozen", *tasks),
        counters=counters(nr_foll_pin_acquired=57),
    )
    host_ = bridge.host(asked, averaged=False)
    found = hazards(
        asked, run(host_, "plan", 9, 1), host_.pins, memmap=host_.model.frames, kernel=host_.kernel
    )
    assert found[0].advice.endswith("(pinning: p2 2, p1 1, p5 5 and 1 more)")


@pytest.mark.parametrize(("room", "pages"), [(((FREE, 3), (SLAB, 1)), 16), (((FREE, 48), (SLAB, 16)), 0)])
def test_large_folios_that_end_as_single_pages_are_counted(room: Runs, pages: int) -> None:
    runs: Runs = [
        (SLAB, 512),
        (HEAD, 1),
        (TAIL, 15),
        (FREE, 496),
        *room * (2048 // sum(nr for _, nr in room)),
    ]
    runs += [(SLAB, 4096 - sum(nr for _, nr in runs))]
    assert named(host(frames=frames_of(runs, {512: 16})), "plan").get("folios split", 0) == pages


@pytest.mark.parametrize("name", REAL)
def test_no_strategy_beats_its_bound_and_the_model_stays_consistent(name: str) -> None:
    host_ = bridge.host(load(FIXTURES / f"{name}.vmsnap"), averaged=False)
    before = {(each.kind, each.where) for each in check(host_.model).violations}
    for strategy in STRATEGIES:
        outcomes = run(host_, strategy, 9, None)
        for outcome in outcomes:
            outcome.validate()
        found = effect(host_, outcomes)
        if found.minimum_moves_pages is not None:
            assert found.moves_pages + found.evicted_pages >= found.minimum_moves_pages
        after = {(each.kind, each.where) for each in check(migrate(host_.model, outcomes).model).violations}
        assert after <= before, strategy

"""Moves carried out on a whole model: as page by page, and nothing lost, doubled or left behind unnoticed."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelmodel.compaction.from_frames import frame_states
from kernelmodel.compaction.result import Moves, Outcome, Status
from kernelmodel.compaction.zone_layout import (
    FIRST_MOVABLE,
    KIND_MASK,
    LAST_MOVABLE,
    TAIL,
    Frame,
    ZoneLayout,
)
from kernelmodel.consistency import check
from kernelmodel.errors import InvariantError, ModelError
from kernelmodel.folio import folios
from kernelmodel.migrate import migrate
from kernelmodel.pageflags import mask
from kernelmodel.rmap.csr import reverse_entries
from lab.plants import double_entry, drop_entry, shift_offset
from tests.kernelmodel.hosts import NR_ORDERS, RANGES, Host, draw_host, merged
from tests.oracles import migrate as oracle

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernelmodel.host import HostModel

SEEDS = st.integers(0, 1 << 32)


def layouts(model: HostModel) -> list[ZoneLayout]:
    """The layout of each zone."""
    # By words alone: a page of a folio that nobody maps would be in doubt once it stands alone.
    frames = replace(model.frames, mapcount=None)
    states = frame_states(frames, None, unevictable_allowed=True, nr_zspages=0)
    made = []
    row = 0
    for zone in model.zones:
        start, end = zone.start_pfn, zone.end_pfn
        # Both begin and end at multiples of the largest block.
        state = states[row : row + end - start].copy()
        targets = np.ones((end - start) >> zone.pageblock_order, np.bool_)
        made.append(
            ZoneLayout(
                zone.node, zone.zone, start, end, start, state, targets, zone.pageblock_order, NR_ORDERS
            )
        )
        made[-1].validate()
        row += end - start
    return made


def draw_outcome(layout: ZoneLayout, seed: int, strategy: str = "drawn") -> Outcome:
    """Draw moves, evictions and frames held back: folios whole, in parts or page by page."""
    random_ = random.Random(seed)
    state, after = layout.state.tolist(), layout.state.copy()
    free = {at for at, byte in enumerate(state) if byte & KIND_MASK == Frame.FREE}
    moves, evicted, held = [], [], []
    at = 0
    while at < len(state):
        nr = 1
        while at + nr < len(state) and state[at + nr] & TAIL:
            nr += 1
        choice = random_.choice(("stay", "move", "move", "evict")) if movable(state[at]) else "stay"
        holes = [
            to for to in sorted(free) if to % nr == 0 and all(to + page in free for page in range(1, nr))
        ]
        if choice == "move" and holes and random_.random() < 0.7:
            moves.append((at, random_.choice(holes), nr))
        elif choice != "stay":
            for page in range(at, at + nr):
                if choice == "move" and random_.random() < 0.8 and free - {to for _, to, _ in moves}:
                    moves.append((page, random_.choice(sorted(free)), 1))
                    free -= {moves[-1][1]}
                elif choice == "evict" and random_.random() < 0.9:
                    evicted.append(page)
        for _, to, size in moves[-1:]:
            free -= set(range(to, to + size))
        at += nr
    for source, to, nr in moves:
        after[to : to + nr] = after[source : source + nr]
        after[source : source + nr] = Frame.FREE
        held += [page for page in range(source, source + nr) if random_.random() < 0.1]
    after[evicted], after[held] = Frame.FREE, Frame.UNKNOWN
    columns = [np.array(column, np.int64) for column in zip(*moves, strict=True)] or [
        np.empty(0, np.int64)
    ] * 3
    base = layout.base_pfn
    made = Outcome(
        strategy,
        2,
        layout,
        after,
        Moves(columns[0] + base, columns[1] + base, columns[2]),
        np.array(evicted, np.int64) + base,
        Status.COMPLETE,
        held_back_pages=len(held),
    )
    made.validate()
    return made


def movable(byte: int) -> bool:
    return FIRST_MOVABLE <= byte & KIND_MASK <= LAST_MOVABLE


def entries_of(model: HostModel) -> dict[tuple[int, int], int]:
    """(mm, vpn) to frame, from the page tables."""
    tables = model.tables
    assert tables is not None
    return {
        (int(tables.vmas.mm[vma]), vpn + page): pfn + page
        for vma, vpn, pfn, nr in zip(
            tables.vma.tolist(),
            tables.vpn.tolist(),
            tables.pfn.tolist(),
            tables.nr_pages.tolist(),
            strict=True,
        )
        for page in range(nr)
    }


def reverse_of(model: HostModel) -> dict[int, list[tuple[int, int]]]:
    """Frame to (mm, vpn), from the reverse map, sorted."""
    entries = model.entries
    assert entries is not None
    found: dict[int, list[tuple[int, int]]] = {}
    addresses = zip(*(column.tolist() for column in entries.address_of_entry()), strict=True)
    for pfn, at in zip(entries.frame_of_entry().tolist(), addresses, strict=True):
        found.setdefault(pfn, []).append(at)
    return {pfn: sorted(each) for pfn, each in found.items()}


def by_frame(model: HostModel, column: np.ndarray) -> dict[int, int]:
    pfns = model.frames.pfns(np.arange(len(model.frames))).tolist()
    return dict(zip(pfns, column.tolist(), strict=True))


def page_by_page(model: HostModel, outcomes: list[Outcome]) -> oracle.Memory:
    """What the slow twin makes of the same."""
    assert model.frames.mapcount is not None
    memory = oracle.Memory(
        by_frame(model, model.frames.words),
        by_frame(model, model.frames.mapcount),
        entries_of(model),
        reverse_of(model),
    )
    for number, outcome in enumerate(outcomes):
        moves = outcome.moves
        columns = (moves.source_pfn, moves.destination_pfn, moves.nr_pages)
        oracle.migrate(
            memory,
            list(zip(*(column.tolist() for column in columns), strict=True)),
            outcome.evicted_pfn.tolist(),
            held_in(outcome),
            number=number,
            batch_pages=None if outcome.strategy == "blit" else 32,
            averaged=model.averaged,
        )
    return memory


def held_in(outcome: Outcome) -> set[int]:
    """Frames that were left and are not free."""
    left = np.concatenate((outcome.moves.frames()[0], outcome.evicted_pfn))
    return {pfn for pfn in left.tolist() if outcome.after[pfn - outcome.before.base_pfn] == Frame.UNKNOWN}


def violations(model: HostModel) -> set[tuple[str, str]]:
    return {(violation.kind, violation.where) for violation in check(model).violations}


def assert_same(model: HostModel, outcomes: list[Outcome]) -> HostModel:
    """Carry out on the arrays and page by page; everything must be equal. Return the new model."""
    expected = page_by_page(model, outcomes)
    done = migrate(model, outcomes)
    later = done.model
    assert later.frames.mapcount is not None
    assert by_frame(later, later.frames.words) == expected.words
    assert by_frame(later, later.frames.mapcount) == expected.counts
    assert entries_of(later) == expected.entries
    assert reverse_of(later) == {pfn: sorted(led) for pfn, led in expected.reverse.items()}
    assert done.pages_copied == sum(outcome.moves.total_pages for outcome in outcomes)
    assert done.entries_patched == len(expected.patched)
    assert done.entries_cleared == len(expected.cleared)
    assert done.address_spaces == len({mm for *_, mm in expected.flushed})
    assert done.tlb_flushes == len(expected.flushed)
    assert done.pages_unmapped == expected.nr_unmapped
    return later


@given(SEEDS, st.sampled_from(["drawn", "blit"]), st.booleans())
def test_a_model_is_migrated_as_page_by_page(seed: int, strategy: str, averaged: bool) -> None:
    host = draw_host(seed)
    model = host.model(averaged=averaged)
    outcomes = [draw_outcome(layout, seed, strategy) for layout in layouts(model)]
    later = assert_same(model, outcomes)
    assert violations(later) == set()
    assert later.tables is not None
    assert later.entries is not None
    later.tables.validate()
    later.entries.validate()
    # Runs are as long as they can be, and the rest is what would be built from frames and page tables.
    made = Host(vmas=host.vmas, entries=entries_of(later)).tables()
    for name in ("vma", "vpn", "pfn", "nr_pages"):
        assert getattr(later.tables, name).tolist() == getattr(made, name).tolist()
    anew = reverse_entries(later.tables)
    assert later.entries.pfn.tolist() == anew.pfn.tolist()
    assert later.entries.first.tolist() == anew.first.tolist()
    assert later.folios.head_pfn.tolist() == folios(later.frames).head_pfn.tolist()
    for number, free in enumerate(later.free):
        frames = later.frames.pfns(np.flatnonzero(later.frames.having("BUDDY"))).tolist()
        inside = [pfn for pfn in frames if RANGES[number][0] <= pfn < RANGES[number][1]]
        blocks = zip(free.start_pfn.tolist(), free.order.tolist(), strict=True)
        assert list(blocks) == merged(inside)
    for outcome, layout in zip(outcomes, layouts(later), strict=True):
        assert (layout.kinds == outcome.after & KIND_MASK).all()
        zone = next(zone for zone in later.zones if zone.zone == layout.zone)
        untouched = not len(outcome.moves) and not len(outcome.evicted_pfn)
        assert (zone.nr_free_before is None) != untouched


@given(SEEDS)
def test_the_model_that_was_given_stays_as_it_was(seed: int) -> None:
    model, twin = draw_host(seed).model(), draw_host(seed).model()
    migrate(model, [draw_outcome(layout, seed) for layout in layouts(model)])
    assert (model.frames.words == twin.frames.words).all()
    assert entries_of(model) == entries_of(twin)
    assert reverse_of(model) == reverse_of(twin)
    assert model.zones == twin.zones


def with_moved_entry(seed: int) -> tuple[HostModel, list[Outcome], int, int]:
    """A host, its moves, the row of a reverse entry of a moved frame, and that frame."""
    while True:
        model = draw_host(seed).model()
        outcomes = [draw_outcome(layout, seed) for layout in layouts(model)]
        sources = np.concatenate([outcome.moves.frames()[0] for outcome in outcomes])
        assert model.entries is not None
        rows = np.flatnonzero(np.isin(model.entries.frame_of_entry(), sources))
        if len(rows):
            row = int(rows[seed % len(rows)])
            return model, outcomes, row, int(model.entries.frame_of_entry()[row])
        seed += 1


@given(SEEDS)
def test_a_lost_reverse_entry_leaves_a_page_table_entry_behind_and_is_caught(seed: int) -> None:
    model, outcomes, row, frame = with_moved_entry(seed)
    assert violations(migrate(model, outcomes).model) == set()
    lost = assert_same(drop_entry(model, row), outcomes)
    stale = [at for at, pfn in entries_of(lost).items() if pfn == frame]
    assert len(stale) == 1
    assert lost.frames.words[lost.frames.rows(np.array([frame]))[0]] in {0, mask("BUDDY")}
    found = violations(lost)
    # An empty frame is mapped, and its page has fewer mappings than the kernel counts.
    assert {("count-unexplained", f"pfn {frame}"), ("count-rmap", f"pfn {frame}")} <= found
    to = next(
        int(there[here == frame][0])
        for here, there in (outcome.moves.frames() for outcome in outcomes)
        if (here == frame).any()
    )
    assert ("count-unexplained", f"pfn {to}") in found


@given(SEEDS)
def test_a_doubled_reverse_entry_is_patched_once_and_stays_doubled(seed: int) -> None:
    model, outcomes, row, _ = with_moved_entry(seed)
    right = migrate(model, outcomes)
    doubled = double_entry(model, row)
    wrong = migrate(doubled, outcomes)
    assert_same(doubled, outcomes)
    assert entries_of(wrong.model) == entries_of(right.model)
    assert wrong.entries_patched == right.entries_patched
    assert {kind for kind, _ in violations(wrong.model)} == {"entry-doubled", "count-rmap"}


@given(SEEDS)
def test_a_shifted_reverse_entry_patches_nothing_of_others_and_is_caught(seed: int) -> None:
    model, outcomes, row, frame = with_moved_entry(seed)
    shifted = shift_offset(model, row)
    assert shifted.entries is not None
    mm, vpn = (column[row : row + 1] for column in shifted.entries.address_of_entry())
    assert model.tables is not None
    lands = int(model.tables.lookup(mm, vpn)[0])
    later = assert_same(shifted, outcomes)
    stale = [at for at, pfn in entries_of(later).items() if pfn == frame]
    assert stale == [(int(mm[0]), int(vpn[0]) - 1)]
    kinds = {kind for kind, _ in violations(later)}
    # One page further the same frame may be mapped again: then its own entry is found twice.
    assert "entry-dropped" in kinds
    assert "entry-shifted" in kinds or lands == frame


def one_folio() -> Host:
    """An anonymous folio of order 2 at 32, mapped by two processes, and free frames from 48 on."""
    host = Host()
    host.words = {pfn: mask("SLAB") for start, end in RANGES for pfn in range(start, end)}
    anon = mask("LRU", "ANON", "SWAPBACKED", "UPTODATE", "THP")
    host.words[32] = anon | mask("COMPOUND_HEAD", "MMAP")
    # Kernels up to 6.9 say little on tails.
    host.words |= {pfn: mask("COMPOUND_TAIL", "THP", "MMAP") for pfn in range(33, 36)}
    host.words |= {pfn: mask("BUDDY") for pfn in range(48, 64)}
    host.free = {0: [(48, 4)]}
    host.vmas = [(1, 100, 110), (2, 7, 9)]
    host.entries = {(1, 101): 32, (1, 102): 33, (1, 103): 34, (1, 104): 35, (2, 8): 33}
    return host


def moved(model: HostModel, *moves: tuple[int, int, int], evicted: tuple[int, ...] = ()) -> Outcome:
    layout = layouts(model)[0]
    columns = [np.array(column, np.int64) for column in zip(*moves, strict=True)] or [
        np.empty(0, np.int64)
    ] * 3
    made = Moves(*columns)
    after = layout.state.copy()
    source, target = (frames - layout.base_pfn for frames in made.frames())
    after[target] = after[source]
    after[source] = Frame.FREE
    gone = np.array(evicted, np.int64)
    after[gone - layout.base_pfn] = Frame.FREE
    return Outcome("drawn", 2, layout, after, made, gone, Status.COMPLETE)


def test_a_folio_that_moves_whole_stays_one_run() -> None:
    model = one_folio().model()
    assert model.tables is not None
    done = migrate(model, [moved(model, (32, 56, 4))])
    assert violations(done.model) == set()
    assert done.model.tables is not None
    assert done.model.tables.pfn.tolist() == [56, 57]
    assert done.model.tables.nr_pages.tolist() == [4, 1]
    assert done.model.folios.head_pfn.tolist() == [56]
    assert (done.entries_patched, done.address_spaces, done.tlb_flushes) == (5, 2, 2)


def test_runs_of_two_vmas_and_of_two_address_spaces_stay_apart() -> None:
    host = one_folio()
    host.vmas = [(1, 100, 102), (1, 102, 104), (2, 104, 106)]
    host.entries = {(1, 101): 33, (1, 102): 32, (1, 103): 34, (2, 104): 35}
    model = host.model()
    later = migrate(model, [moved(model, (33, 56, 1), (32, 57, 1), (34, 58, 1), (35, 59, 1))]).model
    assert violations(later) == set()
    assert later.tables is not None
    assert later.tables.pfn.tolist() == [56, 57, 59]
    assert later.tables.nr_pages.tolist() == [1, 2, 1]


def test_a_folio_that_moves_in_parts_is_split_and_its_tails_speak_for_themselves() -> None:
    host = one_folio()
    model = host.model()
    later = migrate(model, [moved(model, (33, 50, 1))]).model
    assert violations(later) == set()
    assert len(later.folios) == 0
    word = mask("LRU", "ANON", "SWAPBACKED", "UPTODATE", "MMAP")
    rows = later.frames.rows(np.array([32, 50, 34, 35]))
    assert later.frames.words[rows].tolist() == [word] * 4
    assert later.tables is not None
    assert later.tables.pfn.tolist() == [32, 50, 34, 50]
    assert violations(migrate(model, [moved(model, evicted=(32,))]).model) == set()


def test_averages_of_a_split_folio_give_way_to_what_is_found() -> None:
    host = one_folio()
    model = host.model(averaged=True)
    assert model.frames.mapcount is not None
    rows = model.frames.rows(np.arange(32, 36))
    averaged = model.frames.mapcount.copy()
    averaged[rows] = 2
    model = replace(model, frames=replace(model.frames, mapcount=averaged))
    assert violations(model) == set()
    whole = migrate(model, [moved(model, (32, 48, 4))]).model
    parts = migrate(model, [moved(model, (32, 50, 1), (33, 49, 1))]).model
    assert violations(whole) == violations(parts) == set()
    assert whole.frames.mapcount is not None
    assert parts.frames.mapcount is not None
    at = parts.frames.rows(np.array([50, 49, 34, 35]))
    assert parts.frames.mapcount[at].tolist() == [1, 2, 1, 1]
    assert whole.frames.mapcount[whole.frames.rows(np.arange(48, 52))].tolist() == [2] * 4


def test_what_is_evicted_is_mapped_by_nobody() -> None:
    model = one_folio().model()
    done = migrate(model, [moved(model, evicted=(32, 33, 34, 35))])
    assert violations(done.model) == set()
    assert done.model.tables is not None
    assert done.model.tables.nr_entries == 0
    assert (done.pages_copied, done.entries_cleared, done.tlb_flushes) == (0, 5, 2)
    again = migrate(done.model, [moved(done.model)])
    assert again.model.tables is not None
    assert again.model.tables.nr_entries == again.pages_unmapped == 0


def test_doubt_and_what_is_known_go_along() -> None:
    model = one_folio().model()
    frames = model.frames
    doubt = np.zeros(len(frames), np.bool_)
    doubt[frames.rows(np.array([32, 57]))] = True
    known = np.ones(len(frames), np.bool_)
    known[frames.rows(np.array([33]))] = False
    whole = moved(model, (32, 56, 4))
    model = replace(model, frames=replace(frames, unstable=doubt, known=known))
    later = migrate(model, [whole]).model.frames
    assert later.pfns(np.flatnonzero(later.unstable)).tolist() == [32, 33, 56, 57]
    assert later.known is not None
    assert later.pfns(np.flatnonzero(~later.known)).tolist() == [33, 57]


def test_without_page_tables_frames_move_all_the_same() -> None:
    model = replace(one_folio().model(), tables=None, entries=None)
    model = replace(model, frames=replace(model.frames, mapcount=None))
    done = migrate(model, [moved(model, (32, 56, 4), evicted=())])
    assert violations(done.model) == set()
    assert (done.model.folios.head_pfn.tolist(), done.pages_copied, done.pages_unmapped) == ([56], 4, 4)
    assert (done.entries_patched, done.tlb_flushes) == (0, 0)


def test_flushes_are_by_batch_unless_one_request_is_served() -> None:
    model = one_folio().model()
    singles = moved(model, (32, 48, 1), (33, 49, 1), (34, 50, 1), (35, 51, 1))
    assert migrate(model, [singles]).tlb_flushes == 2
    assert migrate(model, [replace(singles, strategy="blit")]).tlb_flushes == 5


def test_a_frame_that_is_free_and_mapped_keeps_both_mappings() -> None:
    host = one_folio()
    host.entries[2, 7] = 50
    model = host.model()
    model = replace(model, frames=replace(model.frames, unstable=np.ones(len(model.frames), np.bool_)))
    later = migrate(model, [moved(model, (34, 50, 1))]).model
    assert reverse_of(later)[50] == [(1, 103), (2, 7)]
    assert violations(later) == set()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda model: [moved(model, (32, 56, 4)), moved(model, (33, 48, 1))], InvariantError),
        (lambda model: [moved(model, (32, 48, 1)), moved(model, evicted=(32,))], ModelError),
        (lambda model: [moved(model, evicted=(32,)), moved(model, evicted=(32,))], ModelError),
        (lambda model: [replace(moved(model, (32, 48, 1)), moves=far(32, 300))], ModelError),
        (lambda model: [replace(moved(model, (32, 48, 1)), moves=far(17, 1 << 30))], ModelError),
    ],
    ids=["moved twice", "moved and evicted", "evicted twice", "into no frame", "into no zone"],
)
def test_moves_that_are_no_substitution_are_refused(
    change: Callable[[HostModel], list[Outcome]], error: type[Exception]
) -> None:
    model = one_folio().model()
    with pytest.raises(error):
        migrate(model, change(model))


def far(source: int, target: int) -> Moves:
    return Moves(np.array([source]), np.array([target]), np.array([1]))

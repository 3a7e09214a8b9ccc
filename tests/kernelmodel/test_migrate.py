"""Moves carried out on a whole model: as page by page, and nothing lost, doubled or left behind unnoticed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernelmodel.compaction.result import Moves, Outcome, Status
from kernelmodel.compaction.zone_layout import (
    FIRST_MOVABLE,
    KIND_MASK,
    LAST_MOVABLE,
    TAIL,
    Frame,
    ZoneLayout,
)
from kernelmodel.folio import folios
from kernelmodel.migrate import migrate
from kernelmodel.pageflags import mask
from kernelmodel.rmap.csr import reverse_entries
from lab.plants import double_entry, drop_entry, shift_offset
from tests.kernelmodel.hosts import RANGES, Host, draw_host, merged
from tests.kernelmodel.migrated import layouts, reverse_of, violations
from tests.oracles import migrate as oracle

if TYPE_CHECKING:
    from kernelmodel.host import HostModel

SEEDS = st.integers(0, 1 << 32)


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

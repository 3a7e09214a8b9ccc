"""One large folio that is moved, split, evicted or refused, by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from kernelmodel.compaction.result import Moves, Outcome, Status
from kernelmodel.compaction.zone_layout import (
    Frame,
)
from kernelmodel.errors import InvariantError, ModelError
from kernelmodel.migrate import migrate
from kernelmodel.pageflags import mask
from tests.kernelmodel.hosts import RANGES, Host
from tests.kernelmodel.migrated import layouts, reverse_of, violations

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernelmodel.host import HostModel


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

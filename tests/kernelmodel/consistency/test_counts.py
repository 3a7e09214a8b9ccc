"""Each difference between found and counted gets its own name, and only with its evidence."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from kernelmodel.consistency import check
from kernelmodel.consistency.counts import REASON_INFO, Reason, check_counts
from kernelmodel.host import Unseen
from kernelmodel.pageflags import mask
from tests.kernelmodel.hosts import Host, draw_host

if TYPE_CHECKING:
    from kernelmodel.host import HostModel

ANON = mask("UPTODATE", "LRU", "MMAP", "ANON", "SWAPBACKED")
HOLD_TWICE = 2


def host(word: int, nr_entries: int) -> Host:
    """One frame in use, 20, which a process maps at `nr_entries` addresses."""
    made = Host(words={20: word}, vmas=[(0, 100, 110)])
    made.entries = {(0, 100 + vpn): 20 for vpn in range(nr_entries)}
    return made


def model(word: int, found: int, counted: int, *, pfnmap: bool = False, **facts: Any) -> HostModel:
    """A host whose kernel counts `counted` where the page tables have `found`."""
    made = host(word, found).model(**facts)
    assert made.frames.mapcount is not None
    assert made.tables is not None
    assert made.entries is not None
    count = made.frames.mapcount.copy()
    count[4] = counted
    vmas = replace(made.tables.vmas, pfnmap=np.array([pfnmap]))
    return replace(
        made,
        frames=replace(made.frames, mapcount=count),
        tables=replace(made.tables, vmas=vmas),
        entries=replace(made.entries, vmas=vmas),
    )


CASES = [
    ("zero-page", mask("ZERO_PAGE", "RESERVED"), 3, 0, {}),
    ("huge-zero-page", mask("ZERO_PAGE", "THP"), 3, 1, {}),
    ("hugetlb-pmd-sharing", mask("HUGE", "MMAP"), 3, 1, {}),
    ("pfnmap", mask("RESERVED"), 2, 0, {"pfnmap": True}),
    ("large-folio-average", ANON | mask("COMPOUND_HEAD"), 1, 2, {"averaged": True}),
    ("dax", mask("NOPAGE"), 2, 0, {}),
    ("zsmalloc", mask("MMAP"), 0, 33, {"zspages": 1}),
    ("hidden-mappers", ANON, 1, 2, {"unseen": Unseen(1, 1)}),
    ("hidden-mappers", ANON, 0, 2, {"unseen": Unseen(None, None)}),
    ("hidden-mappers", ANON, 0, 2, {"unseen": Unseen(0, 0, 0, 3)}),  # threads that no listed process has
    ("hidden-mappers", ANON, 0, 2, {"unseen": Unseen(2, None, 1)}),  # one of the two was there all the time
    ("exiting-mm", ANON, 1, 2, {"unseen": Unseen(2, None, 2)}),
]


@pytest.mark.parametrize(("name", "word", "found", "counted", "facts"), CASES)
def test_a_difference_has_the_name_of_its_cause(
    name: str, word: int, found: int, counted: int, facts: dict[str, Any]
) -> None:
    checked, _, violations = check_counts(model(word, found, counted, **facts))
    assert checked is not None
    assert checked.explained == {name: 1}
    assert (checked.nr_unexplained, violations) == (0, [])


@pytest.mark.parametrize(
    ("word", "found", "counted", "facts"),
    [
        (ANON, 1, 2, {}),  # nobody is hidden
        (ANON, 1, 2, {"unseen": Unseen(0, 0, 0, None)}),  # nor is it known that there are more threads
        (ANON, 2, 1, {"unseen": Unseen(1, 100)}),  # who is hidden maps more, not less
        (mask("ZERO_PAGE", "RESERVED"), 0, 1, {}),  # the kernel counts what nobody maps
        (mask("HUGE", "MMAP"), 1, 3, {}),
        (mask("RESERVED"), 2, 0, {}),  # no area is VM_PFNMAP
        (ANON | mask("COMPOUND_HEAD"), 1, 2, {}),  # this kernel counts each page
        (ANON, 1, 2, {"averaged": True}),  # and a small folio needs no average
        (mask("MMAP"), 0, 33, {"zspages": 0}),
        (mask("MMAP"), 0, 33, {"zspages": None}),
        (ANON, 0, 33, {"zspages": 1}),
        (mask("MMAP", "COMPOUND_TAIL"), 0, 33, {"zspages": 1}),  # the pool has no folios
    ],
)
def test_without_its_evidence_a_difference_is_unexplained(
    word: int, found: int, counted: int, facts: dict[str, Any]
) -> None:
    checked, reasons, violations = check_counts(model(word, found, counted, **facts))
    assert checked is not None
    assert (checked.explained, checked.nr_unexplained) == ({}, 1)
    assert [v.kind for v in violations] == ["count-unexplained"]
    assert violations[0].where == "pfn 20"
    assert f"{found} entries found, {counted} counted" in violations[0].detail
    assert reasons[4] == Reason.UNEXPLAINED


def test_hidden_processes_cannot_have_more_than_is_resident_in_them() -> None:
    checked, _, violations = check_counts(model(ANON, 1, 9, unseen=Unseen(1, 7)))
    assert checked is not None
    assert (checked.hidden_entries, checked.hidden_at_most) == (8, 7)
    assert [v.kind for v in violations] == ["hidden-mappers-bound"]
    checked, _, violations = check_counts(model(ANON, 1, 9, unseen=Unseen(1, 7, 0, 2)))
    assert checked is not None
    assert (checked.hidden_at_most, violations) == (None, []), "what hidden threads have is not known"
    reserved = check_counts(model(mask("RESERVED", "MMAP"), 1, 9, unseen=Unseen(1, 7)))
    assert reserved[2] == [], "the vdso is mapped, not resident"


def test_zsmalloc_explains_no_more_frames_than_it_has() -> None:
    made = host(mask("MMAP"), 0)
    made.words[21] = mask("MMAP")
    two = made.model(zspages=1)
    assert two.frames.mapcount is not None
    count = two.frames.mapcount.copy()
    count[4:6] = 33
    checked, _, _ = check_counts(replace(two, frames=replace(two.frames, mapcount=count)))
    assert checked is not None
    assert (checked.explained, checked.nr_unexplained) == ({"zsmalloc": 1}, 1)


def test_an_entry_to_no_frame_is_named() -> None:
    made = host(ANON, 1)
    made.entries[0, 105] = 5000
    made.entries[0, 106] = 271
    made.entries[0, 107] = 272  # the run leaves the first range in its middle
    checked, _, violations = check_counts(made.model())
    assert checked is not None
    assert checked.explained == {"no-frame": 2}
    assert violations == []
    assert checked.nr_match == HOLD_TWICE


def test_without_page_tables_or_counts_nothing_is_said() -> None:
    made = draw_host(3).model()
    for lacking in (
        replace(made, tables=None, entries=None),
        replace(made, frames=replace(made.frames, mapcount=None)),
    ):
        assert check(lacking).counts is None
        assert check(lacking).violations == ()


def test_every_reason_but_the_plain_ones_has_a_name() -> None:
    plain = {Reason.NOT_MAPPED, Reason.MATCH, Reason.UNSTABLE, Reason.UNEXPLAINED}
    assert set(REASON_INFO) == set(Reason) - plain
    assert {name for name, *_ in CASES} | {"no-frame"} == {name for name, _ in REASON_INFO.values()}

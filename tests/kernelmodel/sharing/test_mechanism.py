"""Each mechanism is planted and found with its frames, entries, processes and certainty; and only then."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from kernelmodel.errors import InvariantError, ModelError
from kernelmodel.pageflags import mask
from kernelmodel.sharing.facts import OpenFile
from kernelmodel.sharing.finding import Finding
from kernelmodel.sharing.mechanism import MECHANISM_INFO, Mechanism
from kernelmodel.sharing.survey import at_frame, of_process, survey
from tests.kernelmodel.sharing import planted_frames, planted_holders
from tests.kernelmodel.sharing.near_misses import MISSES
from tests.kernelmodel.sharing.plants import (
    ANON,
    FILE,
    PAGE,
    PLANTS,
    POSSIBLE,
    PROVED,
    Expected,
    M,
    Plants,
    control,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernelmodel.sharing.facts import Facts


def short(finding: Finding, host: Plants) -> Expected:
    """Return what is compared of a finding."""
    pfns = None
    if finding.rows is not None:
        pfns = [row + 16 for row in finding.rows.tolist()]
        assert pfns == [pfn for pfn in pfns if host.row(pfn) == pfn - 16]
    return (
        finding.mechanism,
        finding.certainty,
        finding.nr_frames,
        finding.nr_entries,
        finding.pids,
        pfns,
    )


def found_beyond_control(host: Plants) -> list[Expected]:
    """Return what is found besides what the control has."""
    usual = {M.ZERO_PAGE, M.VDSO}
    facts = host.facts()
    facts.validate()
    answer = survey(facts)
    answer.validate()
    kept = [f for f in answer.findings if f.mechanism not in usual and f.note != "LRU, of a file, no mapping"]
    return sorted((short(f, host) for f in kept), key=lambda of: (of[0], of[1]))


def test_the_control_has_what_every_process_has() -> None:
    host = control()
    answer = survey(host.facts())
    answer.validate()
    assert [short(finding, host) for finding in answer.findings] == [
        (M.ZERO_PAGE, PROVED, 1, 3, (10, 20, 30), [22]),
        (M.VDSO, PROVED, 2, 6, (10, 20, 30), [20, 21]),
        (M.PAGE_CACHE_UNMAPPED, PROVED, 3, 0, (), None),
    ]
    ledger = answer.ledger
    assert (ledger.nr_mapped, ledger.nr_match, ledger.nr_unexplained) == (22, 21, 0)
    assert (ledger.nr_private, ledger.nr_shared_file, ledger.nr_shared_other) == (15, 4, 2)


@pytest.mark.parametrize("planted", PLANTS, ids=lambda planted: planted.__name__)
def test_what_is_planted_is_found(planted: Callable[[Plants], list[Expected]]) -> None:
    host = control()
    expected = planted(host)
    assert found_beyond_control(host) == sorted(expected, key=lambda of: (of[0], of[1]))


@pytest.mark.parametrize("planted", MISSES, ids=lambda planted: planted.__name__)
def test_a_near_miss_is_not_found(planted: Callable[[Plants], None]) -> None:
    host = control()
    planted(host)
    assert found_beyond_control(host) == []


def test_every_mechanism_is_planted_and_described() -> None:
    found = {M.ZERO_PAGE, M.VDSO, M.PAGE_CACHE_UNMAPPED}
    for planted in PLANTS:
        found |= {expected[0] for expected in planted(control())}
    assert found == set(Mechanism)
    assert set(MECHANISM_INFO) == set(Mechanism)
    assert all(info.meaning and info.page_count for info in MECHANISM_INFO.values())
    assert [info.name for info in MECHANISM_INFO.values()] == [mechanism.value for mechanism in Mechanism]


def test_bytes_are_distinct_extents_and_sizes() -> None:
    host = control()
    planted_frames.device_memory(host)
    planted_holders.dma_buf(host)
    planted_holders.perf_ring(host)
    planted_holders.watched_memory(host)
    for mm in (0, 1):
        host.area(mm, 2, flags=frozenset({"pf"}))  # of no file: each is its own
    host.files.append(OpenFile(30, 4, "anon_inode:bpf-map", info="map_id: 3\nmemlock: 8192"))
    host.files.append(OpenFile(20, 4, "anon_inode:bpf-map", info="map_id: 3\nmemlock: 8192"))
    told = {finding.mechanism: finding.nr_bytes for finding in survey(host.facts()).findings}
    assert told[M.PFNMAP] == (9 + 2 * 2) * PAGE  # two of six pages that overlap in three, two of two
    assert told[M.DMA_BUF] == 8192
    assert told[M.PERF_RING] == 9 * PAGE
    assert told[M.USERFAULTFD] == 2 * PAGE
    assert told[M.BPF_MAP] == 8192


def test_a_frame_is_told_of_its_findings() -> None:
    host = control()
    pfns = planted_frames.one_file_linked_twice(host)[0][5]
    assert pfns is not None
    answer = survey(host.facts())
    named = {finding.mechanism for finding in at_frame(answer, host.row(pfns[0]))}
    assert named == {M.MAPPED_TWICE, M.SAME_FILE_OTHER_PATH}
    cached = at_frame(answer, host.row(23))
    assert [(finding.mechanism, finding.certainty) for finding in cached] == [(M.PAGE_CACHE_UNMAPPED, PROVED)]
    assert at_frame(answer, 300) == ()


def test_tails_without_flags_are_what_their_head_is() -> None:
    host = control()
    pfns = host.frames(4, mask("COMPOUND_TAIL"))
    host.words[pfns[0]] = FILE & ~mask("MMAP") | mask("COMPOUND_HEAD")
    (cached,) = [f for f in survey(host.facts()).findings if f.mechanism == M.PAGE_CACHE_UNMAPPED]
    assert cached.nr_frames == 3 + 4


def test_one_of_many_candidates_is_possible_and_no_more() -> None:
    host = control()
    planted_holders.tmpfs_files_that_nobody_maps(host)
    row = host.row(max(host.words))
    told = [(finding.mechanism, finding.certainty) for finding in at_frame(survey(host.facts()), row)]
    assert told == [(M.FD_ONLY, POSSIBLE), (M.PAGE_CACHE_UNMAPPED, POSSIBLE)]


def test_a_process_is_told_of_its_part() -> None:
    host = control()
    planted_holders.twice_in_one_process(host)
    planted_frames.one_file_by_two_names(host)
    planted_holders.memfd_passed_and_unmapped(host)
    facts = host.facts()
    answer = survey(facts)
    parts = {part.mechanism: part for part in of_process(answer, 20)}
    assert set(parts) == {M.ZERO_PAGE, M.VDSO, M.SAME_FILE_OTHER_PATH, M.FD_ONLY}
    other_path = parts[M.SAME_FILE_OTHER_PATH]
    assert (other_path.nr_frames, other_path.nr_entries, other_path.pids) == (2, 2, (10, 20))
    assert parts[M.FD_ONLY].rows is None
    assert (parts[M.ZERO_PAGE].nr_entries, parts[M.ZERO_PAGE].pids) == (1, (10, 20, 30))
    assert of_process(answer, 999) == ()


def test_unread_parts_are_not_looked_for() -> None:
    host = control()
    host.told |= {"open_files": None, "segments": None, "memcg": None, "cgroup_inode": None}
    pfns = host.frames(1, ANON)
    facts = host.facts()
    facts = replace(facts, vmas=replace(facts.vmas, vm_flags=None, swap_bytes=None))
    (held,) = [f for f in survey(facts).findings if f.mechanism == M.PIPE_BUFFER]
    assert short(held, host) == (M.PIPE_BUFFER, POSSIBLE, 1, 0, (), pfns)


def test_without_the_counts_there_is_no_survey() -> None:
    facts = control().facts()
    with pytest.raises(ModelError, match="map counts"):
        survey(replace(facts, frames=replace(facts.frames, mapcount=None)))


@pytest.mark.parametrize(
    ("invariant", "rows", "nr", "pids"),
    [
        ("finding-rows", [3, 3], 2, ()),
        ("finding-frames", [3, 4], 3, ()),
        ("finding-pids", [3, 4], 2, (9, 4)),
    ],
)
def test_a_wrong_finding_is_seen(invariant: str, rows: list[int], nr: int, pids: tuple[int, ...]) -> None:
    finding = Finding(M.KSM, PROVED, np.array(rows), nr, None, None, pids, "")
    with pytest.raises(InvariantError, match=invariant):
        finding.validate()


def test_facts_that_do_not_fit_are_seen() -> None:
    facts = control().facts()
    area = slots_facts()
    for invariant, wrong in (
        ("vma-facts", replace(facts, vmas=replace(facts.vmas, dev=facts.vmas.dev[1:]))),
        ("swap-inside-vma", replace(area, swap=replace(area.swap, mm=area.swap.mm + 1))),
    ):
        with pytest.raises(InvariantError, match=invariant):
            wrong.validate()


def slots_facts() -> Facts:
    """A host with swapped entries."""
    host = control()
    planted_frames.slots_shared_after_fork(host)
    return host.facts()

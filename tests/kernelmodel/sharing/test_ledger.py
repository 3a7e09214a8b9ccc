"""The ledger and the detectors that compare page tables, against a recount entry by entry."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelmodel.errors import InvariantError
from kernelmodel.host import Unseen
from kernelmodel.pageflags import mask
from kernelmodel.sharing.facts import Process
from kernelmodel.sharing.ledger import found_counts
from kernelmodel.sharing.mechanism import Mechanism
from kernelmodel.sharing.reason import Reason
from kernelmodel.sharing.survey import of_process, survey
from tests.kernelmodel.sharing.plants import (
    ANON,
    DRIVER,
    FILE,
    HEAD,
    RANGES,
    SHMEM,
    ZERO,
    Plants,
    control,
)
from tests.oracles.sharing_ledger import Entry, Host

WORDS = (
    ANON, ANON | mask("KSM"), FILE, SHMEM, DRIVER, ZERO, mask("ZERO_PAGE", "THP"), mask("HUGE", "MMAP"),
    mask("RESERVED", "MMAP"), ANON | HEAD,
)  # fmt: skip
PFNS = [pfn for start, end in RANGES for pfn in range(start, end)]
FEW = [*range(262, 276), *range(1020, 1030)]
"""Frames about the ends of both ranges, where some runs leave them."""

UNSEEN = {"nobody": Unseen(0, 0), "short-lived": Unseen(2, None, 2), "lasting": Unseen(3, 9, 2)}
FILES = (None, None, ("fe:00", 7, "/a"), ("fe:00", 7, "/b"), ("00:2a", 8, "/a"))


def draw(seed: int) -> tuple[Plants, Host]:
    """Draw a host twice: as arrays will have it, and entry by entry."""
    random_ = random.Random(seed)
    plants = Plants(words={pfn: random_.choice(WORDS) for pfn in FEW if pfn in PFNS})
    pids = {0: (10, 11), 1: (20,), 2: (30,), 3: (40, 41, 42)}
    plants.processes = [Process(pid, 1, mm) for mm, of in pids.items() for pid in of]
    entries = []
    for _ in range(random_.randrange(14)):
        file, nr = random_.choice(FILES), random_.randint(1, 6)
        dev, inode, name = file or ("00:00", 0, "")
        pfnmap = random_.random() < 0.2
        flags = frozenset({"pf"} if pfnmap else ())
        area = plants.area(random_.randrange(4), nr, name=name, dev=dev, inode=inode, flags=flags)
        first = random_.choice(FEW)
        plants.map(area, [first + i for i in range(nr)])
        entries += [Entry(area.mm, first + i, pfnmap, file) for i in range(nr)]
    for mm in range(4):
        area, first = plants.area(mm, 4), random_.randrange(6)
        plants.swapped |= {(mm, area.start + i): (0, first + i) for i in range(random_.randrange(5))}
    hidden = random_.choice(list(UNSEEN))
    zspages, averaged = random_.choice((0, 1, 50)), random_.random() < 0.2
    host = Host(dict.fromkeys(PFNS, 0) | plants.words, {}, set(), entries, pids, hidden, zspages, averaged)
    found = host.found()
    host.counted = {pfn: max(found[pfn] + random_.choice((0, 0, 0, 0, 1, -1, -2)), 0) for pfn in FEW}
    host.counted = dict.fromkeys(PFNS, 0) | {p: n for p, n in host.counted.items() if p in host.words}
    host.unstable = {pfn for pfn in plants.words if random_.random() < 0.15}
    host.slots = [(mm, slot) for (mm, _), slot in plants.swapped.items()]
    plants.counts, plants.unstable = host.counted, host.unstable
    plants.told = {"unseen": UNSEEN[hidden], "zspages": zspages, "averaged": averaged}
    return plants, host


@given(st.integers(0, 1 << 32))
def test_ledger_is_the_recount(seed: int) -> None:
    plants, host = draw(seed)
    facts = plants.facts()
    answer = survey(facts)
    answer.validate()
    ledger = answer.ledger
    found, reached, reasons = host.found(), host.reached(), host.reasons()
    assert ledger.found.tolist() == [found[pfn] for pfn in PFNS]
    assert ledger.reached.tolist() == [len(reached[pfn]) for pfn in PFNS]
    assert [Reason(code).name for code in ledger.reason.tolist()] == [reasons[pfn] for pfn in PFNS]
    assert found_counts(facts.frames, facts.tables)[1] == sum(e.pfn not in host.words for e in host.entries)
    match = [pfn for pfn in PFNS if reasons[pfn] == "MATCH"]
    assert ledger.nr_private == sum(len(reached[pfn]) == 1 for pfn in match)
    assert ledger.nr_shared_anon == sum(
        len(reached[pfn]) > 1 and bool(host.words[pfn] & mask("ANON")) for pfn in match
    )


@given(st.integers(0, 1 << 32))
def test_detectors_are_the_recount(seed: int) -> None:
    plants, host = draw(seed)
    answer = survey(plants.facts())
    findings = {finding.mechanism: finding for finding in answer.findings}

    def pfns(mechanism: Mechanism) -> set[int]:
        finding = findings.get(mechanism)
        if finding is None:
            return set()
        assert finding.rows is not None
        return {PFNS[row] for row in finding.rows.tolist()}

    twice, pids = host.mapped_twice()
    assert pfns(Mechanism.MAPPED_TWICE) == twice
    if twice:
        assert set(findings[Mechanism.MAPPED_TWICE].pids) == pids
    assert pfns(Mechanism.SAME_FILE_OTHER_PATH) == host.other_paths()
    nr, nr_entries, pids = host.shared_slots()
    slots = findings.get(Mechanism.SWAP_SLOT)
    assert (slots is None) == (nr == 0)
    if slots is not None:
        assert (slots.nr_frames, slots.nr_entries, set(slots.pids)) == (nr, nr_entries, pids)


@given(st.integers(0, 1 << 32))
def test_the_parts_of_processes_are_the_recount(seed: int) -> None:
    plants, host = draw(seed)
    facts = plants.facts()
    answer = survey(facts)
    reached = host.reached()
    for pid in (10, 20, 42):
        mm = next(mm for mm, pids in host.pids.items() if pid in pids)
        whole = {(f.mechanism, f.certainty): f for f in answer.findings if pid in f.pids}
        for part in of_process(answer, pid):
            finding = whole.pop((part.mechanism, part.certainty))
            if part.rows is None:
                continue
            assert finding.rows is not None
            mine = [row for row in finding.rows.tolist() if pid in reached[PFNS[row]]]
            assert part.rows.tolist() == mine
            others = {other for row in mine for other in reached[PFNS[row]]}
            assert set(part.pids) == others & set(finding.pids)
            wanted = {PFNS[row] for row in mine}
            assert part.nr_entries == sum(e.mm == mm and e.pfn in wanted for e in host.entries)
        assert whole == {}


@pytest.mark.parametrize(
    ("invariant", "wrong"),
    [("ledger-lines", "nr_unexplained"), ("ledger-lines", "nr_mapped"), ("ledger-shared", "nr_shared_shmem")],
)
def test_lines_that_do_not_add_up_are_seen(invariant: str, wrong: str) -> None:
    ledger = survey(control().facts()).ledger
    ledger.validate()
    with pytest.raises(InvariantError, match=invariant):
        replace(ledger, **{wrong: getattr(ledger, wrong) + 1}).validate()


def test_what_is_shared_is_told_by_kind() -> None:
    host = control()
    for word in (ANON, SHMEM, FILE, mask("HUGE", "MMAP")):
        (pfn,) = host.frames(1, word)
        for mm in (0, 1):
            host.map(host.area(mm, 1), [pfn])
    ledger = survey(host.facts()).ledger
    assert (ledger.nr_shared_anon, ledger.nr_shared_shmem) == (1, 1)
    assert (ledger.nr_shared_file, ledger.nr_shared_other) == (1 + 4, 1 + 2)


def test_frames_no_word_was_read_of_are_in_no_line() -> None:
    facts = control().facts()
    known = np.ones(len(facts.frames), np.bool_)
    known[400:] = False
    answer = survey(replace(facts, frames=replace(facts.frames, known=known)))
    answer.validate()
    assert answer.ledger.nr_mapped == survey(facts).ledger.nr_mapped

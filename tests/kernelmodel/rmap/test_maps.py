"""Three reverse maps over one machine, against a scan of all page tables and against one another."""

from __future__ import annotations

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kernelmodel.errors import InvariantError
from kernelmodel.fault import Machine
from kernelmodel.fault.types import ZERO_PFN
from kernelmodel.mapping import Mapping
from kernelmodel.mm.address_space import AddressSpace
from kernelmodel.ordered import RedBlackTree
from kernelmodel.rmap import (
    Cause,
    Cost,
    Journal,
    ObjectRmap,
    PteChain,
    ReverseMap,
    SingleEntry,
    Stored,
    find_stale,
    served,
)
from kernelmodel.vma import File
from kernelmodel.vmflags import MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE
from tests.kernelmodel.rmap.workload import PAGE, Workload
from tests.oracles.rmap import mappings

RW = PROT_READ | PROT_WRITE
HERE = 0x1000_0000


class Watched:
    """A workload with all maps attached."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.machine = workload.machine
        self.chains = PteChain(self.machine)
        self.walk = ObjectRmap(self.machine)
        self.single = SingleEntry(self.machine)
        self.journal = Journal(self.machine)

    def check(self) -> None:
        """Compare every frame; also of the single entries that are not called stale."""
        maps: tuple[ReverseMap, ...] = (self.chains, self.walk, self.single)
        for rmap in maps:
            rmap.validate()
        stale = find_stale(self.machine, self.single, self.journal)
        assert {entry.cause for entry in stale} <= {Cause.VMA_MOTION}
        wrong = {entry.pfn for entry in stale}
        for pfn in (ZERO_PFN, *self.machine.frames):
            truth = mappings(self.machine, pfn)
            for rmap in (self.chains, self.walk):
                found = rmap.mappings_of(pfn)
                assert len(found) == len(truth)
                assert set(map(tuple, found)) == truth
            if pfn in self.single.entries:
                (right,) = truth
                assert (self.single.mappings_of(pfn) == [right]) == (pfn not in wrong)
            else:
                assert self.single.mappings_of(pfn) == []


class Maps(RuleBasedStateMachine):
    """Whatever is done, chains and walk find each mapping; a single entry is right or known to be wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.watched = Watched(Workload(lambda n: 0))

    @rule(data=st.data(), nr_steps=st.integers(1, 10))
    def step(self, data, nr_steps):
        self.watched.workload.choose = lambda n: data.draw(st.integers(0, n - 1))
        for _ in range(nr_steps):
            self.watched.workload.step()

    @invariant()
    def same(self):
        self.watched.check()


TestMaps = Maps.TestCase
TestMaps.settings = settings(stateful_step_count=12)


def fuzz(seed: int, nr_steps: int) -> tuple[Watched, Cost]:
    """Run a workload and compare chains with the walk after each step, with the scan now and then."""
    watched = Watched(Workload(random.Random(seed).randrange))
    for nth in range(nr_steps):
        watched.workload.step()
        pick = list(watched.machine.frames)[-8:]
        for pfn in pick:
            assert set(watched.walk.mappings_of(pfn)) == set(watched.chains.mappings_of(pfn))
        if nth % 100 == 0:
            watched.check()
            watched.machine.validate()
    watched.check()
    assert all(watched.workload.nr_done.values())
    return watched, watched.walk.cost()


def report(watched: Watched) -> str:
    walk, share = watched.walk.cost(), served(watched.machine, watched.single)
    chains, single = watched.chains.cost(), watched.single.cost()
    return (
        f"object: {walk.nr_lookups} look-ups, {walk.nr_visits} visits, {walk.nr_false_visits} of them false; "
        f"bytes a page: object {walk.bytes_per_page:.0f}, chains {chains.bytes_per_page:.0f}, "
        f"single {single.bytes_per_page:.0f}; single: {share.nr_mapped} mapped, {share.nr_stored} stored, "
        f"{share.nr_right} right ({share.permille} permille)"
    )


@pytest.mark.parametrize("seed", range(3))
def test_chains_and_walk_agree_over_thousands_of_operations(seed: int) -> None:
    watched, cost = fuzz(seed, 1200)
    print(report(watched))  # noqa: T201 (pytest -rP shows it)
    assert cost.nr_false_visits > 0
    assert cost.nr_visits > cost.nr_lookups // 2
    share = served(watched.machine, watched.single)
    assert 0 < share.nr_right <= share.nr_stored < share.nr_mapped


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 112))
def test_chains_and_walk_agree_for_long(seed: int) -> None:
    watched, cost = fuzz(seed, 10_000)
    print(report(watched))  # noqa: T201 (pytest -rP shows it)
    assert cost.nr_false_visits > 0


def test_maps_attached_later_know_what_was_there() -> None:
    workload = Workload(random.Random(5).randrange)
    for _ in range(400):
        workload.step()
    watched = Watched(workload)
    watched.check()
    once = {pfn for pfn, frame in workload.machine.frames.items() if frame.mapcount == 1}
    assert once
    assert watched.single.entries.keys() == once
    assert served(watched.machine, watched.single).nr_right == len(once)


class Family:
    """A parent and children that share one page, and the maps over them."""

    def __init__(self, nr_children: int) -> None:
        self.machine = Machine(64)
        self.parent = self.machine.add(AddressSpace(RedBlackTree))
        self.machine.mmap(self.parent, HERE, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED)
        self.chains, self.walk = PteChain(self.machine), ObjectRmap(self.machine)
        self.single = SingleEntry(self.machine)
        self.machine.write(self.parent, HERE, 1)
        self.children = [self.machine.fork(self.parent) for _ in range(nr_children)]
        self.pfn = self.machine.tables[self.parent][HERE // PAGE].pfn

    def who(self, rmap: ReverseMap) -> set[int]:
        return {entry.mm_id for entry in rmap.mappings_of(self.pfn)}


def test_children_that_copied_the_page_are_visited_in_vain() -> None:
    family = Family(5)
    for child in family.children[:4]:
        family.machine.write(child, HERE, 2)
    assert family.who(family.walk) == {family.parent, family.children[4]}
    cost = family.walk.cost()
    assert (cost.nr_lookups, cost.nr_visits, cost.nr_false_visits) == (1, 6, 4)
    assert family.who(family.chains) == {family.parent, family.children[4]}
    cost = family.chains.cost()
    assert (cost.nr_lookups, cost.nr_visits, cost.nr_false_visits) == (1, 2, 0)


def test_the_last_owner_is_found_without_visits_in_vain_once_it_wrote() -> None:
    family = Family(3)
    family.machine.exit(family.parent)
    for child in family.children[:2]:
        family.machine.write(child, HERE, 2)
    pfn = family.pfn
    assert [entry.mm_id for entry in family.walk.mappings_of(pfn)] == [family.children[2]]
    assert family.walk.cost().nr_false_visits == 2
    family.machine.write(family.children[2], HERE, 3)
    assert [entry.mm_id for entry in family.walk.mappings_of(pfn)] == [family.children[2]]
    assert family.walk.cost().nr_false_visits == 2


def test_a_page_in_a_grandchild_is_found_when_its_parents_are_gone() -> None:
    family = Family(1)
    grandchild = family.machine.fork(family.children[0])
    family.machine.exit(family.parent)
    family.machine.exit(family.children[0])
    assert family.who(family.walk) == family.who(family.chains) == {grandchild}
    family.walk.validate()


def test_a_shared_frame_loses_its_single_entry_for_good() -> None:
    family = Family(0)
    assert family.who(family.single) == {family.parent}
    child = family.machine.fork(family.parent)
    assert family.who(family.single) == set()
    family.machine.exit(child)
    assert family.machine.frames[family.pfn].mapcount == 1
    assert family.who(family.single) == set()
    assert family.single.resolve(family.pfn) is None


def test_one_file_page_is_found_in_all_who_map_it_at_any_address() -> None:
    family = Family(2)
    file = File(Mapping("a"))
    for nth, pid in enumerate(family.children):
        at = family.machine.mmap(pid, 0, (nth + 2) * PAGE, PROT_READ, MAP_SHARED, file=file, pgoff=1 - nth)
        family.machine.read(pid, at + (1 + nth) * PAGE)
    found = {entry.mm_id for entry in family.walk.mappings_of(file.mapping.pages[2])}
    assert found == set(family.children)


def test_the_bytes_of_each_map() -> None:
    family = Family(0)
    assert family.chains.cost().nr_bytes == 8
    assert family.single.cost().nr_bytes == 64 * 16
    assert family.walk.cost().nr_bytes == 16 + 104 + 64
    for nr_mappings in range(2, 9):
        family.machine.fork(family.parent)
        assert family.chains.cost().nr_bytes == 8 + 64 * (1 if nr_mappings < 8 else 2)
    # Each child has an anon_vma of its own, and links to it and to the root.
    assert family.walk.cost().nr_bytes == 16 + 8 * 104 + (1 + 7 * 2) * 64
    assert family.walk.cost().nr_mapped_pages == 1


def broken(rmap: ReverseMap, rule_name: str) -> None:
    with pytest.raises(InvariantError) as caught:
        rmap.validate()
    assert caught.value.invariant == rule_name
    assert caught.value.where


def test_planted_entry_that_no_chain_has() -> None:
    family = Family(1)
    del family.machine.tables[family.parent][HERE // PAGE]
    broken(family.chains, "pte-chain")


def test_planted_entry_of_which_nobody_was_told() -> None:
    family = Family(1)
    table = family.machine.tables[family.parent]
    table[HERE // PAGE + 1] = table[HERE // PAGE]
    broken(family.chains, "pte-chain")


def test_planted_vma_out_of_reach() -> None:
    family = Family(1)
    (vma,) = family.machine.mms[family.children[0]]
    avc = vma.anon_vma_chain[-1]
    avc.anon_vma.tree.remove(HERE // PAGE, HERE // PAGE, avc)
    broken(family.walk, "rmap-walk")


def test_planted_entry_of_a_shared_frame() -> None:
    family = Family(1)
    (vma,) = family.machine.mms[family.parent]
    family.single.entries[family.pfn] = Stored(vma, 0, 0)
    broken(family.single, "single-shared")


@pytest.mark.parametrize("offset", [-PAGE, 0x123])
def test_planted_offset_that_is_none(offset: int) -> None:
    family = Family(0)
    (vma,) = family.machine.mms[family.parent]
    family.single.entries[family.pfn] = Stored(vma, offset, family.machine.clock)
    broken(family.single, "single-offset")

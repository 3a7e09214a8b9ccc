"""The model against the running kernel: random system calls, and the same lines of maps after each.

A child does each sequence for real; the trace is then replayed in the model, on every kind of ordered
map. Addresses, results, errors, bounds, permissions, offsets and inodes must be equal after every step.
Planted faults show that the comparison sees them.
"""

from __future__ import annotations

import platform
from dataclasses import fields, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import pytest

from kernelmodel.mm import adjust as mm_adjust
from kernelmodel.mm import fault as mm_fault
from kernelmodel.mm import merge as mm_merge
from kernelmodel.mm import protect as mm_protect
from kernelmodel.mm.address_space import AddressSpace
from kernelmodel.mm.tree import VmaTree
from kernelmodel.mm.types import Layout, MergeRules
from kernelmodel.ordered import TREES
from kernelmodel.vma import Vma
from tests.live.mm_replay import (
    ANON,
    DONTUNMAP,
    EXEC,
    FIXED,
    GROWSDOWN,
    MAYMOVE,
    PAGE,
    PRIVATE,
    READ,
    TO,
    WRITE,
    Kernel,
    Line,
    Model,
    Step,
    Trace,
    parse,
    replay,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernelmodel.mm.types import Mm


@pytest.fixture(scope="module")
def suitable() -> None:
    """Skip where the model does not claim to be right."""
    if platform.machine() != "x86_64":
        pytest.skip("the model has the flags and the page size of x86-64")
    if Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "2":
        pytest.skip("with strict overcommit MAP_NORESERVE is not heeded")


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory, suitable: None) -> Iterator[Kernel]:
    kernel = Kernel(tmp_path_factory.mktemp("mm") / "file")
    yield kernel
    kernel.end()


@pytest.fixture(scope="module")
def rules(kernel: Kernel) -> MergeRules:
    """Ask the kernel what it merges."""
    return MergeRules(**{probe.rule: probe.tells(kernel) for probe in probes(kernel.facts["arena_start"])})


@pytest.fixture(scope="module")
def traces(kernel: Kernel) -> list[Trace]:
    return list(kernel.record(range(10_000, 10_300)))


class Probe(NamedTuple):
    """Steps after which a VMA starts at an address, or does not, where the rule is true."""

    rule: str
    steps: list[Step]
    start: int
    starts: bool

    def tells(self, kernel: Kernel) -> bool:
        lines = kernel.run(self.steps)[-1].lines
        return (self.start in {line.start for line in lines}) == self.starts


def probes(arena: int) -> list[Probe]:
    def mmap(page: int, prot: int = READ | WRITE, nr_pages: int = 1) -> Step:
        return "mmap", arena + page * PAGE, nr_pages * PAGE, prot, PRIVATE | ANON | FIXED, -1, 0

    def touch(page: int) -> Step:
        return "touch", arena + page * PAGE

    def mprotect(page: int, prot: int) -> Step:
        return "mprotect", arena + page * PAGE, PAGE, prot

    def mremap(page: int, target: int, nr_pages: int = 1, flags: int = 0) -> Step:
        length = nr_pages * PAGE
        return "mremap", arena + page * PAGE, length, length, MAYMOVE | TO | flags, arena + target * PAGE

    def probe(rule: str, steps: list[Step], page: int, *, starts: bool) -> Probe:
        return Probe(rule, steps, arena + page * PAGE, starts)

    moved = [mmap(1), touch(1), ("fork",), mmap(0), mremap(1, 64), mremap(64, 1)]
    join = [mmap(0), mmap(1, READ | WRITE | EXEC), touch(1), mprotect(1, READ | WRITE)]
    left_behind = [mmap(0), mremap(0, 64, flags=DONTUNMAP), mmap(1)]
    beside = [mmap(0), mmap(2), mremap(0, 1, flags=DONTUNMAP)]
    return [
        probe("faulted_joins_unfaulted", join, 1, starts=False),
        probe("moved_fork_child_apart", moved, 1, starts=True),
        probe("unfaulted_unaccounted", [mmap(0), mprotect(0, READ), mmap(1, READ)], 1, starts=False),
        probe("next_decides", [mmap(0), mmap(2), touch(2), mmap(1)], 1, starts=True),
        probe("dontunmap_unaccounted", left_behind, 1, starts=True),
        probe("dontunmap_joins_source", beside, 1, starts=False),
        probe("dontunmap_joins_others", beside, 2, starts=False),
        probe("mremap_many", [mmap(0), mmap(2), mremap(0, 64, 3)], 66, starts=True),
    ]


FACTS = {
    "arena_start": 1 << 40,
    "arena_pages": 4096,
    "heap_start": 0x5555_0000_0000,
    "heap_base": 0x5555_0010_0000,
    "stack_limit_pages": 512,
    "stacking": False,
}
"""A child that is not there, for tests of the model alone."""


@pytest.mark.parametrize("probe", probes(FACTS["arena_start"]), ids=lambda probe: probe.rule)
@pytest.mark.parametrize("value", [True, False])
def test_a_probe_tells_its_rule(probe: Probe, value: bool) -> None:
    # Kernels in which the next VMA decides are all from before 6.16.
    base = MergeRules(faulted_joins_unfaulted=probe.rule != "next_decides")
    model = Model(TREES["rbtree"], replace(base, **{probe.rule: value}), FACTS)
    for step in probe.steps:
        model.do(step)
    starts = probe.start in {vma.start for vma in model.space}
    assert (starts == probe.starts) == value, model.shown()


def test_there_is_a_probe_for_each_rule() -> None:
    assert [probe.rule for probe in probes(0)] == [field.name for field in fields(MergeRules)]


def conform(kernel: Kernel, rules: MergeRules, seeds: range) -> None:
    for trace in kernel.record(seeds):
        for name, factory in TREES.items():
            model = Model(factory, rules, kernel.facts)
            difference = replay(trace, model)
            assert difference is None, f"on {name}, {rules}\n{difference}"
            model.space.validate()


@pytest.mark.live
def test_the_model_does_what_the_kernel_does_briefly(kernel: Kernel, rules: MergeRules) -> None:
    conform(kernel, rules, range(30))


@pytest.mark.live
@pytest.mark.slow
def test_the_model_does_what_the_kernel_does(kernel: Kernel, rules: MergeRules) -> None:
    conform(kernel, rules, range(30, 2530))


def as_started(kernel: Kernel, place: int) -> AddressSpace:
    """Return the whole address space of the child.

    `place` is where the kernel put the first mapping afterwards. The base of the search is random and
    nowhere written, but the first page goes next to it or fills a gap, and if it fills a gap then
    something else is next to it.
    """
    lines = [(parse(line), line) for line in kernel.facts["all_maps"].splitlines()]
    stack = next(line.start for line, text in lines if text.endswith(b"[stack]"))
    third = Layout().task_size // 3
    legacy = place < 2 * third
    layout = Layout(
        top_down=not legacy,
        mmap_base=max(
            line.end for line, _ in [*lines, (Line(place, place + PAGE, 0, 0, 0), b"")] if line.end < stack
        ),
        mmap_legacy_base=min([place, *(line.start for line, _ in lines if line.start >= third)]),
    )
    space = AddressSpace(TREES["rbtree"], layout)
    for line, _ in lines:
        if line.end <= layout.task_size:
            space.insert(
                Vma(line.start, line.end, line.access | (GROWSDOWN if line.start == stack else 0), 0)
            )
    space.mmap(place, PAGE, 0, PRIVATE | ANON | FIXED)
    return space


@pytest.mark.live
@pytest.mark.parametrize("options", [[], ["legacy"]], ids=["top-down", "bottom-up"])
def test_the_model_finds_the_addresses_that_the_kernel_finds(
    tmp_path: Path, options: list[str], suitable: None
) -> None:
    random = Random(1)
    kernel = Kernel(tmp_path / "file", *options)
    try:
        space = as_started(kernel, kernel.run([("hold", PAGE)])[0].result)
        held: list[tuple[int, int]] = []
        for _ in range(400):
            if held and random.random() < 0.45:
                dropped = held.pop(random.randrange(len(held)))
                kernel.run([("munmap", *dropped)])
                space.munmap(*dropped)
                continue
            # Less than 2 MiB: larger ones may be aligned for huge pages.
            length = random.choice((1, 1, 2, 3, 8, 33, 100, 511)) * PAGE
            place = kernel.run([("hold", length)])[0].result
            assert hex(space.mmap(0, length, 0, PRIVATE | ANON)) == hex(place)
            held.append((place, length))
    finally:
        kernel.end()


def ignore_pgoff(patch: pytest.MonkeyPatch) -> None:
    original = mm_merge.can_merge_left

    def faulty(rules: MergeRules, merge: mm_merge.Merge) -> bool:
        if merge.prev is not None:
            merge = replace(merge, pgoff=merge.prev.pgoff_at(merge.start))
        return original(rules, merge)

    patch.setattr(mm_merge, "can_merge_left", faulty)


def ignore_inheritance(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Vma, "is_fork_child", property(lambda vma: False))


def split_without_pgoff(patch: pytest.MonkeyPatch) -> None:
    original = mm_adjust.split

    def faulty(mm: Mm, vma: Vma, address: int, *, new_below: bool) -> None:
        pgoff = vma.pgoff
        original(mm, vma, address, new_below=new_below)
        upper = mm.vmas.find(address)
        assert upper is not None
        mm_adjust.set_range(mm, upper, upper.start, upper.end, pgoff)

    patch.setattr(mm_adjust, "split", faulty)
    patch.setattr(mm_merge, "split", faulty)


def merge_other_opens_of_a_file(patch: pytest.MonkeyPatch) -> None:
    def faulty(merge: mm_merge.Merge, vma: Vma) -> bool:
        theirs, ours = vma.mapping, merge.file.mapping if merge.file else None
        return vma.flags == merge.flags and theirs is ours

    patch.setattr(mm_merge, "_is_mergeable", faulty)


def merge_any_anon_vmas(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        mm_merge, "_is_mergeable_anon_vma", lambda rules, merge, vma: vma.anon_vma is merge.anon_vma
    )


def never_reuse_an_anon_vma(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(mm_fault, "_find_mergeable_anon_vma", lambda vma: None)


def forget_the_anon_vma_of_the_absorbed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(mm_merge, "dup_anon_vma", lambda target, source: None)


def never_account(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(mm_protect, "_accounted", lambda mm, vma, flags: flags)


def grow_into_the_guard_gap(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(VmaTree, "start_gap", lambda vmas, vma: vma.start)
    original = mm_fault.expand_downwards

    def faulty(mm: Mm, vma: Vma, address: int) -> None:
        mm.layout = replace(mm.layout, guard_gap_bytes=0)
        original(mm, vma, address)

    patch.setattr(mm_fault, "expand_downwards", faulty)


def first_difference(traces: list[Trace], rules: MergeRules, kernel: Kernel) -> str | None:
    replays = (replay(trace, Model(TREES["rbtree"], rules, kernel.facts)) for trace in traces)
    return next(filter(None, replays), None)


@pytest.mark.live
def test_without_a_fault_nothing_is_seen(traces: list[Trace], rules: MergeRules, kernel: Kernel) -> None:
    assert first_difference(traces, rules, kernel) is None


@pytest.mark.live
@pytest.mark.parametrize(
    "plant",
    [
        ignore_pgoff,
        ignore_inheritance,
        split_without_pgoff,
        merge_other_opens_of_a_file,
        merge_any_anon_vmas,
        never_reuse_an_anon_vma,
        forget_the_anon_vma_of_the_absorbed,
        never_account,
        grow_into_the_guard_gap,
    ],
)
def test_a_planted_fault_is_seen(
    traces: list[Trace], rules: MergeRules, kernel: Kernel, plant: Callable[[pytest.MonkeyPatch], None]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        assert first_difference(traces, rules, kernel)


@pytest.mark.live
@pytest.mark.parametrize("name", [field.name for field in fields(MergeRules)])
def test_a_wrong_rule_is_seen(traces: list[Trace], rules: MergeRules, kernel: Kernel, name: str) -> None:
    if name == "moved_fork_child_apart" and not rules.faulted_joins_unfaulted:
        pytest.skip("this kernel lets no such VMA join in any case")
    wrong = replace(rules, **{name: not getattr(rules, name)})
    assert first_difference(traces, wrong, kernel)

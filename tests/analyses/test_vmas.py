"""`vmprobe vmas` as a function: costs by hand and against the trees themselves, gaps, what cannot be told."""

from __future__ import annotations

from bisect import bisect_left
from operator import lt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kernelmodel.ordered import TREES, Augment
from tests.synthetic import PAGE, rows, snapshot
from vmprobe.analyses.parts import Note
from vmprobe.analyses.vmas import ProcessVmas, TreeRow, process_vmas, vmas
from vmprobe.analyses.vmas_layout import layout, process_layout
from vmprobe.bridge.vmas import AVL_MIN_MAP_COUNT, NAMES, shape
from vmprobe.errors import InputError, SnapshotError, UsageError
from vmprobe.render.jsontext import to_plain
from vmprobe.store import load

if TYPE_CHECKING:
    from vmprobe.tables import Snapshot, Table

FIXTURES = Path(__file__).parents[2] / "fixtures" / "snapshots"
SHARED = FIXTURES / "6.12-shared.vmsnap"


def areas(*ranges: tuple[int, int, int, str]) -> Table:
    """Make VMAs of mm, first page, end page, name."""
    made = [
        (row, mm, start * PAGE, end * PAGE, "rw-p", None, 0, "00:00", 0, name)
        for row, (mm, start, end, name) in enumerate(ranges)
    ]
    return rows("vmas", "vma mm start end perms vm_flags pgoff dev inode name", *made)


def entries(*runs: tuple[int, int, int, int, str]) -> Table:
    """Make runs of mm, VMA, first page, pages, kind."""
    made = [
        (mm, vma, vpn, nr, kind, 100 + row, False, False, False, False, False)
        for row, (mm, vma, vpn, nr, kind) in enumerate(runs)
    ]
    names = "mm vma vpn nr_pages kind pfn exclusive file soft_dirty uffd_wp unstable"
    return rows("mappings", names, *made)


VMAS = areas((1, 10, 14, "[heap]"), (1, 14, 20, ""), (1, 100, 101, "[stack]"), (2, 5, 6, "x"))
ENTRIES = entries(
    (1, 0, 10, 3, "present"), (1, 1, 15, 2, "present"), (1, 1, 18, 1, "swap"), (1, 2, 100, 1, "present"),
    (2, 3, 5, 1, "present"),
)  # fmt: skip


def host(**replaced: Any) -> Snapshot:
    return snapshot(**{"vmas": VMAS, "mappings": ENTRIES, **replaced})


def tree(found: tuple[TreeRow, ...], name: str) -> TreeRow:
    return next(row for row in found if row.tree == name)


def test_a_small_host_by_hand() -> None:
    answer = vmas(host())
    assert (answer.address_spaces, answer.vmas, answer.lookups) == (2, 4, 7)
    # Three pages in the first VMA, two in the second, one in the third; one in the VMA of the other.
    in_list = tree(answer.trees, "list")
    assert in_list.comparisons_per_lookup == round((3 * 1 + 2 * 2 + 1 * 3 + 1) / 7, 2)
    assert (in_list.depth_max, in_list.bytes) == (3, 4 * 8)
    # The middle VMA is the root: two comparisons for each of the three, one where there is but one.
    assert tree(answer.trees, "rbtree").comparisons_per_lookup == round((6 * 2 + 1) / 7, 2)
    assert [tree(answer.trees, name).bytes for name in NAMES] == [32, 4 * 32, 4 * 40, 2 * 256, 4 * 16]
    assert tree(answer.trees, "maple").visits_per_lookup == 1
    assert answer.missing == ()
    assert [(row.pid, row.processes, row.vmas, row.lookups) for row in answer.processes] == [
        (70, 2, 3, 6),
        (90, 1, 1, 1),
    ]
    assert answer.worth_it is False  # 11 comparisons in the lists, 13 in the trees


def test_one_vma_each_is_not_worth_a_tree() -> None:
    answer = vmas(
        host(vmas=areas((1, 10, 14, ""), (2, 3, 9, "")), mappings=entries((1, 0, 10, 1, "present")))
    )
    assert answer.worth_it is False
    first = layout(answer).parts[0]
    assert isinstance(first, Note)
    assert first.lines[0].startswith(
        "A balanced tree is NOT worth it here: a look-up takes 1.0 comparisons in"
    )


def test_without_page_tables_every_vma_is_looked_up_once() -> None:
    answer = vmas(snapshot(without=("mappings",), vmas=VMAS))
    assert answer.lookups == 4
    assert tree(answer.trees, "list").comparisons_per_lookup == (1 + 2 + 3 + 1) / 4
    assert [row.part for row in answer.missing] == ["mappings"]
    last = layout(answer).parts[-1]
    assert isinstance(last, Note)
    assert last.lines == ("mappings: not in this snapshot; every VMA is looked up once instead",)


def test_nothing_to_look_up() -> None:
    answer = vmas(host(mappings=entries()))
    assert (answer.lookups, answer.worth_it) == (0, None)
    assert {row.comparisons_per_lookup for row in answer.trees} == {None}
    first = layout(answer).parts[0]
    assert isinstance(first, Note)
    assert "cannot be told" in first.lines[0]


def test_no_vma_at_all() -> None:
    answer = vmas(host(vmas=areas(), mappings=entries()))
    assert (answer.address_spaces, answer.vmas, answer.distribution, answer.processes) == (0, 0, None, ())
    layout(answer)


def test_a_process_by_hand() -> None:
    answer = process_vmas(host(), 71)
    assert (answer.comm, answer.processes, answer.lookups) == ("worker", 2, 6)
    assert [(row.start // PAGE, row.gap_before_bytes) for row in answer.vmas] == [
        (10, None),
        (14, 0),
        (100, 80 * PAGE),
    ]
    assert [(row.present_pages, row.swap_pages, row.rss_bytes) for row in answer.vmas] == [
        (3, 0, None),
        (2, 1, None),
        (1, 0, None),
    ]
    assert (answer.gaps.count, answer.gaps.bytes) == (1, 80 * PAGE)
    assert [(gap.bytes, gap.below, gap.above) for gap in answer.gaps.largest] == [
        (80 * PAGE, "anonymous", "[stack]")
    ]
    text = process_layout(answer)
    assert len(text.parts) == 6


def test_a_process_without_vmas_is_empty() -> None:
    answer = process_vmas(host(vmas=areas((1, 10, 14, "")), mappings=entries()), 90)
    assert (answer.vmas, answer.gaps.count, answer.worth_it) == ((), 0, None)
    process_layout(answer)


@pytest.mark.parametrize(
    ("pid", "kind", "text"),
    [
        (4711, UsageError, "process 4711 is not in the snapshot"),
        (2, UsageError, r"process 2 \(kthreadd\) is a kernel thread"),
        (1, InputError, r"the memory of process 1 \(init\) is not in the snapshot: Permission denied"),
        (91, InputError, r"the memory of process 91 \(\?\) is not in the snapshot: vanished"),
    ],
)
def test_processes_that_have_no_answer(pid: int, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        process_vmas(host(), pid)


def test_a_snapshot_without_vmas_is_refused() -> None:
    for ask in (vmas, lambda taken: process_vmas(taken, 70)):
        with pytest.raises(SnapshotError, match="table vmas is not in this snapshot"):
            ask(snapshot())


def cost_on_addresses(name: str, answer: ProcessVmas) -> tuple[int, int, int]:
    """Return comparisons, visits and depth of a real tree of addresses, every page looked up by itself."""
    keys = [row.end - 1 for row in answer.vmas]
    if name == "maple":
        at = 0
        for row in answer.vmas:
            if row.start > at:
                keys.append(row.start - 1)
            at = row.end
        keys = sorted([*keys, (1 << 64) - 1])
    made: Any = TREES[name](lt, Augment(lambda _k, _v: 0, max) if name == "maple" else None)
    for key in keys:
        made.insert(key, None)
    made.counters.nr_comparisons = made.counters.nr_visits = 0
    for row in answer.vmas:
        for page in range(row.present_pages or 0):
            address = row.start + page * PAGE + 123
            assert made.ceiling(address)[0] == row.end - 1
    return made.counters.nr_comparisons, made.counters.nr_visits, made.depth()


@pytest.mark.parametrize("name", list(TREES))
def test_costs_are_those_of_trees_of_addresses(name: str) -> None:
    answer = process_vmas(load(SHARED), 266)
    comparisons, visits, depth = cost_on_addresses(name, answer)
    row = tree(answer.trees, name)
    assert row.comparisons_per_lookup == round(comparisons / answer.lookups, 2)
    assert (row.visits_per_lookup, row.depth_max) == (round(visits / answer.lookups, 2), depth)


def test_costs_in_a_list_are_those_of_walking_it() -> None:
    answer = process_vmas(load(SHARED), 266)
    ends = [row.end for row in answer.vmas]
    steps = sum(
        1 + bisect_left(ends, row.start + 1) for row in answer.vmas for _ in range(row.present_pages or 0)
    )
    assert tree(answer.trees, "list").comparisons_per_lookup == round(steps / answer.lookups, 2)


@pytest.mark.parametrize("nr", [1, 10, 11, 16, 17, 160, 161, 1000])
def test_nodes_of_the_maple_tree_have_room_for_all(nr: int) -> None:
    made = shape("maple", nr)
    assert -(-nr // 16) <= made.nr_nodes <= 1 + nr // 5
    assert (made.depth == 1) == (nr <= 16)


def test_a_real_host_in_figures() -> None:
    taken = load(SHARED)
    answer = vmas(taken)
    mm = taken.table("vmas").column("mm").tolist()
    counts = sorted(mm.count(each) for each in set(mm))
    assert (answer.address_spaces, answer.vmas, answer.worth_it) == (len(counts), len(mm), True)
    spread = answer.distribution
    assert spread is not None
    assert [spread.quantiles[name] for name in ("p0", "p50", "p100")] == [
        counts[0],
        counts[(len(counts) - 1) // 2],
        counts[-1],
    ]
    assert spread.largest_vmas == counts[-1] == answer.processes[0].vmas
    assert spread.trees_in_1998 == sum(nr >= AVL_MIN_MAP_COUNT for nr in counts)
    assert [row.address_spaces for row in spread.buckets] == [
        sum(row.first <= nr <= row.last for nr in counts) for row in spread.buckets
    ]
    assert sum(row.address_spaces for row in spread.buckets) == len(counts)
    for name in NAMES:
        assert sum(tree(row.trees, name).bytes for row in spread.buckets) == tree(answer.trees, name).bytes
    present = taken.table("mappings")
    assert answer.lookups == int(present.column("nr_pages")[present.column("kind") == "present"].sum())


def test_present_pages_are_the_kernels_rss() -> None:
    for row in process_vmas(load(SHARED), 1).vmas:
        assert row.rss_bytes == (row.present_pages or 0) * PAGE


def test_the_document_of_a_process() -> None:
    document = to_plain(process_vmas(host(), 70))
    assert list(document) == [
        "pid", "comm", "processes", "lookups", "worth_it", "vmas", "gaps", "trees", "missing",
    ]  # fmt: skip
    assert list(document["vmas"][0]) == [
        "start", "end", "gap_before_bytes", "perms", "pgoff", "dev", "inode", "name", "present_pages",
        "swap_pages", "rss_bytes", "pss_bytes", "swap_bytes",
    ]  # fmt: skip

"""vmprobe.analyses.page on snapshots of guests, against what the workloads in them said that they made."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from kernelmodel.pageclass import classify
from vmprobe.analyses.page import page
from vmprobe.store import load

if TYPE_CHECKING:
    from vmprobe.analyses.page_answer import Page
    from vmprobe.tables import Snapshot

PAGE = 4096
FIXTURES = Path(__file__).parents[2] / "fixtures" / "snapshots"
pytestmark = pytest.mark.slow
KERNELS = pytest.mark.parametrize("kernel", ["6.1", "6.12"])


@cache
def guest(name: str) -> Snapshot:
    return load(FIXTURES / f"{name}.vmsnap")


def truths(name: str, workload: str) -> list[dict[str, Any]]:
    made = json.loads((FIXTURES / f"{name}.truth.json").read_text())
    return [truth for truth in made if truth["workload"] == workload]


def inside(ranges: list[list[int]], index: int) -> bool:
    return any(first <= index < end for first, end in ranges)


def mappers(answer: Page) -> set[tuple[int | None, int]]:
    assert answer.mappings is not None
    return {(row.pid, row.address) for row in answer.mappings}


@KERNELS
def test_forks_share_what_nobody_wrote_again(kernel: str) -> None:
    name = f"{kernel}-shared"
    forks = truths(name, "forks")[1]
    private, shared, file = forks["areas"]
    family = {forks["pid"]: private["own"], **{child["pid"]: child["own"] for child in forks["children"]}}
    at = private["start"] + PAGE * 7
    writers = {pid for pid, own in family.items() if pid != forks["pid"] and inside(own, 7)}
    assert 0 < len(writers) < len(family) - 1
    common = page(guest(name), at=(forks["pid"], at + 5))
    assert mappers(common) == {(pid, at) for pid in family if pid not in writers}
    assert (common.page_class, common.mapcount) == ("anonymous", len(family) - len(writers))
    for pid in writers:
        assert mappers(page(guest(name), at=(pid, at))) == {(pid, at)}
    for area in (shared, file):  # in a guest the file's folder is a tmpfs
        at = area["start"] + PAGE * 3
        found = page(guest(name), at=(forks["children"][0]["pid"], at))
        assert mappers(found) == {(pid, at) for pid in family}
        assert (found.page_class, found.unseen_mappers, found.mechanism) == ("shmem", 0, None)
        assert found.mappings is not None
        assert found.mappings[0].vma_start == area["start"]
    assert found.mappings[0].vma_name.endswith("/file")  # type: ignore[union-attr]
    # The frame's own number gives the same answer.
    assert replace(page(guest(name), found.pfn), at=found.at) == found


@KERNELS
def test_swapped_pages_are_where_the_workload_says(kernel: str) -> None:
    name = f"{kernel}-swapping"
    for truth in truths(name, "swapped"):
        start = truth["areas"][0]["start"]
        for first, nr, area, slot in (truth["slots"][0], truth["slots"][-1]):
            found = page(guest(name), at=(truth["pid"], start + (first + nr - 1) * PAGE))
            assert found.at is not None
            assert (found.at.kind, found.at.swap_type, found.at.swap_offset) == ("swap", area, slot + nr - 1)
            assert (found.pfn, found.mappings, found.movable) == (None, None, None)


@KERNELS
def test_freed_pages_are_nothing_and_kept_ones_move(kernel: str) -> None:
    name = f"{kernel}-fragmented"
    truth = truths(name, "holes")[0]
    area = truth["areas"][0]
    freed = area["freed"][5][0]
    kept = next(index for index in range(freed, area["nr_pages"]) if not inside(area["freed"], index))
    nothing = page(guest(name), at=(truth["pid"], area["start"] + freed * PAGE))
    assert nothing.at is not None
    assert (nothing.at.kind, nothing.at.perms, nothing.pfn) == ("none", "rw-p", None)
    assert "never touched" in nothing.missing[0].reason
    held = page(guest(name), at=(truth["pid"], area["start"] + kept * PAGE))
    assert held.movable is not None
    assert held.folio is not None
    assert (held.page_class, held.folio.order, held.movable.verdict) == ("anonymous", 0, "yes")
    block = held.pageblock
    assert block is not None
    assert block.free + block.movable + block.unmovable + block.unknown == 512
    assert block.start_pfn <= held.pfn < block.end_pfn  # type: ignore[operator]


@KERNELS
def test_huge_pages(kernel: str) -> None:
    name = f"{kernel}-huge-pages"
    thp, hugetlb = truths(name, "huge")
    found = page(guest(name), at=(thp["pid"], thp["areas"][0]["start"] + 700 * PAGE))
    assert found.folio is not None
    assert found.movable is not None
    assert (found.page_class, found.folio.order, found.movable.verdict) == ("anonymous", 9, "yes")
    assert found.folio.head_pfn == found.pfn - 700 % 512  # type: ignore[operator]
    assert found.pageblock is not None
    assert (found.pageblock.movable, found.pageblock.verdict) == (512, "movable only")
    pool = page(guest(name), at=(hugetlb["pid"], hugetlb["areas"][0]["start"] + PAGE))
    assert pool.movable is not None
    assert (pool.page_class, pool.movable.verdict, pool.memcg) == ("hugetlb", "no", None)


@KERNELS
def test_the_node_and_zone_of_a_frame(kernel: str) -> None:
    found = [page(guest(f"{kernel}-two-nodes"), pfn) for pfn in (5, 5000, 1 << 20)]
    assert [(answer.node, answer.zone) for answer in found] == [(0, "DMA"), (0, "DMA32"), (1, "Normal")]
    assert [answer.zone_offset_pages for answer in found] == [4, 904, 0]
    charged = truths(f"{kernel}-two-nodes", "forks")[0]
    of_lab = page(guest(f"{kernel}-two-nodes"), at=(charged["pid"], charged["areas"][0]["start"]))
    assert of_lab.memcg == "/lab"


@KERNELS
def test_every_class_of_a_guest_gets_an_answer_that_agrees_with_itself(kernel: str) -> None:
    made = guest(f"{kernel}-huge-pages")
    classes = classify(made.table("frames", ("flags",)).column("flags"))
    seen = set()
    for pfn in np.unique(classes, return_index=True)[1].tolist():
        answer = page(made, pfn)
        assert answer.movable is not None
        seen.add((answer.page_class, answer.movable.verdict))
        assert (answer.folio is None) == (answer.page_class in {"free", "hole"})
        assert (answer.free_block is not None) == (answer.page_class == "free")
        assert answer.entries == answer.mapcount
        if answer.free_block is not None:
            assert answer.free_block.start_pfn <= pfn
            assert pfn < answer.free_block.start_pfn + (1 << answer.free_block.order)
    assert {("free", "free"), ("slab", "no"), ("anonymous", "yes"), ("hugetlb", "no")} <= seen

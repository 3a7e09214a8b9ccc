"""How well `infer_migratetypes` does on the committed snapshots: free pages that land in the right type.

Run as ``python -m tests.kernelmodel.page_alloc.inferred``.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

import vmprobe
from kernelmodel.migratetype import Migratetype
from kernelmodel.page_alloc.evidence import BlockEvidence, block_evidence
from kernelmodel.page_alloc.pageblock_flags import infer_migratetypes
from kernelmodel.page_alloc.rebuild import FreeBlocks, free_blocks
from kernelmodel.page_alloc.type_fit import FreeLists, free_lists
from vmprobe.bridge.model import frames as memmap
from vmprobe.bridge.zones import type_counts

if TYPE_CHECKING:
    from collections.abc import Sequence

SNAPSHOTS = sorted((Path(__file__).parents[3] / "fixtures" / "snapshots").glob("*.vmsnap"))
SHIFT = 9


class ZoneCase(NamedTuple):
    """One populated zone: what goes in, and what pagetypeinfo says."""

    first_block: int
    evidence: BlockEvidence
    totals: Sequence[int]
    blocks: FreeBlocks
    lists: FreeLists


@cache
def cases(path: Path) -> list[ZoneCase]:
    """Return the populated zones of a snapshot."""
    snapshot = vmprobe.load(str(path))
    frames = memmap(snapshot)
    found = []
    for node, zone, start_pfn, spanned, _, managed, *_ in snapshot.table("zones").rows():
        if not managed:
            continue
        start = int(start_pfn)
        end = start + int(spanned)
        counts = type_counts(snapshot, node, zone)
        assert counts is not None
        blocks = free_blocks(frames.free_runs, start, end)
        evidence = block_evidence(frames, start, end, SHIFT)
        lists = free_lists(counts.nr_free, blocks, start >> SHIFT, len(evidence.free), SHIFT)
        found.append(ZoneCase(start >> SHIFT, evidence, counts.nr_pageblocks, blocks, lists))
    return found


def shares_permyriad(paths: list[Path], *, with_totals: bool, with_lists: bool = False) -> tuple[int, int]:
    """Return ten-thousandths of free pages in the right type: of all, and of those not on Movable lists."""
    right, pages = np.zeros(len(Migratetype), np.int64), np.zeros(len(Migratetype), np.int64)
    for case in (case for path in paths for case in cases(path)):
        totals = case.totals if with_totals else None
        lists = case.lists if with_lists else None
        block_type = infer_migratetypes(case.evidence, case.first_block, totals, lists).block_type
        types = block_type[(case.blocks.start_pfn >> SHIFT) - case.first_block]
        inferred = np.bincount(types, 1 << case.blocks.order.astype(np.int64), len(Migratetype))
        counted = (case.lists.counted << np.arange(case.blocks.nr_orders)).sum(axis=1)
        right += np.minimum(inferred.astype(np.int64), counted)
        pages += counted
    other = np.arange(len(Migratetype)) != Migratetype.MOVABLE
    return int(10000 * right.sum() // pages.sum()), int(10000 * right[other].sum() // pages[other].sum())


if __name__ == "__main__":
    for with_totals, with_lists in ((True, True), (True, False), (False, False)):
        everything, other = shares_permyriad(SNAPSHOTS, with_totals=with_totals, with_lists=with_lists)
        name = ("without totals", "with totals   ", "and free lists")[with_totals + with_lists]
        sys.stdout.write(
            f"{name} {everything / 100:.2f} % of free pages, {other / 100:.2f} % of the not movable\n"
        )

"""Inferred migratetypes: the totals hold, evidence is monotone, and the guess is measured."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelmodel.errors import ModelError
from kernelmodel.migratetype import Migratetype
from kernelmodel.page_alloc.evidence import BlockEvidence
from kernelmodel.page_alloc.pageblock_flags import infer_migratetypes
from tests.kernelmodel.page_alloc.inferred import SNAPSHOTS, cases, shares_permyriad

KINDS = len(BlockEvidence._fields)
FIXED = (2, 3, 5)
"""Columns of frames that cannot be moved: unmovable, slab, unknown."""


@st.composite
def zones(draw: st.DrawFn) -> tuple[np.ndarray, list[int], int]:
    """Draw frames of some pageblocks by kind, totals that add up, and the number of the first block."""
    nr_blocks = draw(st.integers(1, 12))
    counts = draw(
        st.lists(
            st.lists(st.integers(0, 512), min_size=KINDS, max_size=KINDS),
            min_size=nr_blocks,
            max_size=nr_blocks,
        )
    )
    types = draw(st.lists(st.integers(0, 5), min_size=nr_blocks, max_size=nr_blocks))
    return np.array(counts, np.int64), np.bincount(types, minlength=6).tolist(), draw(st.integers(0, 3))


def infer(counts: np.ndarray, first_block: int, totals: list[int] | None) -> np.ndarray:
    return infer_migratetypes(BlockEvidence(*counts.T), first_block, totals).block_type


@given(zone=zones())
def test_the_totals_are_met_exactly(zone: tuple[np.ndarray, list[int], int]) -> None:
    counts, totals, first_block = zone
    inferred = infer_migratetypes(BlockEvidence(*counts.T), first_block, totals)
    assert np.bincount(inferred.block_type, minlength=6).tolist() == totals
    assert inferred.constrained
    assert ((inferred.confidence_permille >= 0) & (inferred.confidence_permille <= 1000)).all()
    assert not inferred.confidence_permille[inferred.block_type >= Migratetype.HIGHATOMIC].any()


@given(zone=zones(), data=st.data(), constrained=st.booleans())
def test_evidence_is_monotone(
    zone: tuple[np.ndarray, list[int], int], data: st.DataObject, constrained: bool
) -> None:
    counts, totals, first_block = zone
    block = data.draw(st.integers(0, len(counts) - 1))
    frames = data.draw(st.integers(1, 512))
    fixed = data.draw(st.sampled_from(FIXED))
    before = infer(counts, first_block, totals if constrained else None)
    more_movable, more_fixed = counts.copy(), counts.copy()
    more_movable[block, 1] += frames
    more_fixed[block, fixed] += frames
    if before[block] == Migratetype.MOVABLE:
        assert infer(more_movable, first_block, totals if constrained else None)[block] == Migratetype.MOVABLE
    else:
        assert infer(more_fixed, first_block, totals if constrained else None)[block] != Migratetype.MOVABLE


def test_without_totals_it_says_so() -> None:
    counts = np.array(
        [[0, 512, 0, 0, 0, 0], [0, 0, 400, 112, 0, 0], [200, 0, 0, 312, 0, 0], [512, 0, 0, 0, 0, 0]]
    )
    # Block 3 alone would be Movable; its buddy pulls it over.
    inferred = infer_migratetypes(BlockEvidence(*counts.T), 0)
    assert not inferred.constrained
    assert [Migratetype(code).name for code in inferred.block_type] == [
        "MOVABLE", "UNMOVABLE", "RECLAIMABLE", "RECLAIMABLE",
    ]  # fmt: skip


def test_more_evidence_is_more_confidence() -> None:
    counts = np.zeros((4, KINDS), np.int64)
    counts[:, 1] = (4, 8, 300, 512)
    confidence = infer_migratetypes(BlockEvidence(*counts.T), 0).confidence_permille
    assert sorted(confidence.tolist()) == confidence.tolist()
    assert confidence[0] < 500 < confidence[3]


def test_totals_must_add_up() -> None:
    with pytest.raises(ModelError, match="3 pageblocks in the totals, 1 in the zone"):
        infer(np.zeros((1, KINDS), np.int64), 0, [1, 2, 0, 0, 0, 0])


@pytest.mark.parametrize("path", SNAPSHOTS, ids=lambda path: path.stem)
def test_totals_of_real_zones_add_up(path) -> None:
    for case in cases(path):
        inferred = infer_migratetypes(case.evidence, case.first_block, case.totals)
        assert np.bincount(inferred.block_type, minlength=6).tolist() == case.totals


def test_the_guess_is_as_good_as_its_docstring_says() -> None:
    assert shares_permyriad(SNAPSHOTS, with_totals=True, with_lists=True) >= (9997, 9750)
    assert shares_permyriad(SNAPSHOTS, with_totals=True) >= (9975, 8600)
    assert shares_permyriad(SNAPSHOTS, with_totals=False) >= (9925, 5500)

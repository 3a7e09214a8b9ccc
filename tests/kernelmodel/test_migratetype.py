"""Migratetypes: names and fallbacks as the kernel has them."""

from __future__ import annotations

from pathlib import Path

from kernelmodel.migratetype import BY_NAME, FALLBACKS, NR_PCPTYPES, Migratetype
from tests.oracles.page_alloc import FALLBACK

RECORDED = Path(__file__).parents[2] / "fixtures" / "proc"


def test_recorded_files_print_these_names_in_this_order() -> None:
    for path in RECORDED.glob("*/pagetypeinfo"):
        header = next(line for line in path.read_text().splitlines() if line.startswith("Number of blocks"))
        names = header.removeprefix("Number of blocks type").split()
        assert [BY_NAME[name] for name in names] == sorted(BY_NAME[name] for name in names)
        assert [BY_NAME[name].printed for name in names] == names
    assert list(RECORDED.glob("*/pagetypeinfo"))


def test_the_first_three_fall_back_on_one_another() -> None:
    assert len(FALLBACKS) == NR_PCPTYPES == Migratetype.HIGHATOMIC
    assert {want: list(others) for want, others in enumerate(FALLBACKS)} == FALLBACK

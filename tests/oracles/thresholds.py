"""A threshold held the slow way: each sample looked at alone, each comparison written out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmprobe.metrics import Sample

PARTS_OF_A_WHOLE = {
    "free_blocks", "free_bytes", "pageblocks", "whole_pageblocks", "unmovable_pageblocks",
    "trapped_free_bytes", "mapped_frames", "unexplained", "page_size_bytes", "report_seconds",
    "report_max_rss_bytes", "report_time_seconds", "report_frames",
}  # fmt: skip
"""Metrics of which several samples are added up, or that have one."""


def compare(a: float | str, comparison: str, b: float | str) -> bool:
    """Whether ``a comparison b``."""
    if comparison in ("=", "=="):
        return a == b
    if comparison == "!=":
        return a != b
    assert not isinstance(a, str)
    assert not isinstance(b, str)
    if comparison == "<":
        return a < b
    if comparison == "<=":
        return a < b or a == b
    if comparison == ">":
        return b < a
    assert comparison == ">="
    return b < a or a == b


def chosen(
    samples: Sequence[Sample], name: str, labels: Sequence[str], wanted: Sequence[tuple[str, str, int | str]]
) -> list[Sample]:
    """Return the samples that all selectors take."""
    found = []
    for sample in samples:
        if sample.name != name:
            continue
        fits = True
        for label, relation, value in wanted:
            told = sample.labels[labels.index(label)]
            fits = fits and compare(int(told) if isinstance(value, int) else told, relation, value)
        if fits:
            found.append(sample)
    return found


def held(taken: Sequence[Sample], comparison: str, limit: float) -> tuple[float | None, bool]:
    """Return the figure, None where any of several would do, and whether the limit is crossed."""
    if taken[0].name in PARTS_OF_A_WHOLE:
        total: float = 0
        for sample in taken:
            total += sample.value
        return total, compare(total, comparison, limit)
    crossed = False
    for sample in taken:
        crossed = crossed or compare(sample.value, comparison, limit)
    ordered = sorted(sample.value for sample in taken)
    if comparison in ("<", "<="):
        return ordered[0], crossed
    if comparison in (">", ">="):
        return ordered[-1], crossed
    return None, crossed

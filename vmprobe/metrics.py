"""What a report measures, each figure defined once: metrics file, history and thresholds use this list.

A figure that could not be read has no sample, which is what absent means: it is never 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple


class Sample(NamedTuple):
    """One value.

    Parameters
    ----------
    name
        Of its metric, in `METRICS`.
    labels
        Values of the metric's labels, in their order.
    value
        In the metric's unit.
    """

    name: str
    labels: tuple[str, ...]
    value: int | float


class Combine(Enum):
    """What one figure for several samples is, where a threshold chooses several."""

    SUM = "sum"
    """They are parts of a whole."""
    WORST = "worst"
    """The one that is nearest to the limit, or furthest beyond."""


@dataclass(frozen=True)
class Metric:
    """One figure, or one for each value of its labels.

    Parameters
    ----------
    name
        As thresholds and the history call it; it carries the unit.
    about
        What it is, in one sentence; the HELP line.
    labels
        Names of its labels. Their values are few on any host: nodes, zones, orders, fixed words.
    exposed
        Name in a metrics file, by the conventions of Prometheus (base units); None where it is not in one.
    scale
        What a value is multiplied with there.
    combine
        What several samples are together.
    frames
        Whether it takes page frames: a report without a frame scan does not have it.
    """

    name: str
    about: str
    labels: tuple[str, ...] = ()
    exposed: str | None = None
    scale: float = 1
    combine: Combine = Combine.SUM
    frames: bool = False


_ZONE: Final = ("node", "zone")
_ALL: Final = (
    Metric(
        "free_blocks", "Free blocks in the buddy allocator's lists, as buddyinfo prints them.",
        (*_ZONE, "order"), "vmprobe_free_blocks",
    ),
    Metric("free_bytes", "Free memory in the buddy allocator's lists.", _ZONE, "vmprobe_free_bytes"),
    Metric(
        "unusable_permille",
        "Share of free memory in blocks too small for a request of this order (debugfs unusable_index).",
        (*_ZONE, "order"), "vmprobe_unusable_index_ratio", 0.001, Combine.WORST,
    ),
    Metric(
        "fragmentation_permille",
        "Why a request of this order fails: near 0 for lack of memory, near 1000 per mille (a ratio of 1) for"
        " fragmentation; at -1000 per mille (a ratio of -1) it does not fail (debugfs extfrag_index).",
        (*_ZONE, "order"), "vmprobe_fragmentation_index_ratio", 0.001, Combine.WORST,
    ),
    Metric(
        "score_percent", "Fragmentation score of a node, by which kcompactd decides.",
        ("node",), "vmprobe_fragmentation_score_ratio", 0.01, Combine.WORST,
    ),
    Metric(
        "obtainable",
        "Blocks of this order that can be taken above the watermarks: now, or after compaction as forecast"
        " (at least, expected, at most).",
        ("order", "when"), "vmprobe_obtainable_blocks", combine=Combine.WORST,
    ),
    Metric(
        "pageblocks", "Pageblocks by what they hold.",
        (*_ZONE, "content"), "vmprobe_pageblocks", frames=True,
    ),
    Metric(
        "whole_pageblocks", "Pageblocks with memory behind every page; one that zones share counts once.",
        (), "vmprobe_whole_pageblocks", frames=True,
    ),
    Metric(
        "unmovable_pageblocks",
        "Pageblocks in which a page is known to stay, so that they never are free as a whole.",
        (), "vmprobe_unmovable_pageblocks", frames=True,
    ),
    Metric(
        "unknown_pageblocks",
        "Pageblocks that may be unmovable too: nothing is known to stay there, but not every page is known"
        " (flag word 0: not given to the allocator yet, on a per-CPU list, or the kernel's).",
        (), "vmprobe_unknown_pageblocks", frames=True,
    ),
    Metric(
        "trapped_free_bytes", "Free memory in pageblocks in which a page stays.",
        (), "vmprobe_trapped_free_bytes", frames=True,
    ),
    Metric(
        "blocker_pageblocks", "Pageblocks that a kind of owner holds; one can count under several kinds.",
        ("kind",), "vmprobe_blocker_pageblocks", combine=Combine.WORST, frames=True,
    ),
    Metric(
        "mapped_frames", "Frames that processes map, by how their two counts agree; each frame counts once.",
        ("counted",), "vmprobe_mapped_frames", frames=True,
    ),
    Metric(
        "unexplained", "Mapped frames whose map count and page-table entries differ for no known reason.",
        (), "vmprobe_unexplained_frames", frames=True,
    ),
    Metric(
        "forecast_error_percent", "Error of the compaction forecasts that were verified on this host.",
        ("quantity", "statistic"), "vmprobe_forecast_error_ratio", 0.01, Combine.WORST, frames=True,
    ),
    Metric(
        "events", "Compactions and huge page faults since boot, by the kernel's own names.",
        ("event",), combine=Combine.WORST,
    ),
    Metric(
        "page_size_bytes", "Bytes in a page; a block has two to the power of its order of them.",
        (), "vmprobe_page_size_bytes",
    ),
    Metric(
        "report_seconds", "Time that the report took until its answer was known.",
        (), "vmprobe_report_duration_seconds",
    ),
    Metric(
        "report_max_rss_bytes", "Most memory that the report had resident.",
        (), "vmprobe_report_max_rss_bytes",
    ),
    Metric("report_time_seconds", "When the report was taken.", (), "vmprobe_report_timestamp_seconds"),
    Metric(
        "report_frames", "1 where the report scanned page frames, 0 where it did not.",
        (), "vmprobe_report_frames_scanned",
    ),
)  # fmt: skip

METRICS: Final[dict[str, Metric]] = {metric.name: metric for metric in _ALL}
"""Every metric by name."""

"""vmprobe.render.openmetrics: one text for two formats, by a parser of each; exact numbers; bounded."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from tests.reported import report_of, with_nodes
from vmprobe.analyses.samples import samples
from vmprobe.metrics import METRICS, Sample
from vmprobe.render.openmetrics import UNITS, metrics_text

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "6.12-two-nodes"


def parsed(text: str, parser: Callable[[str], Any]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What a parser reads: name and labels to value."""
    return {
        (sample.name, tuple(sample.labels.items())): sample.value
        for family in parser(text)
        for sample in family.samples
    }


def expected(of: tuple[Sample, ...]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """The same from samples."""
    return {
        (metric.exposed, tuple(zip(metric.labels, labels, strict=True))): value
        if metric.scale == 1
        else pytest.approx(value * metric.scale, rel=1e-15)
        for name, labels, value in of
        if (metric := METRICS[name]).exposed is not None
    }


@pytest.mark.parametrize("parser", [openmetrics, prometheus], ids=["openmetrics", "prometheus"])
def test_both_formats_read_what_the_report_says(parser: Callable[[str], Any]) -> None:
    made = samples(report_of(NAME))
    text = metrics_text(made)
    assert parsed(text, parser) == expected(made)
    families = list(parser(text))
    assert [family.name for family in families] == [m.exposed for m in METRICS.values() if m.exposed]
    assert {family.type for family in families} == {"gauge"}
    assert all(family.documentation for family in families)


@pytest.mark.parametrize(
    ("what", "planted"),
    [
        ("# EOF\n", ""),
        ("# EOF\n", "# EOF\nx 1\n"),
        ("# EOF", "\n# EOF"),
        ("vmprobe_free_bytes gauge", "vmprobe_free_bytes counter"),
        ("vmprobe_free_bytes gauge", "vmprobe_free_bytes untyped"),
        ('order="0"} ', 'order="0"}  '),
        ('zone="DMA"', "zone=DMA"),
        ("# UNIT vmprobe_free_bytes bytes", "# UNIT vmprobe_free_bytes seconds"),
        ("# HELP vmprobe_free_bytes", "# HELP vmprobe_free_blocks"),
        ("frames_scanned 1", "frames_scanned one"),
        ("frames_scanned 1", "frames_scanned 1_0"),
    ],
)
def test_the_strict_parser_sees_planted_faults(what: str, planted: str) -> None:
    text = metrics_text(samples(report_of(NAME)))
    assert what in text
    with pytest.raises(ValueError, match=r"\w"):
        list(openmetrics(text.replace(what, planted)))


def test_there_is_no_quote_in_help() -> None:
    """Prometheus would keep the backslash that OpenMetrics wants before it."""
    assert not [metric.name for metric in METRICS.values() if '"' in metric.about]


def test_units_are_the_last_word_of_a_name() -> None:
    for metric in METRICS.values():
        in_name = metric.name.rpartition("_")[2]
        if metric.exposed is not None and in_name in ("bytes", "seconds", "permille", "percent"):
            assert metric.exposed.rpartition("_")[2] in UNITS, metric
        assert metric.scale == {"permille": 0.001, "percent": 0.01}.get(in_name, 1), metric


def test_names_follow_the_conventions() -> None:
    exposed = [metric.exposed for metric in METRICS.values() if metric.exposed is not None]
    assert len(set(exposed)) == len(exposed)
    for name in exposed:
        assert re.fullmatch(r"vmprobe(_[a-z]+)+", name)
        assert not name.endswith(("_total", "_count", "_sum", "_bucket", "_info", "_created"))


@given(st.text(), st.text(alphabet='a"\\\n{},= '))
def test_any_label_comes_back(zone: str, node: str) -> None:
    # The parser under test reads lines as Python does; what ends a line for neither format must not for it.
    zone = "".join(c for c in zone if c == "\n" or len(f"a{c}b".splitlines()) == 1)
    text = metrics_text([Sample("free_bytes", (node, zone), 1)])
    for parser in (openmetrics, prometheus):
        assert parsed(text, parser) == {("vmprobe_free_bytes", (("node", node), ("zone", zone))): 1}


@given(st.integers(-(2**64), 2**64))
def test_integers_are_printed_exactly(value: int) -> None:
    line = metrics_text([Sample("page_size_bytes", (), value)]).splitlines()[3]
    assert line == f"vmprobe_page_size_bytes {value}"


@given(st.integers(-1000, 1000))
def test_shares_are_the_nearest_number(permille: int) -> None:
    line = metrics_text([Sample("unusable_permille", ("0", "DMA", "0"), permille)]).splitlines()[3]
    assert float(line.rpartition(" ")[2]) == permille / 1000
    assert len(line.rpartition(" ")[2]) <= 6


@given(st.floats(0, 1e9))
def test_other_numbers_come_back(value: float) -> None:
    text = metrics_text([Sample("report_seconds", (), value)])
    for parser in (openmetrics, prometheus):
        assert parsed(text, parser) == {("vmprobe_report_duration_seconds", ()): value}


def test_samples_of_a_metric_stand_together_in_any_order() -> None:
    made = samples(report_of(NAME))
    mixed = [*made[1::2], *made[::2]]
    text = metrics_text(mixed)
    assert parsed(text, openmetrics) == expected(made)


def test_nothing_is_a_file_too() -> None:
    assert metrics_text([]) == "# EOF\n"
    assert not list(openmetrics(metrics_text([])))


def test_metrics_without_a_name_are_left_out() -> None:
    assert metrics_text([Sample("events", ("compact_fail",), 3)]) == "# EOF\n"


def test_a_host_with_64_nodes_has_a_bounded_number_of_series() -> None:
    """Each node with two zones that have memory, and two more on the first: what x86 can have at most."""
    report = report_of(NAME)
    zones = ("DMA", "DMA32", "Normal", "Movable")
    many = with_nodes(report, 64, zones)
    rows = tuple(zone for zone in many.frag.zones if zone.node == 0 or not zone.zone.startswith("DMA"))
    many = replace(many, frag=replace(many.frag, zones=rows))
    lines = [line for line in metrics_text(samples(many)).splitlines() if not line.startswith("#")]
    of_zone = 3 * 11 + 1 + 7  # free blocks and two indices by order, free bytes, contents of pageblocks
    of_node = 1
    of_host = 11 * 4 + 7 + 8 + 4 + 10  # obtainable, kinds of owners, mapped frames, errors, and single ones
    assert len(lines) == 130 * of_zone + 64 * of_node + of_host == 5467
    small = [line for line in metrics_text(samples(report)).splitlines() if not line.startswith("#")]
    assert len(small) == 3 * of_zone + 2 * of_node + of_host

"""vmprobe.analyses.thresholds: what the grammar takes, what it refuses and how, and limits held."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracles import thresholds as oracle
from tests.reported import report_of, without_frames
from vmprobe.analyses.report_answer import Level
from vmprobe.analyses.samples import NOW, WHEN, samples
from vmprobe.analyses.threshold import ONLY_NOW, SIZES, Selector
from vmprobe.analyses.threshold_text import DEFAULTS, NUMBERED
from vmprobe.analyses.thresholds import Threshold, hold, parse
from vmprobe.errors import UsageError
from vmprobe.metrics import METRICS, Sample

NAME = "6.12-two-nodes"
SPARSE = "6.12-fragmented"


@cache
def figures(name: str = NAME) -> tuple[Sample, ...]:
    """The samples of a report."""
    return samples(report_of(name))


def crossed(text: str, name: str = NAME) -> tuple[int | float | None, bool | None]:
    """Figure, and whether the limit is crossed."""
    crossing = hold(parse(text, Level.CRITICAL), figures(name), frames=True)
    return crossing.value, crossing.crossed


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("free_blocks[order>=9] < 64", "free_blocks[order>=9] < 64"),
        ("  free_blocks [ order >= 9 ]<64 ", "free_blocks[order>=9] < 64"),
        ("free_blocks[zone=Normal,node=0, 9]<=6.50", "free_blocks[zone=Normal, node=0, order=9] <= 6.5"),
        ("free_blocks[Normal, 9] == 0", "free_blocks[zone=Normal, order=9] == 0"),
        ("free_blocks[zone==Normal] != 0", "free_blocks[zone=Normal] != 0"),
        ("free_blocks[order=007] < 1", "free_blocks[order=7] < 1"),
        ("free_blocks", "free_blocks < 1"),
        ("unusable_permille[9]", "unusable_permille[order=9] > 900"),
        ("fragmentation_permille[9]>-500", "fragmentation_permille[order=9] > -500"),
        ("obtainable_2m < 64", "obtainable_2m < 64"),
        ("obtainable_2m", "obtainable_2m < 1"),
        ("obtainable_2m[now]", "obtainable_2m < 1"),
        ("obtainable_64k[after_compaction] < 3", "obtainable_64k[when=after_compaction] < 3"),
        ("obtainable_1g[after_compaction_at_least]", "obtainable_1g[when=after_compaction_at_least] < 1"),
        ("obtainable[order=9, when!=now] < 3", "obtainable[order=9, when!=now] < 3"),
        ("obtainable_2m[now, when!=after_compaction]", "obtainable_2m[when=now, when!=after_compaction] < 1"),
        ("unexplained", "unexplained > 0"),
        ("unmovable_pageblocks", "unmovable_pageblocks > 50%"),
        ("unmovable_pageblocks > 12.5 %", "unmovable_pageblocks > 12.5%"),
        ("blocker_pageblocks[page_tables] > 5", "blocker_pageblocks[kind=page_tables] > 5"),
        ("free_bytes < 1.5G", "free_bytes < 1610612736"),
        ("trapped_free_bytes > 4 K", "trapped_free_bytes > 4096"),
        ("free_bytes[zone=Normal] < 2T", "free_bytes[zone=Normal] < 2199023255552"),
        ("report_seconds > 0.000001", "report_seconds > 0.000001"),
        ("forecast_error_percent[quantity=moves, statistic=worst] > 20",
         "forecast_error_percent[quantity=moves, statistic=worst] > 20"),
    ],
)  # fmt: skip
def test_what_is_meant(text: str, canonical: str) -> None:
    threshold = parse(text, Level.WARNING)
    assert str(threshold) == canonical
    assert threshold.text == text
    assert parse(canonical, Level.WARNING) == threshold


@pytest.mark.parametrize(
    ("text", "place", "what", "hint"),
    [
        ("", 1, "a figure's name must stand here", "one of free_blocks, "),
        ("< 3", 1, "a figure's name must stand here", "obtainable_2m"),
        ("  free_blok < 3", 3, "no figure is called free_blok", "did you mean free_blocks?"),
        ("obtainable_2M", 1, "no figure is called obtainable_2M", "did you mean obtainable_2m?"),
        ("xyzzy", 1, "no figure is called xyzzy", "one of free_blocks, "),
        ("free_blocks[9 < 3", 15, "a comma or ] must stand here", "order>=9"),
        ("free_blocks[9", 14, "a comma or ] must stand here", "order>=9"),
        ("free_blocks[]", 13, "a value must stand here", "order>=9"),
        ("free_blocks[order>=]", 20, "a value must stand here", "order>=9"),
        ("free_blocks[9,]", 15, "a value must stand here", "order>=9"),
        ("free_blocks[ordr=9]", 13, "free_blocks has no label ordr", "it has node, zone, order"),
        ("free_bytes[9] < 1", 12, "free_bytes has no label order", "it has node, zone"),
        ("obtainable_2m[order=9]", 15, "obtainable_2m has no label order", "it has when"),
        ("unexplained[3]", 13, "unexplained has no label order", "without brackets"),
        ("pageblocks[mixed] > 3", 12, "which label of pageblocks is to be mixed", "node, zone, content"),
        ("score_percent[x] > 3", 15, "which label of score_percent is to be x", "it has node"),
        ("free_blocks[order=x]", 19, "order is a number, and x is none", "order=9"),
        ("free_blocks[order=-1]", 19, "order is a number, and -1 is none", "order=9"),
        ("free_blocks[order=1234567890]", 19, "order is a number", "order=9"),
        ("free_blocks[zone<Normal]", 18, "words are not <", "= or !="),
        ("obtainable[when=later]", 17, "there is nothing obtainable later", "one of now, after_comp"),
        ("free_blocks = 3", 13, "a comparison must stand here", "one of <, <=, >, >=, ==, !="),
        ("free_blocks 3", 13, "a comparison must stand here", "one of"),
        ("free_blocks < many", 15, "a number must stand here", "free_blocks < 64"),
        ("free_blocks <", 14, "a number must stand here", "free_blocks < 64"),
        ("free_blocks < 1K", 16, "free_blocks is not in bytes", "leave out the K"),
        ("free_bytes < 5%", 15, "free_bytes does not count pageblocks", "leave out the %"),
        ("free_blocks < 3 or", 17, "nothing may follow here", "one an option"),
        ("free_bytes < 3KiB", 16, "nothing may follow here", "one an option"),
        ("free_blocks < 1234567890123456789", 33, "nothing may follow here", "one an option"),
        ("trapped_free_bytes", 19, "trapped_free_bytes has no limit of its own", "trapped_free_bytes > 1G"),
        ("events[compact_fail]", 21, "events has no limit of its own", "events > 1000"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, place: int, what: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text, Level.CRITICAL)
    assert caught.value.message.startswith(f"threshold {text!r}, character {place}: ")
    assert what in caught.value.message
    assert hint in str(caught.value.hint)


@given(st.text(alphabet="free_blocks[]order>=9,<!% KMG.-\n|'\"now") | st.text())
def test_any_text_is_taken_or_refused(text: str) -> None:
    try:
        threshold = parse(text, Level.CRITICAL)
    except UsageError:
        return
    assert parse(str(threshold), Level.CRITICAL) == threshold


def test_every_metric_has_a_default_or_says_so() -> None:
    for name in [*METRICS, *SIZES]:
        if ("obtainable" if name in SIZES else name) in DEFAULTS:
            parse(name, Level.CRITICAL)
        else:
            with pytest.raises(UsageError, match="has no limit of its own") as caught:
                parse(name, Level.CRITICAL)
            example = re.search(r"for example (.*)", str(caught.value.hint))
            assert example is not None
            parse(example[1], Level.CRITICAL)


def selectors(name: str) -> st.SearchStrategy[tuple[Selector, ...]]:
    """Selectors whose values there are."""
    metric = METRICS["obtainable" if name in SIZES else name]
    columns = dict(
        zip(
            metric.labels,
            zip(*(s.labels for s in figures() if s.name == metric.name), strict=True),
            strict=True,
        )
    )
    each = []
    for label in metric.labels:
        if name in SIZES and label == "order":
            continue
        values = sorted(set(columns[label]))
        if label in NUMBERED:
            relation = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
            made = st.builds(Selector, st.just(label), relation, st.sampled_from(values).map(int))
        else:
            made = st.builds(Selector, st.just(label), st.sampled_from(["=", "!="]), st.sampled_from(values))
        each.append(made)
    return st.lists(st.one_of(each), max_size=3).map(tuple) if each else st.just(())


@st.composite
def any_threshold(draw: st.DrawFn) -> Threshold:
    """A threshold with selectors that name what there is."""
    name = draw(st.sampled_from([*METRICS, *(size for size in SIZES if size != "obtainable_1g")]))
    chosen = draw(selectors(name))
    if (name in SIZES or name == "obtainable") and not any(s.label == "when" for s in chosen):
        chosen = (*chosen, ONLY_NOW)
    values = [int(s.value) for s in figures() if s.name == name] or [1824]
    near = st.sampled_from(values).flatmap(lambda value: st.integers(value - 1, value + 1))
    limit: int | float = draw(
        near | st.integers(-(10**9), 10**9) | st.integers(1, 10**6).map(lambda n: n + 0.25)
    )
    comparison = draw(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]))
    percent = draw(st.booleans()) and name.endswith("pageblocks")
    return Threshold(name, chosen, comparison, limit, percent, Level.WARNING, "")


@given(any_threshold())
def test_text_and_threshold_are_the_same(threshold: Threshold) -> None:
    assert parse(str(threshold), Level.WARNING) == threshold


@given(any_threshold())
def test_held_as_the_oracle_holds_them(threshold: Threshold) -> None:
    metric = threshold.metric
    wanted = list(threshold.selectors)
    if threshold.name in SIZES:
        wanted.append(Selector("order", "=", {"obtainable_64k": 4, "obtainable_2m": 9}[threshold.name]))
    taken = oracle.chosen(figures(), metric.name, metric.labels, wanted)
    limit = threshold.limit
    if threshold.percent:
        report = report_of(NAME)
        assert report.frag.held is not None
        nr = report.frag.held.pageblocks
        if threshold.name == "pageblocks":
            counts = [zone.pageblocks or {} for zone in report.frag.zones]
            nr = sum(sum(count.values()) - count["absent"] for count in counts)
        limit = limit * nr / 100
    here = [selector for selector in wanted if selector.label != "when"]
    if not oracle.chosen(figures(), metric.name, metric.labels, here):
        with pytest.raises(UsageError, match="nothing here is"):
            hold(threshold, figures(), frames=True)
        return
    crossing = hold(threshold, figures(), frames=True)
    if not taken:
        assert (crossing.value, crossing.crossed) == (None, None)
        return
    value, is_crossed = oracle.held(taken, threshold.comparison, limit)
    assert crossing.crossed == is_crossed
    assert value is None or crossing.value == value
    assert crossing.limit == pytest.approx(limit)
    assert oracle.compare(crossing.value or 0, threshold.comparison, crossing.limit) == is_crossed
    assert threshold.figure in crossing.reason
    assert "\n" not in crossing.reason


@pytest.mark.parametrize(
    ("text", "value", "is_crossed", "reason"),
    [
        ("free_blocks[order>=9] < 64", 36, True, "free_blocks[order>=9] is 36, below 64"),
        ("free_blocks[order>=9] < 36", 36, False, "free_blocks[order>=9] is 36, not below 36"),
        ("obtainable_2m < 69", 68, True, "obtainable_2m is 68, below 69"),
        ("obtainable_2m[after_compaction_at_most] < 69", 71, False, "is 71, not below 69"),
        ("obtainable[order>=8] < 64", 32, True, "is 32 (order 10, when now), below 64"),
        ("unusable_permille[10] > 78", 193, True,
         "unusable_permille[order=10] is 193 (node 0, zone DMA, order 10), above 78"),
        ("unmovable_pageblocks > 20%", 52, True, "is 52, above 50.8 (20 % of all pageblocks)"),
        ("unmovable_pageblocks", 52, False, "is 52, not above 127 (50 % of all pageblocks)"),
        # Zones share two of them: 256 by zone, and 254.
        ("pageblocks[content=free] < 100%", 68, True, "is 68, below 256 (100 % of all pageblocks)"),
        ("blocker_pageblocks > 30", 34, True, "is 34 (kind kernel), above 30"),
        ("free_bytes < 1G", 147763200, True, "free_bytes is 140.9 MiB, below 1.0 GiB"),
        ("unexplained", 0, False, "unexplained is 0, not above 0"),
    ],
)  # fmt: skip
def test_reasons(text: str, value: int, is_crossed: bool, reason: str) -> None:
    crossing = hold(parse(text, Level.CRITICAL), figures(SPARSE), frames=True)
    assert (crossing.value, crossing.crossed) == (value, is_crossed)
    assert crossing.reason.endswith(reason)
    assert (crossing.expression, crossing.level) == (text, Level.CRITICAL)


def test_equal_or_not_means_any_of_several() -> None:
    values = {s.value for s in figures(SPARSE) if s.name == "blocker_pageblocks"}
    assert len(values) > 3
    for value in values:
        assert crossed(f"blocker_pageblocks == {value}", SPARSE) == (value, True)
    assert crossed("blocker_pageblocks == 33", SPARSE) == (34, False)
    assert crossed("blocker_pageblocks[kind=kernel] != 34", SPARSE) == (34, False)
    assert crossed("blocker_pageblocks != 34", SPARSE) == (0, True)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("free_blocks[zone=Foo] < 3", "free_blocks is there for node 0; zone DMA, DMA32; order 0, 1, 2, 3, "),
        ("free_blocks[node=7] < 3", "node 0;"),
        ("free_blocks[order>10] < 3", "order 0, 1,"),
        ("obtainable_1g", "obtainable is there for order 0, 1,"),
        ("obtainable[99, after_compaction]", "obtainable is there for order 0, 1,"),
        ("events[compact_fial] > 3", "events is there for event compact_success, compact_fail, "),
        ("pageblocks[content=good] < 3", "content free, movable_only"),
    ],
)
def test_what_there_is_not_is_no_pass(text: str, hint: str) -> None:
    with pytest.raises(UsageError, match="nothing here is") as caught:
        hold(parse(text, Level.CRITICAL), figures(SPARSE), frames=True)
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize(
    "text",
    [
        "unmovable_pageblocks", "unmovable_pageblocks > 3", "pageblocks[content=mixed] > 3", "unexplained",
        "blocker_pageblocks[slab] > 3", "mapped_frames < 3", "trapped_free_bytes > 1G",
        "forecast_error_percent > 3", "obtainable_2m[after_compaction]", "obtainable[9, when!=now] < 3",
        "obtainable_1g",
    ],
)  # fmt: skip
def test_without_frames_it_says_what_to_do(text: str) -> None:
    crossing = hold(parse(text, Level.CRITICAL), samples(without_frames(report_of(NAME))), frames=False)
    assert (crossing.value, crossing.crossed) == (None, None)
    assert "make one as root, without --no-frames" in crossing.reason


def test_what_is_known_without_frames_is_held() -> None:
    made = samples(without_frames(report_of(SPARSE)))
    assert hold(parse("obtainable_2m", Level.CRITICAL), made, frames=False).value == 68
    assert hold(parse("free_blocks[order>=9] < 64", Level.CRITICAL), made, frames=False).crossed is True


def test_what_a_report_with_frames_lacks() -> None:
    report = report_of(SPARSE)
    lacking = samples(
        replace(
            report,
            record=None,
            sharing=None,
            cost=replace(report.cost, seconds=None),
            obtainable=tuple(replace(row, low=None, mid=None, high=None) for row in report.obtainable),
        )
    )
    for text, why in (
        ("forecast_error_percent > 3", "`vmprobe compact --verify` verifies one"),
        ("unexplained", "its list of what is missing says why"),
        ("report_seconds > 3", "its list of what is missing says why"),
        ("obtainable_2m[after_compaction]", "`vmprobe compact --order` forecasts other orders"),
    ):
        crossing = hold(parse(text, Level.CRITICAL), lacking, frames=True)
        assert (crossing.value, crossing.crossed) == (None, None)
        assert crossing.reason.endswith(why)
        assert "not known" in crossing.reason


def test_the_order_of_a_size_is_that_of_the_host() -> None:
    """With pages of 64 KiB the block of 2 MiB has order 5."""
    large = [
        Sample("page_size_bytes", (), 1 << 16),
        *(Sample("obtainable", (str(order), NOW), 100 + order) for order in range(14)),
    ]
    for text, value in (("obtainable_64k", 100), ("obtainable_2m", 105)):
        assert hold(parse(text, Level.CRITICAL), large, frames=False).value == value
    with pytest.raises(UsageError, match="nothing here is order=14"):
        hold(parse("obtainable_1g", Level.CRITICAL), large, frames=True)


def test_whens_are_the_words_of_the_samples() -> None:
    assert {s.labels[1] for s in figures() if s.name == "obtainable"} == set(WHEN)

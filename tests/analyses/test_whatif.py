"""Policies side by side: one seed is one table, kept demands are the same, and figures add up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import vmprobe
from vmprobe.analyses.parts import Grid
from vmprobe.analyses.whatif import Question, demand_in, help_kinds, whatif
from vmprobe.analyses.whatif_layout import layout, small_areas
from vmprobe.collect.allocations import FORMAT
from vmprobe.errors import InputError, UsageError
from vmprobe.render.html_whatif import whatif_page
from vmprobe.render.jsontext import dumps
from vmprobe.store.allocations import DTYPES, read, write_recording

if TYPE_CHECKING:
    from vmprobe.analyses.whatif_answer import WhatIf

FIXTURES = Path(__file__).parents[2] / "fixtures" / "snapshots"
SNAPSHOT = vmprobe.load(str(FIXTURES / "6.12-fragmented.vmsnap"))
QUESTION = Question(("buddy-lifo", "first-fit"), (("sound-card", 1),), 60_000, (1, 2), ("none", "blit"))


@pytest.fixture(scope="module")
def answer() -> WhatIf:
    return whatif(SNAPSHOT, QUESTION)


def test_one_seed_is_one_table(answer: WhatIf) -> None:
    assert dumps(whatif(SNAPSHOT, QUESTION)) == dumps(answer)
    other = whatif(SNAPSHOT, replace(QUESTION, seeds=(3,), helps=("none",)))
    assert other.sides[0].met != answer.sides[0].met


def test_every_request_is_counted_once(answer: WhatIf) -> None:
    for side in answer.sides:
        assert sum(each.asked for each in side.met) == QUESTION.steps * len(QUESTION.seeds)
        for each in side.met:
            assert each.asked == each.at_once + each.helped + each.failed + each.deferred
            assert each.met_percent.low <= each.met_percent.mean <= each.met_percent.high
        assert (side.help == "none") == (not side.helps)
    assert {(side.policy, side.help) for side in answer.sides} == {
        (policy, text) for policy in QUESTION.policies for text in QUESTION.helps
    }


def test_help_only_helps(answer: WhatIf) -> None:
    by_name = {(side.policy, side.help): side for side in answer.sides}
    for policy in QUESTION.policies:
        driver = [
            next(each for each in by_name[policy, text].met if each.source == "sound-card")
            for text in QUESTION.helps
        ]
        assert driver[0].helped == 0
        assert driver[1].helped > 0
        assert by_name[policy, "blit"].helps[0].copied_pages > 0


def test_memory_begins_with_what_the_host_has_free_and_blocks_add_up(answer: WhatIf) -> None:
    for side in answer.sides:
        assert side.free_pages[0] == answer.free_pages
        in_blocks = sum(nr << order for order, nr in enumerate(side.free_blocks))
        assert side.free_pages[-1] == in_blocks + side.kept_pages
        assert all(low <= nr for low, nr in zip(side.low_blocks, side.free_blocks, strict=True))
    assert answer.low_limit_bytes == 16 << 20


def test_policies_that_end_with_small_areas_alone_are_named(answer: WhatIf) -> None:
    side = answer.sides[0]
    none = replace(side, low_blocks=(9, 9, 5, 1, *[0] * 7), low_refused=(0, 4))
    told = small_areas(replace(answer, sides=(none,)))
    assert told == ("buddy-lifo: 7 free areas of 16.0 KiB below 16.0 MiB, none of 64.0 KiB.",)
    some = replace(none, low_blocks=(9, 9, 5, 1, 1, *[0] * 6))
    assert small_areas(replace(answer, sides=(some,))) == ()
    # What others were refused is not what the most limited wanted.
    assert small_areas(replace(answer, sides=(replace(none, low_refused=(0,)),))) == ()


def test_refused_orders_are_those_of_the_most_limited_alone() -> None:
    question = replace(QUESTION, policies=("buddy-lifo",), seeds=(1,), helps=("none",), steps=150_000)
    question = replace(question, streams=(("sound-card", 1), ("print-job", 1)))
    side = whatif(SNAPSHOT, question).sides[0]
    refused = {each.source: set() for each in side.met} | {
        each.source: {other.order for other in side.met if other.source == each.source and other.failed}
        for each in side.met
    }
    assert side.low_refused == (4,)
    assert refused["sound-card"] == {4}
    assert refused["memory-eater"] | refused["print-job"] > {0}


def test_figures_of_several_groups_differ_by_seed_too(answer: WhatIf) -> None:
    side = answer.sides[0]
    one = replace(side.met[0], source="a", priority="waits", order=0, of_seeds=((10, 10), (40, 100)))
    other = replace(one, source="b", of_seeds=((40, 90), (0, 0)))
    parts = layout(replace(answer, sides=(replace(side, met=(one, other)),))).parts
    rows = next(part.rows for part in parts if isinstance(part, Grid) and "by order" in part.title)
    # 50 of 100 with the first seed, 40 of 100 with the second.
    assert rows == ((side.policy, "45.0 % ±5.0"),)


def test_a_kept_demand_gives_the_table_of_its_seed(tmp_path: Path) -> None:
    question = replace(QUESTION, seeds=(5,), helps=("none",))
    first = whatif(SNAPSHOT, replace(question, save=tmp_path / "kept.npz"))
    kept = demand_in(tmp_path / "kept.npz")
    again = whatif(SNAPSHOT, replace(question, streams=(), kept=kept))
    assert [dumps(side) for side in again.sides] == [dumps(side) for side in first.sides]
    assert (again.seeds, again.demand) == ((), "kept.npz")
    with pytest.raises(UsageError, match="comes from a file already"):
        whatif(SNAPSHOT, replace(question, streams=(), kept=kept, save=tmp_path / "x.npz"))


def test_areas_kept_ready_are_counted() -> None:
    question = replace(QUESTION, seeds=(1,), helps=("none",), keep=(2000, 4), policies=("buddy-lifo",))
    side = whatif(SNAPSHOT, question).sides[0]
    assert [each.kind for each in side.helps] == ["keep"]
    assert side.helps[0].calls > 0


@pytest.mark.parametrize("text", ["pray", "blit+blit", "none+blit", ""])
def test_help_that_there_is_not_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--help-on-failure"):
        help_kinds(text)


def test_the_page_is_whole_in_itself(answer: WhatIf) -> None:
    page = whatif_page(replace(answer, demand="</title><script>alert(1)</script>")).decode()
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    assert page.count("<polyline") == 2 * len(answer.sides)
    assert page.count("<figure>") == len(answer.sides)
    for part in layout(answer).parts:
        assert part.title in page


def test_swap_that_is_assumed_is_used_and_told() -> None:
    question = replace(QUESTION, seeds=(1,), helps=("evict",), policies=("buddy-lifo",))
    question = replace(question, streams=(("sound-card", 1),), steps=60_000)
    none, some = (whatif(SNAPSHOT, replace(question, swap_free_bytes=room)) for room in (0, 64 << 20))
    assert none.sides[0].helps[0].swapped_pages == 0 < some.sides[0].helps[0].swapped_pages <= 64 << 8
    assert (some.swap_free_pages, some.swap_assumed) == (64 << 8, True)
    had = whatif(SNAPSHOT, question)
    assert (had.swap_free_pages, had.swap_assumed) == (0, False)


def test_a_recording_that_does_not_fit_its_host_is_named(tmp_path: Path) -> None:
    count = {"node": 0, "zone": "DMA", "nr_free": [1], "pcp_pages": None}
    manifest: dict[str, Any] = {
        "format": FORMAT, "boot_id": SNAPSHOT.manifest["host"].get("boot_id"), "release": "6.12", "events": 1,
        "lost": 0, "before_time": SNAPSHOT.manifest["time"]["start"], "counts_at_start": [count],
        "counts_at_end": [count],
    }  # fmt: skip
    columns: dict[str, Any] = {name: np.zeros(1, dtype) for name, dtype in DTYPES.items()}
    path = tmp_path / "x.vmrec"
    write_recording(path, columns, manifest, (SNAPSHOT, SNAPSHOT))
    question = replace(QUESTION, streams=(), recording=read(path))
    with pytest.raises(InputError, match=r"x\.vmrec: no counts of node 0 zone DMA32") as caught:
        whatif(SNAPSHOT, question)
    assert "record again" in str(caught.value.hint)
    later = replace(question, recording=replace(read(path), manifest=manifest | {"before_time": "later"}))
    with pytest.raises(UsageError, match="not the one that was taken right before"):
        whatif(SNAPSHOT, later)

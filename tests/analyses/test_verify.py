"""A forecast verified on a recorded host: a kernel that does as forecast, and ways in which it does not."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from rich.console import Console

from tests import verified
from vmprobe.analyses.compact_side import Side
from vmprobe.analyses.page_inputs import last_real
from vmprobe.analyses.record import History, layout_record, record
from vmprobe.analyses.verify import Verification, history_document, verify
from vmprobe.analyses.verify_layout import intended, layout, layout_intended
from vmprobe.render.jsontext import dumps
from vmprobe.render.text import print_parts

KEYS = [
    "strategy", "order", "before", "after", "gained_blocks", "interval", "moves_pages", "evicted_pages",
    "migrate_scanned", "free_scanned", "ptes_patched", "address_spaces", "tlb_flushes", "cost_us",
    "minimum_moves_pages", "ratio_to_minimum", "status", "hazards", "blocked",
]  # fmt: skip
ERRORS = [
    "moves_percent", "gained_percent", "free_mass_distance", "left_precision", "left_recall",
    "filled_precision", "filled_recall",
]  # fmt: skip


def verification(nr_left_out: int = 0, **told: Any) -> Verification:
    return verify(
        verified.host(), verified.after(nr_left_out), verified.ORDER, verified.happened(**told)
    )  # fmt: skip


@pytest.fixture(scope="module")
def perfect() -> Verification:
    return verification()


def text(answer: Verification) -> str:
    console = Console(width=100, no_color=True)
    with console.capture() as captured:
        print_parts(layout(answer), console)
    return captured.get()


def test_what_came_true_has_no_error(perfect: Verification) -> None:
    error = perfect.error
    assert (error.moves_percent, error.migrate_scanned_percent, error.free_scanned_percent) == (0, 0, 0)
    assert (error.left_precision, error.left_recall) == (1, 1)
    assert (error.filled_precision, error.filled_recall) == (1, 1)
    assert error.free_mass_distance == 0
    assert perfect.gained_blocks == perfect.actual.gained_blocks
    assert perfect.after == perfect.actual.after
    assert perfect.status == perfect.actual.status == "complete"
    assert {zone.status_actual for zone in perfect.zones} == {"complete"}
    assert {zone.stopped_percent for zone in perfect.zones} <= {0.0, None}
    assert perfect.foreign_pages == 7
    assert perfect.actual.cost_us.mid == 250_000


def test_the_document_has_the_names_of_the_issue(perfect: Verification) -> None:
    document = json.loads(dumps(perfect))
    assert [name for name in KEYS if name not in document] == []
    assert list(document["actual"]) == KEYS == [field.name for field in fields(Side)]
    assert [name for name in ERRORS if name not in document["error"]] == []
    assert document["actual"]["interval"] is None


def test_moves_that_did_not_happen_are_errors(perfect: Verification) -> None:
    nr = perfect.moves_pages or 0
    short = verification(nr // 4, moves=-(nr // 4))
    assert short.error.moves_percent == pytest.approx(100 * (nr // 4) / (nr - nr // 4))
    assert short.error.left_recall == short.error.filled_recall == 1
    assert short.error.left_precision == pytest.approx(1 - (nr // 4) / nr)
    assert short.error.filled_precision == pytest.approx(1 - (nr // 4) / nr)
    assert short.error.free_mass_distance > 0
    assert "(+33." in text(short)


def test_a_zone_that_was_given_up_is_told_apart(perfect: Verification) -> None:
    gave_up = verification(word="contended")
    assert gave_up.actual.status == "contended"
    assert gave_up.status == "complete"
    # Another word than those two is no status.
    assert verification(word="no_suitable_page").actual.status is None
    assert "contended" in text(gave_up)
    assert "contended" not in text(perfect)


def test_without_the_trace_event_pictures_are_asked() -> None:
    deaf = verification(heard=False)
    assert deaf.status_source == "pictures"
    assert {zone.stopped_percent for zone in deaf.zones} == {None}
    assert "by pictures" in text(deaf)


def test_the_history_keeps_what_a_record_needs(perfect: Verification) -> None:
    nr = perfect.moves_pages or 0
    host = {"release": "6.12", "boot_id": "boot"}
    short = verification(nr // 4, moves=-(nr // 4))
    documents = [
        json.loads(json.dumps(history_document(answer, host, "2026-01-02T03:04:05+00:00")))
        for answer in (perfect, short, perfect)
    ]
    assert {"time", "release", "boot_id", "options", "error", "forecast", "actual"} <= set(documents[0])
    blocks = documents[1]["free_blocks"]
    assert blocks["real"] == list(short.actual.after.free_blocks) != blocks["before"]
    assert last_real(History(tuple(documents[:2]), live=True), host).free_blocks == tuple(blocks["real"])
    foreign = {**documents[1], "release": "6.1"}
    summed = record([*documents, foreign], "6.12")
    assert (summed.runs, summed.moves_percent_median) == (3, 0)
    assert summed.moves_percent_worst == pytest.approx(short.error.moves_percent)
    assert summed.intervals == 3
    assert summed.status_right == 3
    wrong = {**documents[0], "actual": {**documents[0]["actual"], "status": "contended", "gained_blocks": -9}}
    spoiled = record([wrong], "6.12")
    assert (spoiled.intervals_held, spoiled.intervals, spoiled.status_right) == (0, 1, 0)


def test_a_record_of_nothing_and_of_half_lines() -> None:
    empty = record([], "6.12")
    assert (empty.runs, empty.moves_percent_median, empty.intervals) == (0, None, 0)
    assert [fact.value for fact in layout_record(empty).facts] == [0]
    half = record([{"version": 1, "release": "6.12", "error": {"moves_percent": -4.0}}], "6.12")
    assert (half.runs, half.moves_percent_worst, half.gained_percent_worst, half.status_right) == (
        1,
        4,
        None,
        0,
    )


def test_what_would_be_done_names_the_file() -> None:
    answer = intended("/some/where.jsonl")
    assert answer.done is False
    assert "/some/where.jsonl" in answer.steps[-1]
    assert len(layout_intended(answer).parts) == 2

"""Charts of characters: the right dots, gaps where nothing is known, no colour where none is wanted."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tests.histories import START
from vmprobe.analyses.report_answer import Series
from vmprobe.render import plot
from vmprobe.render.plot import ASCII, BRAILLE, ROWS, print_chart

if TYPE_CHECKING:
    import pytest

Values = list[int | None] | list[float | None]


def series(values: Values, hours: list[float] | None = None, name: str = "free_blocks") -> Series:
    times = [START + timedelta(hours=each) for each in (hours or range(len(values)))]
    return Series(name, "", tuple(time.isoformat() for time in times), tuple(values))


def printed(each: Series, *, width: int = 40, encoding: str = "utf-8", color: bool = False) -> list[str]:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
    console = Console(
        file=stream,
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        highlight=False,
    )
    print_chart("title", each, console)
    stream.flush()
    return stream.buffer.getvalue().decode(encoding).splitlines()  # type: ignore[attr-defined]


def dots(lines: list[str]) -> set[tuple[int, int]]:
    """Return the dots of a chart in braille, column and row from the top."""
    found = set()
    for row, line in enumerate(lines[2 : 2 + ROWS]):
        for column, character in enumerate(line.partition("│")[2]):
            bits = ord(character) - 0x2800 if character != " " else 0
            for y, bit_row in enumerate(BRAILLE.bits):
                found |= {(2 * column + x, 4 * row + y) for x, bit in enumerate(bit_row) if bits & bit}
    return found


def test_a_line_from_corner_to_corner() -> None:
    lines = printed(series([0, 100]))
    assert [lines[0], lines[1]] == ["", "title"]
    assert lines[2].startswith("100 │")
    assert lines[1 + ROWS].startswith("  0 │")
    assert lines[2 + ROWS] == "    └" + "─" * 35
    assert {(0, 23), (69, 0)} <= dots(lines)
    assert {x for x, _ in dots(lines)} == set(range(70)), "without a hole"
    assert max(len(line) for line in lines) == 40


def test_dates_stand_below_their_ends() -> None:
    lines = printed(series([1, 2, 3], [0, 24 * 30, 24 * 60]), width=60)
    assert lines[-1] == "   2026-11-01             2026-12-01              2026-12-31"
    hours = printed(series([1, 2], [0, 5]), width=60)[-1]
    assert hours.split() == ["11-01", "00:00", "11-01", "02:30", "11-01", "05:00"]
    narrow = printed(series([1, 2], [0, 24 * 30]), width=10)[-1]
    assert narrow.split() == ["2026-11-01", "2026-12-01"]


def columns(values: Values, hours: list[float] | None = None) -> set[int]:
    return {x for x, _ in dots(printed(series(values, hours), width=54))}  # 100 dots wide beside "x │"


def test_a_run_without_the_figure_is_a_gap() -> None:
    there = columns([1, 2, 3, None, 5, 6])
    assert there >= set(range(40))
    assert not there & set(range(45, 80)), "from the third to the fifth"
    assert columns([None, None, 1, 2]) == set(range(67, 102)), "the axis begins with the first run"


def test_runs_that_are_missing_are_a_gap() -> None:
    assert not columns([1, 2, 3, 4, 5], [0, 1, 2, 9, 10]) & set(range(30, 85))
    thinned = [0, 7, 14, 21, 22, 23, 24, 24.5, 25, 25.5]
    assert columns([*range(10)], thinned) == columns([0, 1], [0, 1]), "thinned is not missing"


def test_single_values_between_gaps_are_dots() -> None:
    assert len(columns([1, None, 2, None, 3])) == 3


def test_nothing_that_never_changed_is_drawn() -> None:
    for values in ([], [None, None], [4], [4, 4, None, 4], [float("nan"), 1.0]):
        assert printed(series(values)) == []


def test_memory_is_labelled_in_units() -> None:
    lines = printed(series([1 << 20, 3 << 30], name="free_bytes"))
    assert lines[2].startswith("3.0 GiB │")
    assert lines[1 + ROWS].startswith("1.0 MiB │")


def test_without_braille() -> None:
    lines = printed(series([0, 5, None, 2]), encoding="ascii")
    assert set("".join(lines[2:-2])) <= set("*| 05")
    assert lines[-2] == "  +" + "-" * 37
    assert ASCII.character(0) == " "


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[36m" in "".join(printed(series([0, 1]), color=True))
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[36m" not in "".join(printed(series([0, 1]), color=True))


@given(
    st.lists(st.none() | st.integers(-(10**9), 10**9) | st.floats(-1e9, 1e9), min_size=2, max_size=40),
    st.lists(st.floats(0, 1e5), min_size=40, max_size=40),
    st.integers(1, 200),
)
def test_every_value_has_its_dot(values: list[int | float | None], hours: list[float], width: int) -> None:
    each = series(values, sorted(hours)[: len(values)])
    lines = printed(each, width=width)
    known = [value for value in values if value is not None]
    if not lines:
        assert not known or min(known) == max(known)
        return
    there = dots(lines)
    chart_columns = len(lines[-2].partition("└")[2])
    assert chart_columns >= plot.NARROWEST
    scale = (4 * ROWS - 1) / (max(known) - min(known))
    rows = {4 * ROWS - 1 - round((value - min(known)) * scale) for value in known}
    assert rows <= {y for _, y in there}
    assert {y for _, y in there} >= {0, 4 * ROWS - 1}
    assert all(x < 2 * chart_columns for x, _ in there)

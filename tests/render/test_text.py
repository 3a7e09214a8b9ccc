"""vmprobe.render.text: nothing cut, nothing obeyed by a terminal, absent apart from zero."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from vmprobe.analyses.parts import Column, Fact, Facts, Grid, Kind, Note, Parts
from vmprobe.render.text import cell, print_parts
from vmprobe.units import plain


def printed(*parts: Grid | Facts | Note, width: int = 80) -> str:
    stream = io.StringIO()
    print_parts(Parts(parts), Console(file=stream, width=width))
    return stream.getvalue()


@given(st.lists(st.integers(-(2**70), 2**70), min_size=1, max_size=12), st.integers(1, 100))
def test_no_figure_is_ever_cut(values: list[int], width: int) -> None:
    columns = tuple(Column(f"c{i}", Kind.COUNT) for i in range(len(values)))
    lines = printed(Grid("", columns, (tuple(values),)), width=width).splitlines()
    assert len(lines) == 2
    assert lines[0].split() == [column.label for column in columns]
    assert lines[1].split() == [f"{value:,}" for value in values]


def test_words_are_folded_and_stay_whole() -> None:
    words = " ".join(f"word{i}" for i in range(40))
    grid = Grid("", (Column("n", Kind.COUNT), Column("text", Kind.TEXT)), ((123456, words),))
    lines = printed(grid).splitlines()
    assert max(map(len, lines)) <= 80
    assert " ".join("\n".join(lines[1:]).split()) == f"123,456 {words}"


@given(
    st.lists(st.lists(st.text("ab ", max_size=40), min_size=3, max_size=3), min_size=1, max_size=4),
    st.integers(20, 90),
)
def test_words_of_several_columns_stay_whole_and_none_is_lost(rows: list[list[str]], width: int) -> None:
    heads = ("a head of many words", "b", "c")
    columns = [Column(head, Kind.TEXT) for head in heads]
    grid = Grid("", (*columns, Column("n", Kind.COUNT)), tuple((*row, 123456) for row in rows))
    lines = printed(grid, width=width).splitlines()
    words = sorted(" ".join(text for row in rows for text in row).split())
    assert sorted(" ".join(lines[1:]).replace("123,456", "").split()) == words
    texts = [" ".join(row[i] for row in rows).split() for i in range(3)]
    least = [max([12, len(heads[i]), *map(len, texts[i])]) for i in range(3)]
    assert max(map(len, lines)) <= max(width, sum(least) + len("123,456") + 3 * 2)


def test_a_word_longer_than_the_line_is_folded_and_not_cut() -> None:
    long = "x" * 300
    out = printed(Grid("", (Column("a", Kind.TEXT),), ((long,),)))
    assert out.replace("\n", "").removeprefix("a") == long


@given(st.text())
def test_a_terminal_obeys_nothing(text: str) -> None:
    shown = plain(text)
    assert shown.isprintable()
    out = printed(
        Grid("t", (Column("a", Kind.TEXT),), ((text,),)), Facts("", (Fact("b", text),)), Note("", (text,))
    )
    assert all(c.isprintable() or c == "\n" for c in out)
    out.encode("utf-8")


def test_square_brackets_are_text_and_not_style() -> None:
    assert "[red]x[/red] [/]" in printed(Facts("", (Fact("name", "[red]x[/red] [/]"),)))


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (0, Kind.COUNT, "0"),
        (None, Kind.COUNT, "-"),
        (None, Kind.BYTES, "-"),
        (1536, Kind.BYTES, "1.5 KiB"),
        (50.0, Kind.PERCENT, "50.0 %"),
        (0.25, Kind.SECONDS, "250 ms"),
        (1 << 20, Kind.RATE, "1.0 MiB/s"),
        ((1, 2), Kind.CHANGE, "1 -> 2"),
        ((1000, 1000), Kind.CHANGE, "1,000"),
        ((None, None), Kind.CHANGE, "-"),
        (1000, Kind.TEXT, "1000"),
    ],
)
def test_each_kind(value: object, kind: Kind, expected: str) -> None:
    assert cell(value, kind) == expected


def test_every_kind_has_a_form() -> None:
    for kind in Kind:
        assert cell((1, 2) if kind is Kind.CHANGE else 1, kind)


def test_figures_align_right_and_names_left() -> None:
    grid = Grid("", (Column("name", Kind.TEXT), Column("n", Kind.COUNT)), (("a", 5), ("bbbbbb", 1000)))
    assert printed(grid) == "name        n\na           5\nbbbbbb  1,000\n"


def test_a_command_is_one_line_however_long() -> None:
    command = "sudo " + "option " * 30
    assert printed(Note("", (command.strip(),), verbatim=True)) == command.strip() + "\n"


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setenv("NO_COLOR", "1")
    grid = Grid("title", (Column("a", Kind.TEXT),), (("x",),))
    print_parts(Parts((grid,)), Console(file=stream, force_terminal=True, width=80))
    assert "\x1b[3" not in stream.getvalue()


def test_an_empty_grid_keeps_its_heads() -> None:
    assert printed(Grid("", (Column("a", Kind.TEXT), Column("b", Kind.COUNT)), ())) == "a  b\n"

"""Answers to standard output: as text through rich, or as one JSON document."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, TextIO

from vmprobe.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from vmprobe.analyses.parts import Parts

PIPE_COLUMNS: Final = 80
"""Width of text that no terminal shows."""


def stdout() -> TextIO:
    """Return standard output.

    Raises
    ------
    OutputError
        The caller closed it.
    """
    if sys.stdout is None:
        raise OutputError("standard output is closed")
    return sys.stdout


def console() -> Console:
    """Return rich's view of standard output; it honours ``NO_COLOR`` and is `PIPE_COLUMNS` wide on a pipe."""
    from rich.console import Console

    stream = stdout()
    # Left alone, rich takes the width of a terminal that standard input happens to be.
    width = None if stream.isatty() else PIPE_COLUMNS
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def write_answer(answer: Any, layout: Callable[[Any], Parts], *, as_json: bool) -> None:
    """Write an answer as one JSON document, or laid out for reading."""
    if as_json:
        write_json(answer)
    else:
        write_text(layout(answer))


def write_json(answer: Any) -> None:
    """Write one JSON document."""
    from vmprobe.render.jsontext import dumps

    stdout().write(dumps(answer) + "\n")


def write_text(parts: Parts) -> None:
    """Write an answer for reading."""
    from vmprobe.render.text import print_parts

    view = console()
    # rich would end the program by itself when the reader goes away.
    with view.capture() as captured:
        print_parts(parts, view)
    stdout().write(captured.get())

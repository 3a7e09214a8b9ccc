"""What a page tells its reader to type, and what it says comes of it.

A block that has a line ``$ COMMAND`` is a session: what follows a command, up to the next, is its output.
Lines of other blocks that begin with the name of a program are commands whose output is not shown.

In an output ``...`` on a line of its own stands for any number of lines, and at the end of a line for the
rest of it. After the comment ``<!-- figures differ -->`` right above a block its numbers, dates and units may
be others.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROGRAMS: Final = (
    "vmprobe",
    "make",
    "python",
    "python3",
    "tar",
    "man",
    "promtool",
    "cron",
    "systemctl",
    "sudo",
)
LANGUAGES: Final = ("", "console", "sh", "text")
FIGURES_DIFFER: Final = "<!-- figures differ -->"

_FENCE: Final = re.compile(
    r"(?P<before>[^\n]*)\n```(?P<language>[^\n`]*)\n(?P<body>.*?)\n?```(?=\n|$)", re.DOTALL
)
_FIGURE: Final = re.compile(
    r"[-+<>]?\d[\d,.:]*([-T]\d[\d:.+-]*)*\+?( ?(%|[KMGT]iB|B|m?s|us|min)(?![A-Za-z]))?", re.ASCII
)


@dataclass(frozen=True)
class Command:
    """One command of a page.

    Parameters
    ----------
    place
        Page and line.
    text
        What is typed, without the ``$``.
    output
        What is shown, None where nothing is.
    figures_differ
        Whether the numbers in it are of another host.
    """

    place: str
    text: str
    output: tuple[str, ...] | None
    figures_differ: bool


def commands(page: Path) -> tuple[Command, ...]:
    """Return every command of a page, in its order."""
    text = "\n" + page.read_text()
    found: list[Command] = []
    for block in _FENCE.finditer(text):
        if block["language"].strip() not in LANGUAGES:
            continue
        first = text.count("\n", 0, block.start("body")) - 1
        lines = block["body"].split("\n")
        differ = block["before"].strip() == FIGURES_DIFFER
        if any(line.startswith("$ ") for line in lines):
            found += _session(lines, page.name, first, differ)
        else:
            found += _list(lines, page.name, first)
    return tuple(found)


def _session(lines: list[str], page: str, first: int, differ: bool) -> Iterator[Command]:
    starts = [n for n, line in enumerate(lines) if line.startswith("$ ")]
    assert starts[0] == 0, f"{page}, line {first + 1}: stands before the first command"
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        typed, after = _whole(lines, start)
        output = "\n".join(lines[after:end]).rstrip("\n")
        yield Command(
            f"{page}:{first + start + 1}",
            typed.removeprefix("$ "),
            tuple(output.split("\n")) if output else (),
            differ,
        )


def _list(lines: list[str], page: str, first: int) -> Iterator[Command]:
    number = 0
    while number < len(lines):
        if lines[number].split(maxsplit=1)[:1] and lines[number].split(maxsplit=1)[0] in PROGRAMS:
            typed, after = _whole(lines, number)
            yield Command(f"{page}:{first + number + 1}", typed.strip(), None, False)
            number = after
        else:
            number += 1


def _whole(lines: list[str], start: int) -> tuple[str, int]:
    """Return the command that begins at a line, with the lines that an open quote or a backslash adds."""
    for end in range(start + 1, len(lines) + 1):
        typed = "\n".join(lines[start:end])
        try:
            shlex.split(typed, comments=True)
        except ValueError:
            continue
        if not typed.endswith("\\"):
            return typed, end
    raise AssertionError(f"a quote is open in {lines[start]!r}")


def agrees(command: Command, printed: str) -> bool:
    """Whether a command printed what its page shows.

    >>> shown = Command("a:1", "vmprobe", ("one", "...", "4 KiB", "4"), False)
    >>> agrees(shown, "one\\ntwo\\nthree\\n4 KiB\\n4\\n"), agrees(shown, "one\\n5 KiB\\n4\\n")
    (True, False)
    >>> other_host = Command("a:1", "vmprobe", ("one", "...", "4 KiB", "4"), True)
    >>> agrees(other_host, "one\\n5.1 MiB\\n<1 %\\n"), agrees(other_host, "one\\n5 KiB\\nfour\\n")
    (True, False)
    """
    assert command.output is not None
    found = _lines(printed.rstrip("\n").split("\n") if printed.strip("\n") else [], command.figures_differ)
    wanted = _lines(command.output, command.figures_differ)
    pattern = "".join(map(_pattern, wanted))
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in found)) is not None


def _pattern(line: str) -> str:
    if line == "...":
        return r"(?:.*\n)*?"
    begin, dots, _ = line.rpartition(" ...")
    return (re.escape(begin) + r" .*\n") if dots and line.endswith(dots) else re.escape(line) + r"\n"


def _lines(lines: tuple[str, ...] | list[str], differ: bool) -> list[str]:
    if not differ:
        return [line.rstrip() for line in lines]
    return [" ".join(_FIGURE.sub("N", line).split()) for line in lines]

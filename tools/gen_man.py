"""Man pages from the help of each verb: one for the program and one a verb, in man(7).

They are committed, and installed as data files: whoever packages vmprobe needs neither click nor a build step
to have them. click-man, which makes such pages, sees no verbs in a group that imports them when asked.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Final

import click

import vmprobe
from vmprobe.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

DATE: Final = "2026-11-26"
"""Of the version that the pages describe; it changes with the version."""

ENVIRONMENT: Final = {
    "NO_COLOR": "Set to anything: no colour on a terminal.",
    "COLUMNS": "Width of text, where the output is no terminal.",
    "XDG_STATE_HOME": "Below it, or below ~/.local/state: vmprobe/forecasts.jsonl, where errors of verified"
    " forecasts are kept.",
    main.COMPLETE: "bash_source, zsh_source or fish_source: print what makes that shell complete verbs,"
    " options and snapshots.",
}
FILES: Final = {
    "NAME.vmsnap": "A snapshot: a folder of Parquet tables and a manifest.json.",
    "/var/lib/vmprobe": "What a scheduled report keeps: its history and its lock.",
    "/etc/cron.d/vmprobe-report": "The place for what vmprobe report --print-cron prints.",
}


def pages(folder: Path) -> dict[Path, str]:
    """Return the text of each man page by its place below `folder`."""
    group = click.Context(main.cli, info_name=main.PROGRAM, **main.cli.context_settings)
    found = {folder / f"{main.PROGRAM}.1": _program_page(group)}
    for verb in main.VERBS:
        command = main.cli.get_command(group, verb)
        assert command is not None
        found[folder / f"{main.PROGRAM}-{verb}.1"] = _verb_page(command, verb, group)
    return found


def _program_page(group: click.Context) -> str:
    commands = {verb: main.cli.get_command(group, verb) for verb in main.VERBS}
    name = main.PROGRAM
    return _joined(
        _head(name, "photograph the memory of a Linux host, then ask the photograph"),
        [".SH SYNOPSIS", rf"\fB{name}\fR \fIVERB\fR [\fISNAPSHOT\fR] [\fIOPTION\fR ...]"],
        [".SH DESCRIPTION", *_paragraphs(main.cli.help or "")],
        [".SH VERBS"],
        *(_entry(rf"\fB{name} {_text(verb)}\fR", _short(command)) for verb, command in commands.items()),
        [".SH OPTIONS", *_options(main.cli, group)],
        [".SH EXIT STATUS"],
        *(_entry(rf"\fB{status}\fR", meaning) for status, meaning in _statuses()),
        [".SH ENVIRONMENT"],
        *(_entry(rf"\fB{_text(key)}\fR", about) for key, about in ENVIRONMENT.items()),
        [".SH FILES"],
        *(_entry(rf"\fI{_text(key)}\fR", about) for key, about in FILES.items()),
        _see_also([*(f"{name}-{verb}" for verb in main.VERBS)], ["proc", "cron", "systemd.timer"]),
    )


def _verb_page(command: click.Command, verb: str, group: click.Context) -> str:
    context = click.Context(command, info_name=verb, parent=group)
    usage = " ".join(_usage(piece) for piece in command.collect_usage_pieces(context))
    return _joined(
        _head(f"{main.PROGRAM}-{verb}", _short(command)),
        [".SH SYNOPSIS", rf"\fB{main.PROGRAM} {_text(verb)}\fR {usage}"],
        [".SH DESCRIPTION", *_paragraphs(command.help or "")],
        [".SH OPTIONS", *_options(command, context)],
        [".SH EXIT STATUS", "As of", rf".BR {main.PROGRAM} (1)."],
        _see_also([main.PROGRAM], ["proc"]),
    )


def _head(name: str, about: str) -> list[str]:
    title = f'.TH {_text(name.upper())} 1 {DATE} "{main.PROGRAM} {vmprobe.__version__}" "User Commands"'
    return [title, ".SH NAME", rf"{_text(name)} \- {_text(about.rstrip('.'))}"]


def _short(command: click.Command | None) -> str:
    assert command is not None
    return command.get_short_help_str(limit=200)


def _usage(piece: str) -> str:
    """Return a piece of a usage line: names of arguments and of options are placeholders."""
    return re.sub(r"[A-Z]+", lambda name: rf"\fI{name[0]}\fR", _text(piece.replace("OPTIONS", "OPTION ...")))


def _paragraphs(text: str) -> Iterator[str]:
    r"""Give the lines of a help text; a paragraph that click leaves as it is (``\b``) stays so."""
    for number, paragraph in enumerate(inspect.cleandoc(text).split("\n\n")):
        if number:
            yield ".PP"
        if paragraph.startswith("\b\n"):
            yield ".nf"
            yield from map(_line, paragraph.splitlines()[1:])
            yield ".fi"
        else:
            yield _line(" ".join(paragraph.split()))


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and isinstance(parameter, click.Option):
            yield from _entry(_names(record[0]), record[1])


def _names(text: str) -> str:
    r"""Return the names of an option in bold and what it takes in italics.

    >>> print(_names("-o, --output PATH"))
    \fB\-o\fR, \fB\-\-output\fR \fIPATH\fR
    """
    parts = re.split(r"(--?[a-z][a-z-]*)", text)
    made = [rf"\fB{_text(part)}\fR" if n % 2 else _text(part) for n, part in enumerate(parts)]
    return re.sub(r"( )(\[[^ ]*\]|[A-Z]+)$", r"\1\\fI\2\\fR", "".join(made))


def _statuses() -> list[tuple[str, str]]:
    """Return exit statuses and their meaning, from the table in the docstring of `vmprobe.cli.main`."""
    return re.findall(r"^(\d+) +(.+)$", main.__doc__ or "", flags=re.MULTILINE)


def _entry(term: str, text: str) -> list[str]:
    return [".TP", term, _line(" ".join(text.split()))]


def _see_also(own: Iterable[str], others: Iterable[str]) -> list[str]:
    sections = {"proc": 5, "cron": 8, "systemd.timer": 5}
    named = [(name, 1) for name in own] + [(name, sections[name]) for name in others]
    lines = [f".BR {_text(name)} ({section})" for name, section in named]
    return [".SH SEE ALSO", *(f"{line}," for line in lines[:-1]), lines[-1]]


def _line(text: str) -> str:
    """Return a line of text, in which what stands between back-ticks is bold."""
    return re.sub(r"`([^`]+)`", r"\\fB\1\\fR", _text(text))


def _text(text: str) -> str:
    r"""Return text that says the same to a formatter; a line must not begin with a request.

    >>> print(_text(".a --b 'c' ~ \\x"))
    \&.a \-\-b \(aqc\(aq \(ti \ex
    """
    table = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "~": r"\(ti", "^": r"\(ha", '"': r"\(dq"}
    escaped = "".join(table.get(character, character) for character in text)
    return rf"\&{escaped}" if escaped.startswith(".") else escaped


def _joined(*parts: Iterable[str]) -> str:
    return "\n".join(line for part in parts for line in part) + "\n"

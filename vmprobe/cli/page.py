"""``vmprobe page``: what one page is, who maps it, and whether it can be moved."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

import click

from vmprobe.cli.complete import snapshots
from vmprobe.cli.options import debug_option, json_option, open_or_take, root_options
from vmprobe.errors import UsageError

_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]+")
_PID: Final = re.compile(r"[0-9]{1,10}")
_ADDRESS: Final = re.compile(r"(?:0[xX])?[0-9a-fA-F]+")
_NAME_ONE: Final = "name a frame (PFN, decimal or 0x...) or an address (--at PID:ADDRESS)"
_LARGEST: Final = 1 << 52
"""No frame has a number as large."""
_MOST_DIGITS: Final = 30


@click.command(short_help="Say what a page is, who maps it, and whether it can move.")
@click.argument(
    "words", metavar="[SNAPSHOT] [PFN]", nargs=-1, type=click.Path(readable=False), shell_complete=snapshots
)
@click.option(
    "--at",
    "place",
    metavar="PID:ADDRESS",
    help="The page behind an address (hexadecimal, any byte in the page) of a process, in place of PFN.",
)
@json_option
@root_options
@debug_option
def page(
    words: tuple[str, ...], place: str | None, procfs: str | None, sysfs: str | None, *, as_json: bool
) -> None:
    """Say what page frame PFN is, who maps it, and whether it can be moved.

    Its use and flags, folio, zone and pageblock, map count and cgroup, and each process that maps it with
    the address. PFN is decimal or 0x...; a number that names a file or folder is taken for SNAPSHOT.

    With --at, an address that no page stands behind (swapped out, a guard, never touched) is answered too.

    Without SNAPSHOT one is taken now, in memory.
    """
    from vmprobe.analyses.page import page as ask
    from vmprobe.analyses.page_layout import layout
    from vmprobe.cli.output import write_json, write_text

    path, pfn = _understand(words, place)
    at = None if place is None else _at(place)
    answer = ask(open_or_take(path, procfs=procfs, sysfs=sysfs), pfn, at=at)
    if as_json:
        write_json(answer.document())
    else:
        write_text(layout(answer))


def _understand(words: tuple[str, ...], place: str | None) -> tuple[Path | None, int | None]:
    """Return snapshot and frame out of the words of the command line."""
    if len(words) > 2:
        raise UsageError(f"{len(words)} words, and there are at most two: SNAPSHOT and PFN", hint=_NAME_ONE)
    if len(words) == 2:
        if place is not None:
            raise UsageError(
                f"both frame {words[1]} and --at {place} are given", hint="leave out one of them"
            )
        return Path(words[0]), _pfn(words[1])
    if not words:
        if place is None:
            raise UsageError("no page is named", hint=_NAME_ONE)
        return None, None
    (word,) = words
    if _NUMBER.fullmatch(word) and not os.path.lexists(word):
        if place is not None:
            raise UsageError(f"both frame {word} and --at {place} are given", hint="leave out one of them")
        return None, _pfn(word)
    if place is None:
        # A frame's number that is also the name of a file would surprise without this word.
        why = "a file or folder here, and so " if _NUMBER.fullmatch(word) else ""
        raise UsageError(f"no page is named: {word} is {why}taken for SNAPSHOT", hint=_NAME_ONE)
    return Path(word), None


def _pfn(word: str) -> int:
    if not _NUMBER.fullmatch(word):
        raise UsageError(f"{word}: PFN is a number, decimal or 0x...", hint="SNAPSHOT comes first, then PFN")
    # int() itself refuses decimals of some thousand digits.
    number = int(word, 16) if word[:2] in {"0x", "0X"} else int(word[:_MOST_DIGITS])
    if number >= _LARGEST:
        raise UsageError(
            f"{word} is too large for the number of a page frame",
            hint="an address is given as --at PID:ADDRESS",
        )
    return number


def _at(place: str) -> tuple[int, int]:
    pid, colon, address = place.partition(":")
    if not colon or not _PID.fullmatch(pid) or not _ADDRESS.fullmatch(address):
        hint = "PID is decimal, ADDRESS is hexadecimal as in /proc/PID/maps: --at 4711:7f12a0000000"
        raise UsageError(f"--at {place}: not PID:ADDRESS", hint=hint)
    number = int(address, 16)
    if number >> 64:
        raise UsageError(f"--at {place}: the address has more than 64 bits", hint="ADDRESS is hexadecimal")
    return int(pid), number

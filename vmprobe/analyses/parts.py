"""An answer laid out for reading: typed grids, facts and notes.

An analysis returns a dataclass; its layout function turns that into `Parts`. A renderer walks `Parts`
and never knows the question. JSON is made from the dataclass itself, so that the two cannot differ in a
number except by rounding, which only text does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class Kind(Enum):
    """What a value is; None is always shown as absent."""

    TEXT = "text"
    """A string, or an integer that is a name (pid, node, order)."""
    COUNT = "count"
    """An exact integer: pages, frames, entries, times."""
    BYTES = "bytes"
    """An integer number of bytes."""
    PERCENT = "percent"
    """A share from 0 to 100."""
    SECONDS = "seconds"
    """A duration."""
    RATE = "rate"
    """Bytes in a second."""
    CHANGE = "change"
    """A pair of exact integers: before and after; after may be None."""


class Column(NamedTuple):
    """One column of a grid."""

    label: str
    kind: Kind


class Fact(NamedTuple):
    """One labelled value."""

    label: str
    value: Any
    kind: Kind = Kind.TEXT


@dataclass(frozen=True)
class Grid:
    """Rows of values under typed columns."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Facts:
    """Labelled values, one a line."""

    title: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Note:
    """Sentences; `title` may be empty. Lines that are `verbatim`, such as commands, are never folded."""

    title: str
    lines: tuple[str, ...]
    verbatim: bool = False


@dataclass(frozen=True)
class Parts:
    """The parts of an answer in reading order."""

    parts: tuple[Grid | Facts | Note, ...]


def grid(title: str, rows: Iterable[Any], *columns: tuple[str, str, Kind]) -> Grid:
    """Make a grid from objects.

    Parameters
    ----------
    title
        Shown above it.
    rows
        Objects that have the columns' attributes.
    columns
        Attribute, label, kind.
    """
    return Grid(
        title,
        tuple(Column(label, kind) for _, label, kind in columns),
        tuple(tuple(getattr(row, name) for name, _, _ in columns) for row in rows),
    )

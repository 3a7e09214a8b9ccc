"""The text of a limit for a figure of a report: ``free_blocks[zone=Normal, order>=9] < 64``.

::

    threshold   NAME [ "[" SELECTOR ("," SELECTOR)* "]" ] [ COMPARISON NUMBER ]
    NAME        a metric of `vmprobe.metrics`, or a size such as obtainable_2m
    SELECTOR    LABEL RELATION VALUE; a number alone is an order, a word alone of the only label of words
    RELATION    "=" "!=", and for node and order also "<" "<=" ">" ">="
    COMPARISON  "<" "<=" ">" ">=" "==" "!="
    NUMBER      with K, M, G, T (powers of 1024) of a figure in bytes; with %, a share of all pageblocks, of
                one that counts pageblocks
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from vmprobe.analyses.samples import WHEN
from vmprobe.analyses.threshold import (
    COMPARISONS,
    ONLY_NOW,
    SIZES,
    Selector,
    Threshold,
    in_bytes,
    metric_of,
    plain,
)
from vmprobe.errors import UsageError
from vmprobe.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmprobe.analyses.report_answer import Level

DEFAULTS: Final[dict[str, tuple[str, int, bool]]] = {
    "free_blocks": ("<", 1, False),
    "obtainable": ("<", 1, False),
    "unusable_permille": (">", 900, False),
    # mm/compaction.c, sysctl_extfrag_threshold: beyond it a failing request compacts rather than reclaims.
    "fragmentation_permille": (">", 500, False),
    # mm/compaction.c, fragmentation_score_wmark: where kcompactd starts if nobody set its proactiveness.
    "score_percent": (">", 90, False),
    "unmovable_pageblocks": (">", 50, True),
    "unexplained": (">", 0, False),
}
"""What a name alone is held against: comparison, limit, whether that is a share of all pageblocks."""

NUMBERED: Final = ("node", "order")
"""Labels whose values are numbers; those of the others are words."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LABEL: Final = re.compile(r"([A-Za-z_]+)\s*(!=|==|<=|>=|=|<|>)")
_VALUE: Final = re.compile(r"[^\s,\[\]<>=!](?:[^,\[\]<>=!]*[^\s,\[\]<>=!])?")
_COMPARISON: Final = re.compile(r"<=|>=|==|!=|<|>")
# Not more digits than a figure can have: what is read is printed again.
_NUMBER: Final = re.compile(r"(-?[0-9]{1,18}(?:\.[0-9]{1,6})?)\s*([KMGT%]?)")
_POWERS: Final = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


class _Reader:
    """A text and the place up to which it was understood."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Go behind the pattern, if it comes next, and behind the space before it."""
        self.ended()
        match = pattern.match(self.text, self.at)
        if match:
            self.at = match.end()
        return match

    def sign(self, sign: str) -> bool:
        """Go behind a sign, if it comes next."""
        return self.take(re.compile(re.escape(sign))) is not None

    def ended(self) -> bool:
        """Go behind space; return whether there is nothing more."""
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
        return self.at == len(self.text)

    def wrong(self, what: str, hint: str | None = None, *, at: int | None = None) -> UsageError:
        """Return the error that names the place."""
        place = (self.at if at is None else at) + 1
        return UsageError(f"threshold {self.text!r}, character {place}: {what}", hint=hint)


def parse(text: str, level: Level) -> Threshold:
    """Return the threshold that a text describes.

    Parameters
    ----------
    text
        See the grammar at the top of this file.
    level
        What crossing it means.

    Raises
    ------
    UsageError
        It describes none; the place is named, and what may stand there.
    """
    reader = _Reader(text)
    name = _name(reader)
    selectors = _selectors(reader, name)
    comparison, limit, percent = _limit(reader, name)
    if not reader.ended():
        raise reader.wrong("nothing may follow here", "a threshold ends with its number; give one an option")
    return Threshold(name, selectors, comparison, limit, percent, level, text)


def _name(reader: _Reader) -> str:
    match = reader.take(_NAME)
    if match is None:
        raise reader.wrong("a figure's name must stand here", f"one of {_listed([*METRICS, *SIZES])}")
    name = match[0]
    if name not in METRICS and name not in SIZES:
        raise reader.wrong(
            f"no figure is called {name}", _nearest(name, [*METRICS, *SIZES]), at=match.start()
        )
    return name


def _nearest(word: str, words: Iterable[str]) -> str:
    known = list(words)
    near = get_close_matches(word, known, 1)
    return f"did you mean {near[0]}?" if near else f"one of {_listed(known)}"


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)


def _selectors(reader: _Reader, name: str) -> tuple[Selector, ...]:
    found = []
    if reader.sign("["):
        found.append(_selector(reader, name))
        while reader.sign(","):
            found.append(_selector(reader, name))
        if not reader.sign("]"):
            raise reader.wrong(
                "a comma or ] must stand here", "for example free_blocks[zone=Normal, order>=9]"
            )
    if metric_of(name).name == "obtainable" and not any(selector.label == "when" for selector in found):
        found.append(ONLY_NOW)
    return tuple(found)


def _selector(reader: _Reader, name: str) -> Selector:
    labels = _labels(name)
    match = reader.take(_LABEL)
    start = reader.at if match is None else match.start()
    value = reader.take(_VALUE)
    if value is None:
        raise reader.wrong("a value must stand here", "for example order>=9" if "order" in labels else None)
    if match is None:
        label, relation = _label_of(reader, value, name), "="
    else:
        label, relation = match[1], "=" if match[2] == "==" else match[2]
    if label not in labels:
        raise reader.wrong(f"{name} has no label {label}", _labels_hint(name), at=start)
    return _checked(reader, Selector(label, relation, value[0]), value.start())


def _labels(name: str) -> tuple[str, ...]:
    """Return the labels by which samples of a figure can be chosen; the name of a size chooses the order."""
    return tuple(label for label in metric_of(name).labels if name not in SIZES or label != "order")


def _labels_hint(name: str) -> str:
    labels = _labels(name)
    return f"it has {_listed(labels)}" if labels else f"it has no labels: write {name} without brackets"


def _label_of(reader: _Reader, value: re.Match[str], name: str) -> str:
    """Return the label that a value alone belongs to."""
    if value[0].isdecimal():
        return "order"
    words = [label for label in _labels(name) if label not in NUMBERED]
    if len(words) != 1:
        what = f"it is not clear which label of {name} is to be {value[0]}"
        raise reader.wrong(what, f"write LABEL=VALUE; {_labels_hint(name)}", at=value.start())
    return words[0]


def _checked(reader: _Reader, selector: Selector, at: int) -> Selector:
    label, relation, value = selector
    assert isinstance(value, str)
    if label in NUMBERED:
        if not re.fullmatch(r"[0-9]{1,9}", value):
            raise reader.wrong(f"{label} is a number, and {value} is none", f"for example {label}=9", at=at)
        return Selector(label, relation, int(value))
    if relation not in ("=", "!="):
        raise reader.wrong(f"{label} is a word, and words are not {relation}", "write = or !=", at=at)
    if label == "when" and value not in WHEN:
        raise reader.wrong(f"there is nothing obtainable {value}", f"one of {_listed(WHEN)}", at=at)
    return selector


def _limit(reader: _Reader, name: str) -> tuple[str, int | float, bool]:
    metric = metric_of(name)
    match = reader.take(_COMPARISON)
    if match is None:
        if not reader.ended():
            raise reader.wrong("a comparison must stand here", f"one of {_listed(COMPARISONS)}")
        if metric.name not in DEFAULTS:
            limit = "1G" if in_bytes(metric) else "1000"
            raise reader.wrong(f"{name} has no limit of its own", f"write one, for example {name} > {limit}")
        return DEFAULTS[metric.name]
    number = reader.take(_NUMBER)
    if number is None:
        raise reader.wrong("a number must stand here", f"for example {name} {match[0]} 64")
    suffix = number[2]
    if suffix in ("K", "M", "G", "T") and not in_bytes(metric):
        raise reader.wrong(f"{name} is not in bytes", f"leave out the {suffix}", at=number.start(2))
    if suffix == "%" and not metric.name.endswith("pageblocks"):
        raise reader.wrong(f"{name} does not count pageblocks", "leave out the %", at=number.start(2))
    percent = suffix == "%"
    return match[0], plain(Fraction(number[1]) * (1 if percent else 1 << _POWERS[suffix])), percent

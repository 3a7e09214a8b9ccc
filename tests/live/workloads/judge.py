"""What was expected against what was reported."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from lab.workloads.memory import PAGE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.live.workloads.report import Document

FIGURES: Final = ("frames", "processes", "bytes", "entries")
ACCOUNTS: Final = ("rss_bytes", "pss_bytes", "uss_bytes")
SAME, DIFFERS, SKIPPED, FAILED = "same", "differs", "skipped", "failed"
ABSENT: Final = "absent"

Figures = dict[str, int | None]


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Parameters
    ----------
    workload, mechanism
        Names.
    expected, reported, evidence, control
        As text.
    verdict
        ``same``, ``differs``, ``skipped`` or ``failed``.
    reason
        Of a verdict that is not ``same``.
    """

    workload: str
    mechanism: str
    expected: str = ""
    reported: str = ""
    evidence: str = ""
    control: str = ""
    verdict: str = SAME
    reason: str = ""


def figures(document: Document, mechanism: str) -> Figures | None:
    """Return the figures of a mechanism, all its kinds of evidence together; None if it is not reported.

    A number that one of them does not know is not known of all. Processes may take part in several.
    """
    found = [each for each in document["mechanisms"] if each["mechanism"] == mechanism]
    if not found:
        return None
    total: Figures = {}
    for name in FIGURES:
        known = [each.get(name) for each in found]
        whole = max if name == "processes" else sum
        total[name] = None if None in known else whole(known)  # type: ignore[arg-type]
    return total


def evidence(document: Document, mechanism: str) -> str:
    """Return how a mechanism is known, as ``proved`` or ``proved, likely``."""
    kinds = [each["evidence"] for each in document["mechanisms"] if each["mechanism"] == mechanism]
    return ", ".join(dict.fromkeys(kinds))


def agrees(expected: Mapping[str, Any], found: Mapping[str, int | None] | None, *, at_least: bool) -> bool:
    """Whether figures are as expected; a number that is not known agrees with none."""
    if found is None:
        return False
    for name in FIGURES:
        want, have = expected[name], found[name]
        if want is None:
            continue
        if have is None or (have < want if at_least or name in expected["least"] else have != want):
            return False
    return True


def text(values: Mapping[str, int | None] | None, least: Sequence[str] = (), sign: str = "") -> str:
    """Return figures as text, those that are not known left out.

    >>> text({"frames": 24, "processes": 2, "bytes": None}, least=["processes"])
    '24 frames, 2 or more processes'
    >>> text({"bytes": 4096}, sign="+"), text(None)
    ('+4096 bytes', 'absent')
    """
    if values is None:
        return ABSENT
    words = []
    for name in FIGURES:
        value = values.get(name)
        if value is not None:
            words.append(f"{sign}{value} {'or more ' if name in least else ''}{name}")
    return ", ".join(words) or "some"


def of_processes(row: Row, expected: Mapping[str, Any], asked: Sequence[Document], control: Document) -> Row:
    """Judge a mechanism by what is reported of each process that takes part, and of the control."""
    found = [figures(document, row.mechanism) for document in asked]
    wrong = next((each for each in found if not agrees(expected, each, at_least=False)), found[0])
    quiet = figures(control, row.mechanism)
    same = quiet is None and all(agrees(expected, each, at_least=False) for each in found)
    return _row(row, expected, text(wrong), evidence(asked[0], row.mechanism), text(quiet), same=same)


def of_host(row: Row, expected: Mapping[str, Any], before: Document, during: Document) -> Row:
    """Judge a mechanism by how far its figures for the whole host grew."""
    found, was = figures(during, row.mechanism), figures(before, row.mechanism)
    grown = found
    if found is not None and was is not None:
        pairs = ((name, found[name], was[name]) for name in FIGURES)
        grown = {name: None if a is None or b is None else a - b for name, a, b in pairs}
    same = agrees(expected, grown, at_least=True)
    return _row(
        row,
        {**expected, "least": FIGURES},
        text(grown, sign="+") if grown is not None else ABSENT,
        evidence(during, row.mechanism),
        f"before: {text(was)}",
        same=same,
    )


def of_frames(row: Row, expected: Mapping[str, Any], named: int, moved: int, kinds: str) -> Row:
    """Judge a mechanism by the frames that were made: each is named, but for a few that moved meanwhile."""
    same = named + moved == expected["frames"] and moved * 10 < expected["frames"]
    return _row(row, expected, f"{named} frames, {moved} unstable", kinds, "", same=same)


def of_accounts(
    row: Row,
    expected: Mapping[str, Any],
    asked: Mapping[int, Document],
    control: tuple[Any, Mapping[int, Document]],
) -> Row:
    """Judge processes that share nothing unusual: no mechanism, and Rss, Pss and Uss in pages."""
    wanted, found = _accounts(expected, asked)
    quiet_wanted, quiet = _accounts(*control)
    row = replace(row, mechanism="(none)", expected=wanted, reported=found, control=quiet)
    if (wanted, quiet_wanted) == (found, quiet):
        return row
    return replace(row, verdict=DIFFERS, reason=f"the control should have {quiet_wanted}")


def _accounts(expected: Mapping[str, Any], asked: Mapping[int, Document]) -> tuple[str, str]:
    """Return what is expected of processes, and what is reported, as text."""
    wanted, found = [], []
    for pid, document in asked.items():
        rss, pss, uss = expected["accounts"][str(pid)]
        wanted.append(f"rss {rss} pss {pss} uss {uss}")
        each = next((each for each in document["processes"] if each["pid"] == pid), None)
        if each is None:
            found.append(ABSENT)
            continue
        pages = [each[name] / PAGE for name in ACCOUNTS]
        names = [each["mechanism"] for each in document["mechanisms"]]
        found.append(" ".join(("rss {:g} pss {:g} uss {:g}".format(*pages), *names)))
    return "; ".join(dict.fromkeys(wanted)), "; ".join(dict.fromkeys(found))


def _row(row: Row, expected: Mapping[str, Any], found: str, kinds: str, control: str, *, same: bool) -> Row:
    """Return a row with its verdict."""
    told = text(expected, expected["least"])
    row = replace(row, expected=told, reported=found, evidence=kinds, control=control)
    return row if same else replace(row, verdict=DIFFERS, reason="the report is not what was made")


def table(rows: Sequence[Row]) -> str:
    """Return rows in columns, each with its verdict and the reason."""
    heads = ("mechanism", "workload", "expected", "reported", "evidence", "control", "")
    lines = [heads]
    for row in rows:
        told = f"{row.verdict}: {row.reason}" if row.reason else row.verdict
        named = row.mechanism or "(none)"
        lines.append((named, row.workload, row.expected, row.reported, row.evidence, row.control, told))
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    padded = (
        "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)) for line in lines
    )
    return "\n".join(line.rstrip() for line in padded)

"""The answer of ``vmprobe report`` laid out for reading."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Final

from vmprobe.analyses.compact_words import record_part
from vmprobe.analyses.frag_layout import CONTENTS, INDICES, blocker_parts, pageblock_parts, score_parts
from vmprobe.analyses.parts import Column, Fact, Facts, Grid, Kind, Note, Parts, grid
from vmprobe.analyses.sharing_layout import ledger_facts
from vmprobe.bridge.frag import debugfs_text
from vmprobe.units import seconds_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vmprobe.analyses.frag_answer import ZoneRow
    from vmprobe.analyses.report_answer import Change, Cost, Report, Since, TrendRow

    Part = Grid | Facts | Note

ZONES_ABREAST: Final = 3
"""With their indices they fill 80 columns."""

BYTES: Final = ", bytes"
"""What the words of a figure end with whose unit they must tell."""

COMMAND: Final = "$ "
"""What a line of advice begins with that is a command."""


def layout(answer: Report) -> Parts:
    """Return thresholds that are crossed, the verdict, then the evidence, what to do, and what it cost."""
    parts: list[Part] = [
        Note(
            "", tuple(f"{row.level}: {row.reason}" for row in answer.thresholds if row.crossed), verbatim=True
        ),
        Note("", (f"{answer.verdict.level.upper()}: {answer.verdict.sentence}",)),
        Facts("", tuple(_about(answer))),
        *_obtainable(answer),
        *_free_blocks(answer),
        *score_parts(answer.frag),
        *_pageblocks(answer),
        *blocker_parts(answer.frag),
    ]
    if answer.sharing is not None:
        parts.append(replace(ledger_facts(answer.sharing), title="Sharing"))
    if answer.events:
        facts = tuple(Fact(name, count, Kind.COUNT) for name, count in answer.events.items())
        parts.append(Facts("Since boot", facts))
    if answer.since is not None:
        parts += since_parts(answer.since)
    parts += trend_parts(answer)
    parts += _thresholds(answer)
    parts += _advice(answer.advice)
    parts.append(cost_facts(answer.cost))
    if answer.missing:
        parts.append(Note("Missing", tuple(f"{row.part}: {row.reason}" for row in answer.missing)))
    return Parts(tuple(parts))


def _about(answer: Report) -> Iterator[Fact]:
    yield Fact("taken", answer.time)
    yield Fact("kernel", answer.release)
    yield Fact("page frames", "scanned" if answer.frames else "not scanned")


def _obtainable(answer: Report) -> Iterator[Part]:
    forecast = any(row.mid is not None for row in answer.obtainable)
    columns = [("order", "order", Kind.TEXT), ("bytes", "block", Kind.BYTES), ("now", "now", Kind.COUNT)]
    if forecast:
        columns += [
            ("low", "compacted, least", Kind.COUNT),
            ("mid", "forecast", Kind.COUNT),
            ("high", "most", Kind.COUNT),
            ("after_eviction", "cache dropped", Kind.COUNT),
        ]
    yield grid("Blocks that can be had, never below the watermarks", answer.obtainable, *columns)
    if answer.record is not None:
        yield record_part(answer.record)


def _free_blocks(answer: Report) -> Iterator[Part]:
    """Return the free lists: a grid a node, a row an order, so many zones abreast as fit."""
    read = [zone for zone in answer.frag.zones if zone.free_blocks is not None]
    for node in dict.fromkeys(zone.node for zone in read):
        zones = [zone for zone in read if zone.node == node]
        for first in range(0, len(zones), ZONES_ABREAST):
            title = f"Free blocks of node {node}, unusable and fragmentation index"
            yield _free_lists(title, zones[first : first + ZONES_ABREAST])
    if read:
        yield Note("", (INDICES,))


def _free_lists(title: str, zones: list[ZoneRow]) -> Grid:
    columns = [Column("order", Kind.TEXT)]
    figures = []
    for zone in zones:
        columns += [Column(zone.zone, Kind.COUNT), Column("unus.", Kind.TEXT), Column("frag.", Kind.TEXT)]
        figures += [
            zone.free_blocks or (),
            tuple(map(debugfs_text, zone.unusable_permille or ())),
            tuple(map(debugfs_text, zone.fragmentation_permille or ())),
        ]
    rows = tuple((order, *row) for order, row in enumerate(zip(*figures, strict=True)))
    return Grid(title, tuple(columns), rows)


def _pageblocks(answer: Report) -> Iterator[Part]:
    """Return what pageblocks hold, but for those without memory, so that it fits 80 columns."""
    for part in pageblock_parts(answer.frag):
        assert isinstance(part, Grid)
        kept = [i for i, column in enumerate(part.columns) if column.label != CONTENTS["absent"]]
        columns = tuple(part.columns[i] for i in kept)
        yield Grid(part.title, columns, tuple(tuple(row[i] for i in kept) for row in part.rows))


def since_parts(since: Since) -> Iterator[Grid | Note]:
    """Return what changed since the last run."""
    boot = ", and the host was started anew" if since.rebooted else ""
    title = f"Since the last run, {seconds_text(since.seconds)} before{boot}"
    if not since.changes:
        yield Note(title, ("Nothing changed.",))
    yield from _by_unit(title, since.changes, ("before", "before"), ("after", "now"))


def trend_parts(answer: Report) -> Iterator[Grid]:
    """Return the figures of the history, this run and before."""
    names = {"now": "now", "day": "a day ago", "week": "a week ago", "lowest": "lowest", "highest": "highest"}
    yield from _by_unit("Trend", answer.trend, *names.items())


def _by_unit(title: str, rows: Sequence[Change | TrendRow], *columns: tuple[str, str]) -> Iterator[Grid]:
    """Return figures that are counts, then those in bytes, which are shorter in larger units."""
    what: tuple[str, str, Kind] = ("what", "figure", Kind.TEXT)
    for kind in (Kind.COUNT, Kind.BYTES):
        mine = [row for row in rows if row.what.endswith(BYTES) is (kind is Kind.BYTES)]
        if mine:
            yield grid(title, mine, what, *((name, label, kind) for name, label in columns))
            title = ""


def _thresholds(answer: Report) -> Iterator[Part]:
    if answer.thresholds:
        yield grid(
            "Thresholds",
            answer.thresholds,
            ("level", "level", Kind.TEXT),
            ("expression", "threshold", Kind.TEXT),
            ("reason", "reason", Kind.TEXT),
        )


def _advice(lines: tuple[str, ...]) -> Iterator[Part]:
    """Return sentences folded and commands whole."""
    title = "What to do next"
    if not lines:
        yield Note(title, ("Nothing has to be done.",))
    for command, together in groupby(lines, key=lambda line: line.startswith(COMMAND)):
        yield Note(title, tuple(together), verbatim=command)
        title = ""


def cost_facts(cost: Cost) -> Facts:
    """Return what the report took of the host."""
    facts = [
        Fact("reading /proc and /sys", cost.snapshot_seconds, Kind.SECONDS),
        Fact("bytes read there", cost.snapshot_bytes, Kind.BYTES),
    ]
    if cost.seconds is not None:
        facts += [
            Fact("whole report", cost.seconds, Kind.SECONDS),
            Fact("CPU time", cost.cpu_seconds, Kind.SECONDS),
            Fact("most memory", cost.max_rss_bytes, Kind.BYTES),
        ]
    return Facts("What this cost", tuple(facts))

"""Sums of ``vmprobe diff`` laid out for reading: what can be compared without frames of one boot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmprobe.analyses.parts import Column, Fact, Facts, Grid, Kind, Note
from vmprobe.bridge.frag import debugfs_text
from vmprobe.units import bytes_text, count_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmprobe.analyses.diff_answer import Diff, NameChange, Processes, SharingChange

    Part = Grid | Facts | Note


def sums(answer: Diff) -> Iterator[Part]:
    """Return free blocks, classes, processes, sharing and counters, as far as they changed."""
    yield from _free_blocks(answer)
    yield from _classes(answer)
    if answer.processes is not None:
        yield from _processes(answer.processes)
    if answer.names:
        yield _names(answer.names)
    if answer.sharing is not None:
        yield from _sharing(answer.sharing)
    yield from _events(answer)


def _free_blocks(answer: Diff) -> Iterator[Part]:
    rows = [
        row
        for row in answer.orders or ()
        if any(a != b for a, b in (row.free_blocks, row.unusable_permille, row.fragmentation_permille))
    ]
    if rows:
        columns = (
            Column("node", Kind.TEXT),
            Column("zone", Kind.TEXT),
            Column("order", Kind.TEXT),
            Column("free blocks", Kind.CHANGE),
            Column("unusable", Kind.TEXT),
            Column("fragmentation", Kind.TEXT),
        )
        cells = tuple(
            (
                row.node,
                row.zone,
                row.order,
                row.free_blocks,
                _index(row.unusable_permille),
                _index(row.fragmentation_permille),
            )
            for row in rows
        )
        yield Grid("Free blocks and indices that changed", columns, cells)


def _index(pair: tuple[int | None, int | None]) -> str:
    then, now = ("-" if each is None else debugfs_text(each) for each in pair)
    return then if then == now else f"{then} -> {now}"


def _classes(answer: Diff) -> Iterator[Part]:
    changed = [row for row in answer.classes or () if row.frames[0] != row.frames[1]]
    if changed:
        columns = (
            Column("class", Kind.TEXT),
            Column("frames", Kind.CHANGE),
            Column("change", Kind.COUNT),
            Column("unstable", Kind.CHANGE),
        )
        rows = tuple((row.name, row.frames, row.frames[1] - row.frames[0], row.unstable) for row in changed)
        yield Grid("Frames by class, where their number changed", columns, rows)


def _processes(found: Processes) -> Iterator[Part]:
    numbers = ((found.came, "came"), (found.went, "went"), (found.grew, "grew"), (found.shrank, "shrank"))
    said = [f"{count_text(nr)} {word}" for nr, word in numbers if nr is not None]
    title = f"Processes: {', '.join(said)}"
    if not found.rows:
        yield Note(title, ())
        return
    columns = (
        Column("", Kind.TEXT),
        Column("pid", Kind.TEXT),
        Column("name", Kind.TEXT),
        Column("RSS before", Kind.BYTES),
        Column("after", Kind.BYTES),
        Column("change", Kind.BYTES),
    )
    rows = tuple((row.change, row.pid, row.comm, *row.rss_bytes, row.change_bytes) for row in found.rows)
    yield Grid(title, columns, rows)
    if found.rows_left_out:
        yield Note("", (f"{count_text(found.rows_left_out)} more; --top shows more of them.",))


def _names(found: tuple[NameChange, ...]) -> Grid:
    columns = (
        Column("name", Kind.TEXT),
        Column("processes", Kind.CHANGE),
        Column("RSS before", Kind.BYTES),
        Column("after", Kind.BYTES),
    )
    rows = tuple((row.comm, row.processes, *row.rss_bytes) for row in found)
    return Grid("Processes by name", columns, rows)


def _sharing(found: SharingChange) -> Iterator[Part]:
    totals = (
        ("RSS of all", "rss_bytes", bytes_text),
        ("PSS of all", "pss_bytes", bytes_text),
        ("USS of all", "uss_bytes", bytes_text),
        ("swap of all", "swap_bytes", bytes_text),
        ("frames mapped", "frames_mapped", count_text),
        ("private", "private", count_text),
        ("shared anonymous", "shared_anonymous", count_text),
        ("shared memory", "shared_shmem", count_text),
        ("shared file", "shared_file", count_text),
        ("unexplained", "unexplained", count_text),
    )
    facts = []
    for label, name, text in totals:
        before, after = getattr(found.before, name), getattr(found.after, name)
        if before != after:
            facts.append(Fact(label, f"{text(before)} -> {text(after)}"))
    if facts:
        yield Facts("Sharing: totals that changed", tuple(facts))
    if found.mechanisms:
        yield Grid(
            "Sharing that the page count does not reveal: what changed",
            (
                Column("mechanism", Kind.TEXT),
                Column("evidence", Kind.TEXT),
                Column("bytes before", Kind.BYTES),
                Column("after", Kind.BYTES),
                Column("processes", Kind.CHANGE),
            ),
            tuple((row.mechanism, row.evidence, *row.bytes, row.processes) for row in found.mechanisms),
        )


def _events(answer: Diff) -> Iterator[Part]:
    rows = tuple(row for row in answer.events or () if row.count)
    if rows:
        columns = (Column("name", Kind.TEXT), Column("count", Kind.COUNT), Column("an hour", Kind.COUNT))
        cells = tuple((row.name, row.count, row.per_hour) for row in rows)
        yield Grid("Counters of vmstat that moved", columns, cells)
    elif answer.events:
        yield Note("Counters of vmstat", ("No compaction and no huge page fault between the two.",))

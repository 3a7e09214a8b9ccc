"""The answer of ``vmprobe rmap`` laid out for reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmprobe.analyses.parts import Column, Fact, Facts, Grid, Kind, Note, Parts, grid
from vmprobe.units import count_text, percent_text, share_percent

if TYPE_CHECKING:
    from vmprobe.analyses.rmap import MapRow, Rmap, Stale

MAP_NAMES: Final = {
    "single": "single, 1998",
    "chain": "chains, 2.5",
    "object": "objects, now",
}


def layout(answer: Rmap) -> Parts:
    """Return what each map serves in one sentence, then the figures, then what became stale."""
    facts = (
        Fact("mapped frames", answer.frames, Kind.COUNT),
        Fact("mappings of them", answer.entries, Kind.COUNT),
        *(Fact(f"frames: {kind}", nr, Kind.COUNT) for kind, nr in answer.frames_by_kind.items()),
        Fact("frames: of no object (vdso)", answer.frames_without_object, Kind.COUNT),
        Fact("frames: at two offsets", answer.frames_at_two_offsets, Kind.COUNT),
        Fact("families of address spaces (inferred)", answer.families, Kind.COUNT),
    )
    process = () if answer.pid is None else (Fact("process", f"{answer.pid} {answer.comm or '?'}"),)
    parts: list[Grid | Facts | Note] = [
        Note("", (_verdict(answer),)),
        Facts("What is mapped", (*process, *facts)),
        _maps(answer.maps),
    ]
    if answer.stale is not None:
        parts += _stale(answer.stale)
    if answer.notes:
        parts.append(Note("Left out", answer.notes))
    return Parts(tuple(parts))


def _verdict(answer: Rmap) -> str:
    if not answer.frames:
        return "No frame is mapped: there is nothing to compare."
    single, _, objects = answer.maps
    share = percent_text(share_percent(single.frames_served, answer.frames))
    today = percent_text(share_percent(objects.frames_served, answer.frames))
    whose = "the host maps" if answer.pid is None else f"process {answer.pid} maps"
    least, most = _number(objects.visits_per_lookup), _number(objects.visits_per_lookup_at_most)
    visits = least if least == most else f"{least} to {most}"
    first = (
        f"One entry a frame, as in 1998, serves {share} of the {count_text(answer.frames)} frames"
        f" that {whose}; today's objects serve {today} with {visits} visits a look-up."
    )
    stale = answer.stale
    if stale is None:
        return first
    if not stale.entries:
        return f"{first} None of {count_text(stale.recorded)} entries of the earlier snapshot became wrong."
    return (
        f"{first} {count_text(stale.entries)} of {count_text(stale.recorded)} entries of the earlier snapshot"
        f" would lead to a wrong address now; the linear offset is right for {count_text(stale.linear_right)}"
        " of those."
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}"


def _maps(rows: tuple[MapRow, ...]) -> Grid:
    columns = (
        Column("reverse map", Kind.TEXT),
        Column("serves", Kind.PERCENT),
        Column("memory", Kind.BYTES),
        Column("a frame", Kind.TEXT),
        Column("visits", Kind.TEXT),
        Column("at most", Kind.TEXT),
        Column("worst", Kind.COUNT),
        Column("in vain", Kind.PERCENT),
        Column("stale", Kind.COUNT),
    )
    cells = tuple(
        (
            MAP_NAMES[row.map],
            share_percent(row.frames_served, row.frames_mapped),
            row.bytes,
            "-" if row.bytes_per_frame is None else f"{row.bytes_per_frame:,.1f} B",
            _number(row.visits_per_lookup),
            _number(row.visits_per_lookup_at_most),
            row.visits_max,
            share_percent(row.false_visits, row.entries_served + row.false_visits),
            row.stale,
        )
        for row in rows
    )
    return Grid("Reverse maps, each frame looked up once", columns, cells)


def _stale(stale: Stale) -> list[Grid | Facts | Note]:
    parts: list[Grid | Facts | Note] = [
        Facts(
            f"Single entries of {stale.since}, followed to now",
            (
                Fact("entries", stale.recorded, Kind.COUNT),
                Fact("right", stale.right, Kind.COUNT),
                Fact("wrong, because a VMA moved", stale.entries, Kind.COUNT),
                Fact("of those, linear offset right", stale.linear_right, Kind.COUNT),
                Fact("of those, by the kernel's rule alone", stale.linear_by_rule, Kind.COUNT),
            ),
        )
    ]
    if stale.by_cause:
        columns = (
            Column("cause", Kind.TEXT),
            Column("entries", Kind.COUNT),
            Column("processes", Kind.COUNT),
            Column("such as pid", Kind.TEXT),
            Column("start then", Kind.TEXT),
            Column("start now", Kind.TEXT),
            Column("offset then", Kind.TEXT),
            Column("right", Kind.TEXT),
        )
        rows = tuple(
            (
                row.cause,
                row.entries,
                row.processes,
                row.example.pid,
                f"{row.example.old_start:x}",
                f"{row.example.new_start:x}",
                f"{row.example.recorded_offset:x}",
                f"{row.example.right_offset:x}",
            )
            for row in stale.by_cause
        )
        parts.append(Grid("What made entries wrong", columns, rows))
    if stale.not_followed:
        title = "Entries whose page is there no more"
        columns_ = (("reason", "what became of it", Kind.TEXT), ("entries", "entries", Kind.COUNT))
        parts.append(grid(title, stale.not_followed, *columns_))
    return parts

"""The answer of ``vmprobe can-alloc`` laid out for reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmprobe.analyses.can_alloc_answer import Verdict
from vmprobe.analyses.compact_words import between_text, blocks_text, hazards_grid, record_part
from vmprobe.analyses.parts import Column, Grid, Kind, Note, Parts, grid
from vmprobe.units import bytes_text, count_text

if TYPE_CHECKING:
    from vmprobe.analyses.can_alloc_answer import CanAlloc
    from vmprobe.analyses.parts import Facts

    Part = Grid | Facts | Note

TOP: Final = 8
"""Owners that text shows."""

SAYS: Final = {
    Verdict.NOW: "Yes, now: {}.",
    Verdict.COMPACTION: "Yes, after compaction: {}.",
    Verdict.EVICTION: "Yes, once page cache is dropped and memory compacted: {}.",
    Verdict.UNCERTAIN: "Perhaps: {}.",
    Verdict.PROCESSES: "Not while processes use so much: {}.",
    Verdict.REBOOT: "Not without a reboot: {}.",
    Verdict.NEVER: "Not on this host: {}.",
}


def layout(answer: CanAlloc) -> Parts:
    """Return the verdict, the next step, the evidence, then who is in the way."""
    parts: list[Part] = [
        Note("", (SAYS[answer.verdict].format(blocks_text(answer.count, answer.order, answer.page_size)),)),
        Note("Next step", (answer.advice,), verbatim=True),
        _evidence(answer),
    ]
    if len(answer.zones) > 1:
        parts.append(_zones(answer))
    if answer.verdict != Verdict.NOW:
        # What is free already hangs on nobody, and on no forecast.
        parts += _blockers(answer)
        if answer.hazards:
            parts.append(hazards_grid(answer.hazards))
        parts.append(record_part(answer.record))
    if answer.missing:
        parts.append(Note("Missing", tuple(f"{row.part}: {row.reason}" for row in answer.missing)))
    return Parts(tuple(parts))


def _evidence(answer: CanAlloc) -> Grid:
    after = answer.after_compaction
    cache = bytes_text(answer.evicted_pages * answer.page_size)
    least = sum(zone.after_eviction_low for zone in answer.zones)
    rows = [
        ("now", answer.now, ""),
        ("after compaction", after.mid, f"{between_text((after.low, after.high))}"),
        ("after dropping cache", answer.after_eviction, f"at least {count_text(least)}; {cache} of cache go"),
        ("at most, whatever is moved or evicted", answer.at_most, ""),
        ("blocks there are in all", sum(zone.windows for zone in answer.zones), ""),
    ]
    if answer.withheld:
        rows.insert(1, ("free, kept by the watermark", answer.withheld, ""))
    columns = (Column("can be had", Kind.TEXT), Column("blocks", Kind.COUNT), Column("", Kind.TEXT))
    size = bytes_text(answer.page_size << answer.order)
    return Grid(f"Blocks of {size} (order {answer.order})", columns, tuple(rows))


def _zones(answer: CanAlloc) -> Grid:
    return grid(
        "By zone",
        answer.zones,
        ("node", "node", Kind.TEXT),
        ("zone", "zone", Kind.TEXT),
        ("now", "now", Kind.COUNT),
        ("low", "compacted, least", Kind.COUNT),
        ("mid", "forecast", Kind.COUNT),
        ("high", "most", Kind.COUNT),
        ("after_eviction", "cache dropped", Kind.COUNT),
        ("windows", "in all", Kind.COUNT),
    )


def _blockers(answer: CanAlloc) -> list[Part]:
    if not answer.blockers:
        return []
    parts: list[Part] = [
        grid(
            "Who is in the way",
            answer.blockers[:TOP],
            ("kind", "kind", Kind.TEXT),
            ("owner", "owner", Kind.TEXT),
            ("pid", "pid", Kind.TEXT),
            ("pageblocks", "blocks", Kind.COUNT),
        )
    ]
    more = len(answer.blockers) - TOP
    if more > 0:
        parts.append(Note("", (f"{count_text(more)} more; vmprobe frag shows them.",)))
    return parts

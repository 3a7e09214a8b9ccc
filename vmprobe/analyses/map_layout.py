"""The answer of ``vmprobe map`` in words and tables: what stands above and below the picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from vmprobe.analyses.map_answer import CONTENTS
from vmprobe.analyses.parts import Column, Grid, Kind, Note, Parts
from vmprobe.analyses.report_tables import time_text
from vmprobe.units import bytes_text, count_text

if TYPE_CHECKING:
    from vmprobe.analyses.map_answer import Map, ZoneStrip

TOP: Final = 10
"""Pageblocks that one page keeps from being free, of those that are listed."""
ONE: Final = CONTENTS.index("one_unmovable_page_only")
ABSENT: Final = CONTENTS.index("absent")


def counts(zones: tuple[ZoneStrip, ...]) -> list[int]:
    """Return the pageblocks of all zones by content."""
    each = [np.bincount(zone.content, minlength=len(CONTENTS)) for zone in zones]
    return [int(nr) for nr in sum(each, np.zeros(len(CONTENTS), np.int64))]


def sentence(answer: Map) -> str:
    """Return the whole in a sentence."""
    nr = counts(answer.zones)
    size = answer.page_size << answer.pageblock_order
    present = sum(nr) - nr[ABSENT]
    held = f"{count_text(nr[ONE])} kept from being free by one page"
    blocks = f"{count_text(present)} pageblocks of {bytes_text(size)}"
    told = f"{bytes_text(present * size)} in {blocks}: {count_text(nr[0])} free, {held}."
    if answer.chosen is not None:
        each = [zone.of_owner for zone in answer.zones if zone.of_owner is not None]
        pages = sum(int(of_owner.sum()) for of_owner in each)
        with_any = sum(int(np.count_nonzero(of_owner)) for of_owner in each)
        told += (
            f" {answer.chosen[0].upper()}{answer.chosen[1:]} has {count_text(pages)} pages in"
            f" {count_text(with_any)} of them."
        )
    if answer.forecast is not None:
        made = answer.forecast
        low, high = made.interval
        between = "" if low == high else f" ({count_text(low)} to {count_text(high)})"
        told += (
            f" With {made.strategy}, {count_text(made.gained_blocks)}{between} more blocks of order"
            f" {made.order} are free."
        )
    return told


def source(answer: Map) -> str:
    """Return when and of which kernel the snapshot is."""
    return f"Linux {answer.release}, {time_text(answer.time)} UTC"


def above(answer: Map) -> Parts:
    """Return what stands above the picture."""
    return Parts((Note("", (sentence(answer), source(answer))),))


def below(answer: Map) -> Parts:
    """Return what stands below the picture and its legend."""
    parts: list[Grid | Note] = []
    rows = [
        (zone.node, zone.zone, zone.first_pfn + (int(block) << answer.pageblock_order), int(zone.free[block]),
         *_name(answer, int(zone.owner[block])))
        for zone in answer.zones
        for block in np.flatnonzero(zone.content == ONE)
    ]  # fmt: skip
    if rows:
        rows.sort(key=lambda row: -row[3])
        columns = (
            Column("node", Kind.TEXT),
            Column("zone", Kind.TEXT),
            Column("first pfn", Kind.TEXT),
            Column("free pages", Kind.COUNT),
            Column("held by", Kind.TEXT),
            Column("owner", Kind.TEXT),
            Column("pid", Kind.TEXT),
        )
        parts.append(Grid("Pageblocks that one page keeps from being free", columns, tuple(rows[:TOP])))
        if len(rows) > TOP:
            parts.append(Note("", (f"{count_text(len(rows) - TOP)} more of them; --json has all.",)))
    if answer.missing:
        parts.append(Note("Missing", tuple(f"{row.part}: {row.reason}" for row in answer.missing)))
    return Parts(tuple(parts))


def _name(answer: Map, owner: int) -> tuple[str | None, str | None, int | None]:
    if owner < 0:
        return None, None, None
    who = answer.owners[owner]
    return who.kind, who.owner, who.pid

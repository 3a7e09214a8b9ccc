"""What every picture of a map shows, whatever it is drawn with: strips of cells and a legend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vmprobe.analyses.map_answer import CHANGES, CONTENTS
from vmprobe.analyses.map_layout import ABSENT
from vmprobe.render.paint import (
    DIMMED,
    FIRST_CHANGE,
    LABELS,
    NR_LEVELS,
    change_codes,
    strip_codes,
)
from vmprobe.render.palette import SHADED
from vmprobe.units import bytes_text, count_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vmprobe.analyses.map_answer import Map, ZoneStrip


@dataclass(frozen=True, eq=False)
class Panel:
    """One strip of cells.

    Parameters
    ----------
    title
        Zone, and what of it.
    zone
        Place of the zone in the map.
    first_pfn
        First frame of the first cell.
    nr_blocks
        Pageblocks; the last cell may stand for fewer than the others.
    codes
        uint8, of each cell (`vmprobe.render.paint`).
    now
        Whether it shows the zone as it is.
    """

    title: str
    zone: int
    first_pfn: int
    nr_blocks: int
    codes: NDArray[np.uint8]
    now: bool

    def rows(self, cells: int) -> int:
        """Return how many rows of so many cells it takes."""
        return -(-len(self.codes) // cells)


class LegendRow(NamedTuple):
    """What some codes mean.

    Parameters
    ----------
    codes
        The codes, those of emptier pageblocks first.
    label
        Their name.
    now, after
        How many pageblocks; None for what is only there afterwards, or what there is no afterwards of.
    """

    codes: tuple[int, ...]
    label: str
    now: int | None
    after: int | None


def panels(answer: Map, per_cell: int) -> tuple[Panel, ...]:
    """Return the strips of a map: each zone as it is; with a forecast, as it will be, and the difference."""
    block_pages = 1 << answer.pageblock_order
    made = []
    for at, zone in enumerate(answer.zones):
        name, nr = f"Node {zone.node} zone {zone.zone}", len(zone)
        title = f"{name}, {count_text(nr)} {'pageblock' if nr == 1 else 'pageblocks'}"
        shown = [(title, strip_codes(zone, block_pages, per_cell))]
        if answer.forecast is not None:
            after = strip_codes(answer.forecast.zones[at], block_pages, per_cell)
            changed = change_codes(zone, answer.forecast.changes[at], per_cell)
            shown += [
                (f"{name} after {answer.forecast.strategy}", after),
                (f"{name}, the difference", changed),
            ]
        made += [
            Panel(title, at, zone.first_pfn, nr, codes, now=not index)
            for index, (title, codes) in enumerate(shown)
        ]
    return tuple(made)


def legend(answer: Map) -> tuple[LegendRow, ...]:
    """Return what is to be explained: the contents that there are, and what becomes of pageblocks."""
    now = _counts(answer.zones)
    after = None if answer.forecast is None else _counts(answer.forecast.zones)
    rows = []
    for content, name in enumerate(CONTENTS):
        then = None if after is None else after[content]
        if now[content] or then:
            levels = range(NR_LEVELS) if name in SHADED else (NR_LEVELS - 1,)
            codes = tuple(content * NR_LEVELS + level for level in levels)
            rows.append(LegendRow(codes, LABELS[name], now[content], then))
    if answer.chosen is not None:
        nr_without = _nr_blocks(answer) - sum(now)
        rows.append(LegendRow((DIMMED,), f"without a page of {answer.chosen}", nr_without, None))
    if answer.forecast is not None:
        every = np.concatenate((*answer.forecast.changes, np.empty(0, np.uint8)))
        nr = np.bincount(every, minlength=len(CHANGES)).tolist()
        rows += [
            LegendRow((FIRST_CHANGE + change,), LABELS[name], None, nr[change])
            for change, name in enumerate(CHANGES)
            if nr[change]
        ]
    return tuple(rows)


def _nr_blocks(answer: Map) -> int:
    """Return the pageblocks of all zones."""
    return sum(len(zone) for zone in answer.zones)


def _counts(zones: tuple[ZoneStrip, ...]) -> list[int]:
    """Return the pageblocks by content; of an owner asked for, those with a page of it and absent ones."""
    nr = np.zeros(len(CONTENTS), np.int64)
    for zone in zones:
        shown = zone.content
        if zone.of_owner is not None:
            shown = shown[(zone.of_owner > 0) | (shown == ABSENT)]
        nr += np.bincount(shown, minlength=len(CONTENTS))
    return [int(each) for each in nr]


def cell_text(answer: Map, per_cell: int) -> str:
    """Return what a cell stands for."""
    size = bytes_text(answer.page_size << answer.pageblock_order)
    if per_cell == 1:
        return f"A cell is one pageblock of {size}."
    return f"A cell is {count_text(per_cell)} pageblocks of {size} and shows the worst of them."


def per_cell_for(answer: Map, cells: int, most_rows: int) -> int:
    """Return of how many pageblocks a cell is, a power of two, so that zones take so many rows at most."""
    per_cell = 1
    while sum(-(-len(zone) // (per_cell * cells)) for zone in answer.zones) > max(
        most_rows, len(answer.zones)
    ):
        per_cell *= 2
    return per_cell


def address_text(answer: Map, pfn: int) -> str:
    """Return the address of a frame in GiB."""
    return f"{pfn * answer.page_size / (1 << 30):.2f}"

"""The answers of ``vmprobe compact`` laid out for reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmprobe.analyses.compact_words import (
    REASONS,
    between_text,
    blocks_text,
    hazards_grid,
    record_part,
    time_text,
)
from vmprobe.analyses.parts import Column, Fact, Facts, Grid, Kind, Note, Parts
from vmprobe.units import bytes_text, count_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmprobe.analyses.compact_answer import Compact, Comparison, Side
    from vmprobe.analyses.show import MissingPart

    Part = Grid | Facts | Note

DOES: Final = {
    "linux": "compact_memory would gain",
    "plan": "The cheapest moves would gain",
    "blit": "Copying into the free pages at hand would gain",
    "evict": "Evicting would gain",
    "gravity": "Sliding everything to the top would gain",
}


EXPLAINED: Final = (
    "Entries are those of page tables. Evicted pages count like moved ones against the fewest.",
    "plan and blit stop at the lowest watermark, so that all they gain can be taken; the others do not.",
)


def layout(answer: Compact) -> Parts:
    """Return the verdict first, what it takes, then who is in the way and what can be wrong."""
    parts: list[Part] = [Note("", _verdict(answer)), _cost(answer), _free_blocks(answer)]
    if len(answer.zones) > 1:
        parts.append(_zones(answer))
    parts += [*_blocked(answer), *_hazards(answer), record_part(answer.record), *_missing(answer.missing)]
    return Parts(tuple(parts))


def _verdict(answer: Compact) -> tuple[str, ...]:
    gained, size = answer.gained_blocks, answer.page_size
    many = blocks_text(gained, answer.order, size)
    if answer.count is not None and gained < answer.count:
        many = f"{count_text(gained)} of the {blocks_text(answer.count, answer.order, size)}"
    between = ""
    if answer.interval is not None and answer.interval[0] != answer.interval[1]:
        between = f" (anything from {between_text(answer.interval)})"
    before = _at_hand(answer.before.free_blocks, answer.order)
    then = f"{count_text(before)} now, {count_text(before + gained)} then"
    first = f"{DOES[answer.strategy]} {many}{between}: {then}."
    return (first, _price(answer), *_given_up(answer))


def _given_up(answer: Compact) -> tuple[str, ...]:
    said = []
    for stop in answer.stops:
        why = "no free page is left to move it to."
        if stop.dirty:
            why = (
                "a large folio that is dirty and finds no free block of its size. Run `sync`, then ask again."
            )
        said.append(f"It would give up at page frame {stop.pfn}: {why}")
    return tuple(said)


def _price(answer: Side) -> str:
    if not answer.moves_pages and not answer.evicted_pages:
        return "Nothing would be moved."
    does = []
    if answer.moves_pages:
        does.append(f"copies {count_text(answer.moves_pages)} pages")
    if answer.evicted_pages:
        does.append(f"evicts {count_text(answer.evicted_pages)} pages")
    said = f"It {' and '.join(does)} in {time_text(answer.cost_us)}"
    if answer.ratio_to_minimum is None:
        return f"{said}."
    fewest = count_text(answer.minimum_moves_pages or 0)
    if answer.ratio_to_minimum == 1:
        return f"{said}: the fewest by which that can be gained."
    return (
        f"{said}, {_ratio(answer.ratio_to_minimum)} times the fewest by which that can be gained ({fewest})."
    )


def _ratio(ratio: float) -> str:
    return f"{ratio:,.2f}"


def _at_hand(blocks: Sequence[int], order: int) -> int:
    return sum(nr << of - order for of, nr in enumerate(blocks) if of >= order)


def _cost(answer: Side) -> Facts:
    facts = (
        Fact("pages moved", answer.moves_pages, Kind.COUNT),
        Fact("pages evicted", answer.evicted_pages, Kind.COUNT),
        Fact("page-table entries changed", answer.ptes_patched, Kind.COUNT),
        Fact("address spaces touched", answer.address_spaces, Kind.COUNT),
        Fact("TLB flushes", answer.tlb_flushes, Kind.COUNT),
        Fact("pages scanned for moving", answer.migrate_scanned, Kind.COUNT),
        Fact("pages scanned for room", answer.free_scanned, Kind.COUNT),
        Fact("fewest moves for that gain", answer.minimum_moves_pages, Kind.COUNT),
    )
    scanned = answer.migrate_scanned is not None
    return Facts("What it takes", tuple(fact for fact in facts if scanned or "scanned" not in fact.label))


def _free_blocks(answer: Compact) -> Grid:
    columns = (
        Column("order", Kind.TEXT),
        Column("block", Kind.BYTES),
        Column("now", Kind.COUNT),
        Column("then", Kind.COUNT),
        Column("change", Kind.TEXT),
    )
    both = zip(answer.before.free_blocks, answer.after.free_blocks, strict=True)
    rows = tuple(
        (order, answer.page_size << order, now, then, f"{then - now:+,}" if then != now else "")
        for order, (now, then) in enumerate(both)
    )
    return Grid("Free blocks", columns, rows)


def _zones(answer: Compact) -> Grid:
    columns = (
        Column("node", Kind.TEXT),
        Column("zone", Kind.TEXT),
        Column("gained", Kind.COUNT),
        Column("between", Kind.TEXT),
        Column("moved", Kind.COUNT),
        Column("evicted", Kind.COUNT),
        Column("fewest", Kind.COUNT),
        Column("ends", Kind.TEXT),
    )
    rows = tuple(
        (
            zone.node,
            zone.zone,
            zone.gained_blocks,
            None if zone.interval is None else between_text(zone.interval),
            zone.moves_pages,
            zone.evicted_pages,
            zone.minimum_moves_pages,
            zone.status,
        )
        for zone in answer.zones
    )
    return Grid("By zone", columns, rows)


def _blocked(answer: Side) -> list[Part]:
    if not answer.blocked:
        return []
    rows = sorted(answer.blocked, key=lambda row: -row.pageblocks)
    cells = tuple((REASONS.get(row.reason, row.reason), row.pageblocks) for row in rows)
    columns = (Column("because of", Kind.TEXT), Column("pageblocks", Kind.COUNT))
    return [
        Grid("Pageblocks that stay as they are", columns, cells),
        Note("", ("Who holds them: vmprobe frag.",)),
    ]


def _hazards(answer: Side) -> list[Part]:
    return [hazards_grid(answer.hazards)] if answer.hazards else []


def _missing(rows: Sequence[MissingPart]) -> list[Part]:
    return [Note("Missing", tuple(f"{row.part}: {row.reason}" for row in rows))] if rows else []


def layout_comparison(answer: Comparison) -> Parts:
    """Return all strategies in one table, then what the full reverse map is worth."""
    parts: list[Part] = [
        Note("", (_best(answer),)),
        _table(answer),
        Note("", EXPLAINED),
        Note("What a full reverse map is worth", (_difference(answer),)),
        *_hazards(answer.strategies[0]),
        record_part(answer.record),
        *_missing(answer.missing),
    ]
    return Parts(tuple(parts))


def _best(answer: Comparison) -> str:
    most = max(answer.strategies, key=lambda side: (side.gained_blocks, -side.cost_us.mid))
    asked = "As many blocks" if answer.count is None else f"Up to {count_text(answer.count)} blocks"
    size = bytes_text(answer.page_size << answer.order)
    now = _at_hand(most.before.free_blocks, answer.order)
    said = f"{asked} of {size} as each strategy can gain; {count_text(now)} are free now."
    if most.gained_blocks <= 0:
        return f"{said} None gains any."
    return f"{said} {most.strategy} gains most: {count_text(most.gained_blocks)}."


def _table(answer: Comparison) -> Grid:
    columns = (
        Column("strategy", Kind.TEXT),
        Column("gained", Kind.COUNT),
        Column("between", Kind.TEXT),
        Column("moved", Kind.COUNT),
        Column("evicted", Kind.COUNT),
        Column("entries", Kind.COUNT),
        Column("spaces", Kind.COUNT),
        Column("flushes", Kind.COUNT),
        Column("from", Kind.SECONDS),
        Column("to", Kind.SECONDS),
        Column("fewest", Kind.COUNT),
        Column("times", Kind.TEXT),
        Column("ends", Kind.TEXT),
    )
    rows = tuple(
        (
            side.strategy,
            side.gained_blocks,
            None if side.interval is None else between_text(side.interval),
            side.moves_pages,
            side.evicted_pages,
            side.ptes_patched,
            side.address_spaces,
            side.tlb_flushes,
            side.cost_us.low / 1e6,
            side.cost_us.high / 1e6,
            side.minimum_moves_pages,
            None if side.ratio_to_minimum is None else _ratio(side.ratio_to_minimum),
            side.status,
        )
        for side in answer.strategies
    )
    return Grid("", columns, rows)


def _difference(answer: Comparison) -> str:
    found = answer.difference
    windows = f"{count_text(found.windows_full)} blocks could be cleared by blit"
    single = f"{count_text(found.windows_single)} with one reverse entry for a frame (1998)"
    said = f"{windows}, {single}, where shared pages stay;"
    room = f"there is room for {count_text(found.blocks_full)} and {count_text(found.blocks_single)} of them."
    if not found.blocks_single:
        return f"{said} {room}"
    alike = blocks_text(found.blocks_single, answer.order, answer.page_size)
    copies = f"{count_text(found.pages_full_alike)} and {count_text(found.pages_single)} copies"
    return f"{said} {room} For {alike} they take {copies}."

"""The answer of ``vmprobe check`` laid out for reading."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmprobe.analyses.parts import Column, Fact, Facts, Grid, Kind, Note, Parts, grid

if TYPE_CHECKING:
    from vmprobe.analyses.check import Check, Rmap, WatermarkRow
    from vmprobe.bridge.check import ZoneBlocks


def layout(answer: Check) -> Parts:
    """Return the verdict first, then what was compared; contradictions before the figures that fit."""
    parts: list[Grid | Facts | Note] = [Note("", (_verdict(answer),))]
    if answer.violations:
        parts.append(
            grid(
                "Contradictions",
                answer.violations,
                ("kind", "rule", Kind.TEXT),
                ("where", "where", Kind.TEXT),
                ("detail", "found", Kind.TEXT),
            )
        )
    if answer.buddy is not None:
        parts += [_zones(answer.buddy.zones), *_differences(answer.buddy.zones)]
    if answer.rmap is not None:
        parts += _rmap(answer.rmap)
    if answer.vmas is not None:
        parts.append(
            Facts(
                "Address spaces",
                (
                    Fact("address spaces", answer.vmas.address_spaces, Kind.COUNT),
                    Fact("VMAs", answer.vmas.vmas, Kind.COUNT),
                    Fact("rules broken", answer.vmas.violations, Kind.COUNT),
                ),
            )
        )
    if answer.watermarks is not None:
        parts.append(_watermarks(answer.watermarks))
    if answer.missing:
        parts.append(Note("Missing", tuple(f"{row.part}: {row.reason}" for row in answer.missing)))
    return Parts(tuple(parts))


def _verdict(answer: Check) -> str:
    checked = [
        name
        for name, part in (
            ("free blocks", answer.buddy),
            ("reverse map", answer.rmap),
            ("address spaces", answer.vmas),
        )
        if part is not None
    ]
    listed = " and ".join((", ".join(checked[:-1]), checked[-1])) if len(checked) > 1 else checked[0]
    if answer.ok:
        return f"Consistent: {listed}."
    nr = len(answer.violations)
    return f"NOT consistent: {nr} contradiction{'s' if nr > 1 else ''} in {listed}."


def _zones(zones: tuple[ZoneBlocks, ...]) -> Grid:
    columns = (
        Column("node", Kind.TEXT),
        Column("zone", Kind.TEXT),
        Column("blocks", Kind.COUNT),
        Column("pages", Kind.COUNT),
        Column("against buddyinfo", Kind.TEXT),
    )
    rows = tuple(
        (
            zone.node,
            zone.zone,
            sum(zone.rebuilt),
            sum(nr << order for order, nr in enumerate(zone.rebuilt)),
            {"exact": "equal at every order", "within_drift": "within the drift", "violated": "VIOLATED"}.get(
                zone.status or "", "not read"
            ),
        )
        for zone in zones
    )
    return Grid("Free blocks, rebuilt from the frames", columns, rows)


def _differences(zones: tuple[ZoneBlocks, ...]) -> list[Grid]:
    """Show the orders of zones that changed while they were read, or that do not fit."""
    rows = []
    for zone in zones:
        if zone.status in (None, "exact") or zone.kernel_before is None:
            continue
        after = zone.kernel_after or (None,) * len(zone.rebuilt)
        drift = zone.drift or (None,) * len(zone.rebuilt)
        for order, (nr, *kernel) in enumerate(zip(zone.rebuilt, zone.kernel_before, after, strict=True)):
            if (nr, nr) != tuple(kernel):
                rows.append((zone.node, zone.zone, order, nr, tuple(kernel), drift[order]))
    if not rows:
        return []
    columns = (
        Column("node", Kind.TEXT),
        Column("zone", Kind.TEXT),
        Column("order", Kind.TEXT),
        Column("rebuilt", Kind.COUNT),
        Column("buddyinfo", Kind.CHANGE),
        Column("drift", Kind.COUNT),
    )
    return [Grid("Orders that differ", columns, tuple(rows))]


def _watermarks(rows: tuple[WatermarkRow, ...]) -> Grid:
    names = ("min", "low", "high", "promo")
    columns = (Column("node", Kind.TEXT), Column("zone", Kind.TEXT), *(Column(n, Kind.CHANGE) for n in names))
    cells = (
        (row.node, row.zone, *((row.computed[name], row.printed[name]) for name in names)) for row in rows
    )
    return Grid("Watermarks in pages, computed -> as zoneinfo printed them", columns, tuple(cells))


def _rmap(rmap: Rmap) -> list[Grid | Facts | Note]:
    parts: list[Grid | Facts | Note] = [
        Facts(
            "Reverse map against the kernel's map counts",
            (
                Fact("frames mapped", rmap.frames_mapped, Kind.COUNT),
                Fact("reverse entries", rmap.entries, Kind.COUNT),
                Fact("counts match", rmap.counts_match, Kind.COUNT),
                Fact("unstable", rmap.unstable, Kind.COUNT),
                Fact("explained", sum(rmap.explained.values()), Kind.COUNT),
                Fact("unexplained", rmap.unexplained, Kind.COUNT),
            ),
        )
    ]
    if rmap.explained:
        columns = (Column("explanation", Kind.TEXT), Column("frames", Kind.COUNT))
        parts.append(
            Grid(
                "Differences that have a reason",
                columns,
                tuple(sorted(rmap.explained.items(), key=lambda item: -item[1])),
            )
        )
    if rmap.hidden_entries:
        parts.append(
            Facts(
                "Processes that could not be read",
                (
                    Fact("entries they must have", rmap.hidden_entries, Kind.COUNT),
                    Fact("and can have, at most", rmap.hidden_at_most, Kind.COUNT),
                ),
            )
        )
    return parts

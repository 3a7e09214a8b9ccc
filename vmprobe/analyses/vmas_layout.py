"""The answers of ``vmprobe vmas`` laid out for reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmprobe.analyses.parts import Column, Fact, Facts, Grid, Kind, Note, Parts, grid
from vmprobe.units import count_text

if TYPE_CHECKING:
    from vmprobe.analyses.show import MissingPart
    from vmprobe.analyses.vmas import Distribution, Gaps, ProcessRow, ProcessVmas, TreeRow, VmaRow, Vmas

TREE_NAMES: Final = {
    "list": "list (1998)",
    "avl": "AVL (2.2)",
    "rbtree": "red-black (2.4.10)",
    "maple": "maple (6.1)",
    "sortedarray": "sorted array",
}
"""With the kernel that first found VMAs so."""
MOST_PROCESSES: Final = 10
"""Processes listed for reading; JSON has all."""


def layout(answer: Vmas) -> Parts:
    """Return whether a tree is worth it, then the figures for the host."""
    first = _verdict(answer.worth_it, answer.trees)
    if answer.distribution is not None:
        many = f"{count_text(answer.distribution.trees_in_1998)} of {count_text(answer.address_spaces)}"
        first += f" Linux 2.2 would have made one for {many} address spaces."
    parts: list[Grid | Facts | Note] = [
        Note("", (first,)),
        Facts(
            "VMAs",
            (
                Fact("address spaces", answer.address_spaces, Kind.COUNT),
                Fact("VMAs", answer.vmas, Kind.COUNT),
                Fact("look-ups", answer.lookups, Kind.COUNT),
            ),
        ),
        _trees(answer.trees),
    ]
    if answer.distribution is not None:
        parts += _distribution(answer.distribution)
    parts.append(_processes(answer.processes[:MOST_PROCESSES]))
    return Parts((*parts, *_missing(answer.missing)))


def process_layout(answer: ProcessVmas) -> Parts:
    """Return whether a tree is worth it for this process, its VMAs, holes and trees."""
    sharing = (
        (Fact("processes that share them", answer.processes, Kind.COUNT),) if answer.processes > 1 else ()
    )
    facts = (
        Fact("process", f"{answer.pid} {answer.comm or '?'}"),
        *sharing,
        Fact("VMAs", len(answer.vmas), Kind.COUNT),
        Fact("look-ups", answer.lookups, Kind.COUNT),
    )
    parts: list[Grid | Facts | Note] = [
        Note("", (_verdict(answer.worth_it, answer.trees),)),
        Facts("Address space", facts),
        _vmas(answer.vmas),
        *_gaps(answer.gaps),
        _trees(answer.trees),
    ]
    return Parts((*parts, *_missing(answer.missing)))


def _verdict(worth_it: bool | None, trees: tuple[TreeRow, ...]) -> str:
    if worth_it is None:
        return "Whether a balanced tree is worth it here cannot be told: there is nothing to look up."
    row = {tree.tree: tree for tree in trees}
    figures = (
        f"a look-up takes {_number(row['list'].comparisons_per_lookup)} comparisons in a list as in 1998,"
        f" {_number(row['rbtree'].comparisons_per_lookup)} in a red-black tree, and"
        f" {_number(row['maple'].comparisons_per_lookup)} in {_number(row['maple'].visits_per_lookup)} nodes"
        " of a maple tree."
    )
    return f"A balanced tree is {'' if worth_it else 'NOT '}worth it here: {figures}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _trees(trees: tuple[TreeRow, ...]) -> Grid:
    columns = (
        Column("way to find a VMA", Kind.TEXT),
        Column("depth", Kind.COUNT),
        Column("comparisons", Kind.TEXT),
        Column("nodes read", Kind.TEXT),
        Column("memory", Kind.BYTES),
    )
    rows = tuple(
        (
            TREE_NAMES[row.tree],
            row.depth_max,
            _number(row.comparisons_per_lookup),
            _number(row.visits_per_lookup),
            row.bytes,
        )
        for row in trees
    )
    return Grid("Cost of a look-up", columns, rows)


def _distribution(distribution: Distribution) -> list[Grid | Facts | Note]:
    names = tuple(row.tree for row in distribution.buckets[0].trees)
    columns = (
        Column("VMAs", Kind.TEXT),
        Column("address spaces", Kind.COUNT),
        *(Column(name, Kind.TEXT) for name in names),
        Column("depth of rbtree", Kind.COUNT),
        Column("of maple", Kind.COUNT),
    )
    rows = []
    for bucket in distribution.buckets:
        row = {tree.tree: tree for tree in bucket.trees}
        rows.append(
            (
                f"{bucket.first} to {bucket.last}",
                bucket.address_spaces,
                *(_number(row[name].comparisons_per_lookup) for name in names),
                row["rbtree"].depth_max,
                row["maple"].depth_max,
            )
        )
    quantiles = tuple(
        Fact(f"{name.removeprefix('p')} %", nr, Kind.COUNT)
        for name, nr in distribution.quantiles.items()
        if name != "p0"
    )
    return [
        Facts("VMAs that so many of the address spaces have at most", quantiles),
        Grid("Comparisons by number", columns, tuple(rows)),
    ]


def _processes(rows: tuple[ProcessRow, ...]) -> Grid:
    columns = (
        Column("pid", Kind.TEXT),
        Column("name", Kind.TEXT),
        Column("VMAs", Kind.COUNT),
        Column("look-ups", Kind.COUNT),
        *(Column(name, Kind.TEXT) for name in (rows[0].comparisons_per_lookup if rows else ())),
    )
    found = tuple(
        (
            row.pid,
            row.comm,
            row.vmas,
            row.lookups,
            *(_number(mean) for mean in row.comparisons_per_lookup.values()),
        )
        for row in rows
    )
    return Grid("Address spaces with most VMAs, and comparisons", columns, found)


def _vmas(rows: tuple[VmaRow, ...]) -> Grid:
    columns = (
        Column("address", Kind.TEXT),
        Column("size", Kind.BYTES),
        Column("gap before", Kind.BYTES),
        Column("perms", Kind.TEXT),
        Column("offset", Kind.TEXT),
        Column("present", Kind.COUNT),
        Column("swapped", Kind.COUNT),
        Column("rss", Kind.BYTES),
        Column("name", Kind.TEXT),
    )
    found = tuple(
        (
            f"{row.start:x}-{row.end:x}",
            row.end - row.start,
            row.gap_before_bytes,
            row.perms,
            f"{row.pgoff:x}",
            row.present_pages,
            row.swap_pages,
            row.rss_bytes,
            row.name,
        )
        for row in rows
    )
    return Grid("VMAs (offset and pages in pages)", columns, found)


def _gaps(gaps: Gaps) -> list[Grid | Facts | Note]:
    facts = Facts(
        "Holes between them",
        (Fact("holes", gaps.count, Kind.COUNT), Fact("together", gaps.bytes, Kind.BYTES)),
    )
    if not gaps.largest:
        return [facts]
    return [
        facts,
        grid(
            "Largest holes",
            gaps.largest,
            ("bytes", "size", Kind.BYTES),
            ("below", "VMA below", Kind.TEXT),
            ("above", "VMA above", Kind.TEXT),
        ),
    ]


def _missing(missing: tuple[MissingPart, ...]) -> tuple[Note, ...]:
    if not missing:
        return ()
    lines = tuple(f"{row.part}: {row.reason}; every VMA is looked up once instead" for row in missing)
    return (Note("Missing", lines),)

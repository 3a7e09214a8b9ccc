"""The answer of ``vmprobe frag`` laid out for reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmprobe.analyses.parts import Column, Fact, Facts, Grid, Kind, Note, Parts, grid
from vmprobe.bridge.frag import debugfs_text
from vmprobe.units import bytes_text, count_text, percent_text

if TYPE_CHECKING:
    from vmprobe.analyses.frag_answer import Frag, ZoneRow

    Part = Grid | Facts | Note

CONTENTS: Final = {
    "free": "free",
    "movable_only": "movable only",
    "one_unmovable_page_only": "one page stays",
    "mixed": "mixed",
    "unmovable": "unmovable",
    "unknown": "unknown",
    "absent": "absent",
}
"""Label of each content of a pageblock."""

HELD: Final = (
    ("pageblocks", "pageblocks", Kind.COUNT),
    ("alone_pageblocks", "alone", Kind.COUNT),
    ("full_pageblocks", "full", Kind.COUNT),
    ("pages", "pages", Kind.COUNT),
    ("trapped_free_pages", "trapped", Kind.COUNT),
)
"""Columns of what an owner, or a kind of them, holds."""

AGREE: Final = {  # the frames, against the free lists that buddyinfo counted
    "exact": "add up to the same blocks",
    "within_drift": "differ within the drift while they were read",
    "violated": "DIFFER by more than the drift: vmprobe check tells where",
}

INDICES: Final = (
    "unusable = share of free memory in smaller blocks. fragmentation = 1 - (1 + free pages / block) / free"
    " blocks, as debugfs prints it: a request that fails does so for lack of memory near 0, for fragmentation"
    " near 1; -1.000: it does not fail."
)
SEVERAL: Final = (
    "A pageblock held by several kinds counts under each; alone = held by no other kind; full = nothing but"
    " pages of that kind; trapped = free pages beside them."
)
PERFECT: Final = (
    "After = after perfect compaction: blocks without a page that stays, as far as free memory beyond the"
    " lowest watermark goes; at most = if pages of flag word 0 were free on per-CPU lists."
)


def layout(answer: Frag) -> Parts:
    """Return a sentence, then what is free, what pageblocks hold, who blocks, and what could be had."""
    parts: list[Part] = [Note("", (_sentence(answer),))]
    for zone in answer.zones:
        parts += _zone(zone, answer.page_size)
    if any(zone.free_blocks is not None for zone in answer.zones):
        parts.append(Note("", (INDICES,)))
    parts += pageblock_parts(answer)
    parts += blocker_parts(answer)
    parts.append(
        grid(
            "Memory free in blocks of a size: pages, per mille of free memory now, of all memory after",
            answer.contiguity,
            ("bytes", "size", Kind.BYTES),
            ("order", "order", Kind.TEXT),
            ("free_pages", "now", Kind.COUNT),
            ("permille_of_free", "of free", Kind.COUNT),
            ("after_pages", "after", Kind.COUNT),
            ("permille_of_total", "of all", Kind.COUNT),
            ("at_most_pages", "at most", Kind.COUNT),
            ("at_most_permille_of_total", "of all", Kind.COUNT),
        )
    )
    if any(row.after_pages is not None for row in answer.contiguity):
        parts.append(Note("", (PERFECT,)))
    parts += score_parts(answer)
    if answer.missing:
        parts.append(Note("Missing", tuple(f"{row.part}: {row.reason}" for row in answer.missing)))
    return Parts(tuple(parts))


def _sentence(answer: Frag) -> str:
    known = [zone.free_pages for zone in answer.zones if zone.free_pages is not None]
    said = []
    if known and len(known) == len(answer.zones):
        said.append(f"{bytes_text(sum(known) * answer.page_size)} free")
    first = answer.contiguity[0]
    if first.permille_of_free is not None:
        share = percent_text(first.permille_of_free / 10)
        said.append(f"{share} of it in blocks of {bytes_text(first.bytes)} or more")
    if answer.held is not None:
        held = answer.held
        blocks = f"{count_text(held.held_pageblocks)} of {count_text(held.pageblocks)} pageblocks are held"
        trapped = bytes_text(held.trapped_free_pages * answer.page_size)
        said.append(f"{blocks}, {trapped} free in them")
        unknown = sum(row.full_pageblocks for row in answer.blockers or () if row.kind == "unknown")
        if unknown:
            said.append(f"of {count_text(unknown)} of those nothing is known, flag word 0 throughout")
    if not said:
        return "How much is free is not known."
    return "; ".join(said) + "."


def _zone(zone: ZoneRow, page_size: int) -> list[Part]:
    title = f"Node {zone.node} zone {zone.zone}"
    facts = [
        Fact("free pages", zone.free_pages, Kind.COUNT),
        Fact("on per-CPU lists", zone.pcp_pages, Kind.COUNT),
    ]
    if zone.unknown_pages is not None:
        facts += [
            Fact("neither known free nor used", zone.unknown_pages, Kind.COUNT),
            Fact("never given to the allocator", zone.unmanaged_pages, Kind.COUNT),
        ]
    if zone.frames_agree is not None:
        facts.append(Fact("frames", AGREE[zone.frames_agree]))
    parts: list[Part] = [Facts(title, tuple(facts))]
    if zone.free_blocks is None or zone.unusable_permille is None or zone.fragmentation_permille is None:
        return parts
    columns = (
        Column("order", Kind.TEXT),
        Column("block", Kind.BYTES),
        Column("free blocks", Kind.COUNT),
        Column("unusable", Kind.TEXT),
        Column("fragmentation", Kind.TEXT),
    )
    each = zip(zone.free_blocks, zone.unusable_permille, zone.fragmentation_permille, strict=True)
    rows = tuple(
        (order, page_size << order, nr, debugfs_text(unusable), debugfs_text(index))
        for order, (nr, unusable, index) in enumerate(each)
    )
    return [*parts, Grid("", columns, rows)]


def pageblock_parts(answer: Frag) -> list[Part]:
    """Return what pageblocks hold; nothing without frames."""
    rows = tuple(
        (zone.node, zone.zone, *(zone.pageblocks[name] for name in CONTENTS))
        for zone in answer.zones
        if zone.pageblocks is not None
    )
    if not rows:
        return []
    columns = (
        Column("node", Kind.TEXT),
        Column("zone", Kind.TEXT),
        *(Column(label, Kind.COUNT) for label in CONTENTS.values()),
    )
    size = bytes_text(answer.page_size << answer.pageblock_order)
    return [Grid(f"Pageblocks of {size} by what they hold", columns, rows)]


def blocker_parts(answer: Frag) -> list[Part]:
    """Return who holds them; nothing without frames."""
    if answer.blockers is None or answer.owners is None or answer.held is None:
        return []
    parts: list[Part] = [
        grid("Who holds pageblocks", answer.blockers, ("kind", "kind", Kind.TEXT), *HELD),
        Note("", (SEVERAL,)),
    ]
    if answer.owners:
        names = (("kind", "kind", Kind.TEXT), ("owner", "owner", Kind.TEXT), ("pid", "pid", Kind.TEXT))
        parts.append(grid("Owners", answer.owners, *names, *HELD))
    if answer.owners_left_out:
        nr = count_text(answer.owners_left_out)
        parts.append(Note("", (f"{nr} more owners; --top shows more of them.",)))
    if answer.held.pins_unlocated:
        nr = count_text(answer.held.pins_unlocated)
        parts.append(Note("", (f"{nr} pins are not located: any page that could move may be one of them.",)))
    return parts


def score_parts(answer: Frag) -> list[Part]:
    """Return the score of each node, and when kcompactd starts."""
    facts = [Fact(f"node {node.node}", node.score_percent) for node in answer.nodes or ()]
    told = answer.kcompactd
    if told is not None and not told.proactiveness:
        facts.append(Fact("kcompactd", "compacts nothing unasked: vm.compaction_proactiveness is 0"))
    elif told is not None and told.high_percent is None:
        facts.append(Fact("kcompactd", f"kernels differ at a proactiveness of {told.proactiveness}"))
    elif told is not None:
        facts.append(Fact("kcompactd", f"starts above {told.high_percent}, stops at {told.low_percent}"))
    if not facts:
        return []
    size = bytes_text(answer.page_size << answer.score_order)
    return [Facts(f"Score in percent: free memory in blocks smaller than {size}", tuple(facts))]

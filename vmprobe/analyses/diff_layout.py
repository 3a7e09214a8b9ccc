"""The answer of ``vmprobe diff`` laid out for reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmprobe.analyses.diff_layout_sums import sums
from vmprobe.analyses.diff_words import block_text, owner_text
from vmprobe.analyses.frag_layout import CONTENTS
from vmprobe.analyses.parts import Column, Fact, Facts, Grid, Kind, Note, Parts
from vmprobe.units import bytes_text, count_text, percent_text, share_percent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmprobe.analyses.diff_answer import Diff
    from vmprobe.analyses.diff_frames import FrameChanges, Turned

    Part = Grid | Facts | Note

DECIDES: Final = (
    "In each pageblock pages that stay decide, else pages that can move, else pages of flag word 0. alone ="
    " nobody else decided; shared = others did too, and it counts under each; stay = of its pages."
)
PRESENT: Final = {name: label for name, label in CONTENTS.items() if name != "absent"}
"""Labels of the contents of pageblocks that have memory."""
SHORT: Final = {"movable_only": "movable", "one_unmovable_page_only": "one stays"}
"""Labels that are shorter as heads of columns."""


def layout(answer: Diff) -> Parts:
    """Return a sentence, then who took huge pages and who left, then everything else that changed."""
    parts: list[Part] = [Note("", (answer.verdict,)), _between(answer)]
    if answer.frames is not None:
        parts += _turns(answer, answer.frames)
        parts += _owners(answer.frames)
    parts += sums(answer)
    if answer.missing:
        parts.append(Note("Missing", tuple(f"{row.part}: {row.reason}" for row in answer.missing)))
    return Parts(tuple(parts))


def _between(answer: Diff) -> Facts:
    boots = {True: "the same", False: "another", None: "not known"}[answer.same_boot]
    told = "" if answer.same_boot is None else f", by {answer.boot_evidence}"
    facts = [
        Fact("earlier", answer.old.time),
        Fact("later", answer.new.time),
        Fact("between", answer.seconds, Kind.SECONDS),
        Fact("boot", f"{boots}{told}"),
    ]
    free = answer.free_pageblocks
    if free is not None:
        size = bytes_text(answer.page_size << answer.pageblock_order)
        facts.append(
            Fact(f"free pageblocks of {size}, by {free.source}", (free.before, free.after), Kind.CHANGE)
        )
    frames = answer.frames
    if frames is not None:
        facts += [
            Fact("frames compared", frames.frames, Kind.COUNT),
            Fact("with another owner", frames.changed_frames, Kind.COUNT),
            Fact("so too, but unstable", frames.unstable_frames, Kind.COUNT),
        ]
    return Facts("Between", tuple(facts))


def _turns(answer: Diff, frames: FrameChanges) -> Iterator[Part]:
    blocks = block_text(answer, 2)
    readers = tuple(side.reader_pid for side in (answer.new, answer.old))
    turns = (
        (f"Free {blocks} that were broken, by who is in them now", frames.broken, readers[0]),
        (f"{blocks} that compaction could have freed, by who holds them now", frames.held, readers[0]),
        (f"{blocks} that became free, by who was in them", frames.freed, readers[1]),
        (f"{blocks} that compaction can free now, by who held them", frames.released, readers[1]),
    )
    explained = False
    for title, turned, reader in turns:
        if turned.pageblocks:
            yield _owners_of(title[0].upper() + title[1:], turned)
            yield Note("", tuple(_rest(turned, reader, explained=explained)))
            explained = True


def _owners_of(title: str, turned: Turned) -> Grid:
    columns = (
        Column("owner", Kind.TEXT),
        Column("alone", Kind.COUNT),
        Column("shared", Kind.COUNT),
        Column("pages", Kind.COUNT),
        Column("stay", Kind.COUNT),
        Column("such as pfn", Kind.TEXT),
    )
    rows = tuple(
        (
            owner_text(row.kind, row.owner, row.pid),
            row.alone_pageblocks,
            row.shared_pageblocks,
            row.pages,
            row.staying_pages,
            next(iter(row.example_pfns), None),
        )
        for row in turned.owners
    )
    return Grid(f"{title}: {count_text(turned.pageblocks)}", columns, rows)


def _rest(turned: Turned, reader: int | None, *, explained: bool) -> Iterator[str]:
    """Say what decided, what is left out, and what cannot be relied on."""
    by = (
        (turned.by_staying, "pages that stay"),
        (turned.by_moving, "pages that can move"),
        (turned.by_unknown, "pages of flag word 0"),
    )
    decided = ", ".join(f"{count_text(nr)} by {what}" for nr, what in by if nr)
    several = (
        f", {count_text(turned.shared_pageblocks)} by several owners" if turned.shared_pageblocks else ""
    )
    if not turned.unstable_pageblocks:
        rests = "None rests on frames that changed while they were read."
    else:
        share = percent_text(share_percent(turned.unstable_pageblocks, turned.pageblocks))
        nr = count_text(turned.unstable_pageblocks)
        rests = f"{nr} ({share}) rest on frames that changed while they were read."
    yield f"Decided: {decided}{several}. {rests}"
    if not explained:
        yield DECIDES
    if turned.owners_left_out:
        yield f"{count_text(turned.owners_left_out)} more owners; --top shows more of them."
    if reader is not None and any(row.pid == reader for row in turned.owners):
        yield f"Process {reader} is vmprobe itself, at work for that snapshot."


def _owners(frames: FrameChanges) -> Iterator[Part]:
    if frames.changes:
        rows = tuple(
            (
                owner_text(row.from_kind, row.from_owner, row.from_pid),
                owner_text(row.to_kind, row.to_owner, row.to_pid),
                row.frames,
            )
            for row in frames.changes
        )
        columns = (Column("from", Kind.TEXT), Column("to", Kind.TEXT), Column("frames", Kind.COUNT))
        yield Grid("Frames that changed owner, unstable ones left out", columns, rows)
    if frames.changes_left_out:
        yield Note("", (f"{count_text(frames.changes_left_out)} more pairs; --top shows more of them.",))
    heads = (Column(SHORT.get(name, label), Kind.COUNT) for name, label in PRESENT.items())
    matrix = tuple(
        (label, *(frames.pageblocks[before][after] for after in PRESENT))
        for before, label in PRESENT.items()
        if any(frames.pageblocks[before].values())
    )
    yield Grid("Pageblocks by what they held, and hold now", (Column("held", Kind.TEXT), *heads), matrix)

"""One frame of a snapshot, as the whole model sees it: use, folio, pageblock, who maps it, can it move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kernelmodel.movability import (
    MOVABILITY_INFO,
    Movability,
    frame_movability,
    suspect_pins,
)
from kernelmodel.pageblock import CONTENT_NAMES, Content, pageblocks
from kernelmodel.pageclass import CLASS_INFO, PageClass, classify, inherit_from_head
from kernelmodel.pageflags import describe, mask
from kernelmodel.sharing.reason import REASON_INFO, Reason
from vmprobe.bridge.model import host_model
from vmprobe.bridge.resources import ram_ranges
from vmprobe.bridge.sharing import at_frame, facts_about, survey
from vmprobe.bridge.zones import block_type
from vmprobe.tables import Coded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.host import HostModel
    from kernelmodel.movability import MovabilityInfo
    from vmprobe.bridge.sharing import Survey
    from vmprobe.bridge.zones import BlockType
    from vmprobe.tables import Snapshot, Table

DIFFERENCES: Final = {
    **{reason: name for reason, (name, _) in REASON_INFO.items()},
    Reason.UNSTABLE: "unstable",
    Reason.UNEXPLAINED: "unexplained",
}
"""Name of each reason for which found and counted mappings differ."""

NOT_FOLIOS: Final = (PageClass.HOLE, PageClass.FREE)
"""Classes whose frames nobody has allocated."""


@dataclass(frozen=True)
class Mapping:
    """One page-table entry that leads to a frame; `vma` is None where no VMA of the list covers it."""

    mm: int
    vpn: int
    vma: int | None


@dataclass(frozen=True)
class Block:
    """The pageblock: half-open frames, log2 of their number, frames by content, and the whole in a word.

    Parameters
    ----------
    conditional
        How many of the movable frames can be moved only on a condition.
    inferred_type
        The likeliest migratetype, which no file tells; None where nothing lets it be guessed.
    """

    start_pfn: int
    end_pfn: int
    order: int
    free: int
    movable: int
    conditional: int
    unmovable: int
    unknown: int
    verdict: str
    inferred_type: BlockType | None


@dataclass(frozen=True)
class Span:
    """A zone whose span holds the frame, and how many frames behind its start the frame is."""

    node: int
    zone: str
    zone_offset_pages: int


@dataclass(frozen=True)
class Frame:
    """What the model knows of one frame; None for what it cannot know.

    Parameters
    ----------
    row
        Row in the frames table.
    class_name, meaning
        Its use and one line on that; None where its word could not be read.
    flags
        Names of the bits of its own word; None where that could not be read.
    head_pfn, nr_pages
        The folio: first frame and frames; None for a frame that is not allocated.
    free_block
        First frame and order of the free block; None for a frame that is not free.
    spans
        Zones whose span holds it; more than one where nodes interleave.
    block
        The pageblock; None where its order was not told.
    mappings
        Entries that lead to it, None without page tables; in no order.
    difference
        Why the kernel's map count and mappings differ; None where they do not, or one of them is not known.
    mechanisms
        Ways in which it is shared that the count does not tell: name, evidence in a word and in a sentence;
        None where map counts or page tables are missing.
    verdict, reason
        Whether it can be moved, and why or on which condition.
    """

    row: int
    class_name: str | None
    meaning: str | None
    flags: tuple[str, ...] | None
    head_pfn: int | None
    nr_pages: int | None
    free_block: tuple[int, int] | None
    spans: tuple[Span, ...]
    block: Block | None
    mappings: tuple[Mapping, ...] | None
    difference: str | None
    mechanisms: tuple[tuple[str, str, str], ...] | None
    verdict: str
    reason: str


def frame(
    snapshot: Snapshot,
    pfn: int,
    *,
    averaged: bool,
    trust_ksm: bool,
    unevictable_allowed: bool | None,
) -> Frame | None:
    """Return what the whole model knows of frame `pfn`; None where the host has no such frame.

    Parameters
    ----------
    snapshot
        With flag words.
    pfn
        Page frame number.
    averaged
        Whether its kernel prints averages for large folios (the quirk averaged-mapcounts).
    trust_ksm
        Whether the KSM bit means KSM on that kernel (the quirk ksm-on-all-anon).
    unevictable_allowed
        vm.compact_unevictable_allowed; None where it was not told.

    Raises
    ------
    SnapshotError
        The snapshot has no flag words, or the manifest's frame ranges do not cover the table.
    """
    model = host_model(snapshot, averaged=averaged)
    frames = model.frames
    row = int(frames.rows(np.array([pfn]))[0])
    if row < 0:
        return None
    codes = frame_movability(
        frames,
        ram_ranges(snapshot),
        unevictable_allowed=unevictable_allowed,
        nr_zspages=model.zspages,
    )
    known = frames.known is None or bool(frames.known[row])
    head_pfn, nr_pages = model.folios.find(pfn)
    word = _with_head(model, pfn, head_pfn)
    page_class = _class(word, codes[row], trust_ksm=trust_ksm) if known else None
    allocated = page_class is not None and page_class not in NOT_FOLIOS
    mappings = _mappings(model, pfn)
    surveyed = _survey(snapshot, model, trust_ksm=trust_ksm)
    info = _movability(model, row, codes[row], word, mappings)
    return Frame(
        row=row,
        class_name=None if page_class is None else CLASS_INFO[page_class].name,
        meaning=None if page_class is None else CLASS_INFO[page_class].meaning,
        flags=_names(int(frames.words[row])) if known else None,
        head_pfn=head_pfn if allocated else None,
        nr_pages=nr_pages if allocated else None,
        free_block=_free_block(model, pfn) if page_class is PageClass.FREE else None,
        spans=tuple(
            Span(zone.node, zone.zone, pfn - zone.start_pfn)
            for zone in model.zones
            if zone.start_pfn <= pfn < zone.end_pfn
        ),
        block=_block(model, codes, pfn, snapshot),
        mappings=mappings,
        difference=None if surveyed is None else DIFFERENCES.get(Reason(surveyed.ledger.reason[row])),
        mechanisms=None if surveyed is None else _mechanisms(surveyed, row),
        verdict=info.verdict.word,
        reason=info.reason,
    )


def _survey(snapshot: Snapshot, model: HostModel, *, trust_ksm: bool) -> Survey | None:
    """Return who shares what on the host; None where map counts or page tables are missing."""
    if model.tables is None or model.frames.mapcount is None:
        return None
    about = facts_about(
        snapshot,
        model.frames,
        model.tables,
        model.folios,
        model.unseen,
        averaged=model.averaged,
        ksm_trusted=trust_ksm,
    )
    return survey(about)


def _mechanisms(surveyed: Survey, row: int) -> tuple[tuple[str, str, str], ...]:
    found = at_frame(surveyed, row)
    return tuple((each.mechanism.value, each.certainty.word, each.note) for each in found)


def _with_head(model: HostModel, pfn: int, head_pfn: int) -> NDArray[np.uint64]:
    """Return the frame's word with its head's bits, as an array of one."""
    rows = model.frames.rows(np.array(sorted({head_pfn, pfn})))
    return inherit_from_head(model.frames.words[rows])[-1:]


def _class(word: NDArray[np.uint64], code: np.uint8, *, trust_ksm: bool) -> PageClass:
    if code == Movability.HOLE:
        return PageClass.HOLE
    return PageClass(classify(word, trust_ksm=trust_ksm)[0])


def _names(word: int) -> tuple[str, ...]:
    return tuple(describe(word).split("|")) if word else ()


def _mappings(model: HostModel, pfn: int) -> tuple[Mapping, ...] | None:
    if model.entries is None:
        return None
    vmas = model.entries.vmas
    return tuple(
        Mapping(int(vmas.mm[vma]), int(vmas.start_vpn[vma]) + offset, vma if vmas.listed[vma] else None)
        for vma, offset in model.entries.mappings_of(pfn)
    )


def _movability(
    model: HostModel,
    row: int,
    code: np.uint8,
    word: NDArray[np.uint64],
    mappings: tuple[Mapping, ...] | None,
) -> MovabilityInfo:
    """Refine the code of the word by the counts, where those are of one moment and of this page alone."""
    frames = model.frames
    large = bool(frames.words[row] & np.uint64(mask("COMPOUND_HEAD", "COMPOUND_TAIL")))
    if frames.mapcount is not None and not frames.unstable[row] and not (large and model.averaged):
        counted = frames.mapcount[row : row + 1].astype(np.int64)
        found = None if mappings is None else np.array([len(mappings)])
        code = suspect_pins(np.array([code]), word, counted, found)[0]
    return MOVABILITY_INFO[Movability(int(code))]


def _free_block(model: HostModel, pfn: int) -> tuple[int, int] | None:
    for zone, free in zip(model.zones, model.free, strict=True):
        at = int(np.searchsorted(free.start_pfn, pfn, side="right")) - 1
        if zone.start_pfn <= pfn < zone.end_pfn and at >= 0:
            return int(free.start_pfn[at]), int(free.order[at])
    return None


def _block(model: HostModel, codes: NDArray[np.uint8], pfn: int, snapshot: Snapshot) -> Block | None:
    order = snapshot.manifest["pageblock_order"]
    if order is None:
        return None
    blocks = pageblocks(model.frames, codes, order)
    row = blocks.row(pfn)
    free, yes, conditional, no, unknown = blocks.counts[row].tolist()
    start = int(blocks.start_pfn[row])
    return Block(
        start_pfn=start,
        end_pfn=start + (1 << order),
        order=order,
        free=free,
        movable=yes + conditional,
        conditional=conditional,
        unmovable=no,
        unknown=unknown,
        verdict=CONTENT_NAMES[Content(blocks.contents()[row])],
        inferred_type=block_type(snapshot, model, pfn),
    )


def cell(table: Table, column: str, row: int) -> Any:
    """Return one value of a large table as Python has it, None where null; nothing is decoded but that."""
    if not table.has(column) or (column in table.valid and not table.valid[column][row]):
        return None
    values = table.columns[column]
    if isinstance(values, Coded):
        return values.values[int(values.codes[row])]
    found = values[row : row + 1]
    return found.tolist()[0]

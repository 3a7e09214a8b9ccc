"""Small zones for the tests of compaction: pageblocks of 8 frames, largest block 16, frames of every kind.

`layout_of` draws a zone by letters, `layouts` is the strategy, `rng_layout` the same for loops that have to
make very many::

    .  free          a  anonymous    s  shmem        c  clean     d  dirty      e  unevictable
    o  movable ops   p  pinned       u  uncertain    x  fixed     ?  unknown    _  hole

A capital letter begins a large folio, and the frames that belong to it follow as ``-``: ``A---`` is an
anonymous folio of order 2. ``!`` does as ``-`` in a folio that cannot be split: ``D!!!``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from hypothesis import strategies as st

from kernelmodel.compaction.zone_layout import HEAD, TAIL, UNSPLITTABLE, Frame, ZoneLayout

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn, SearchStrategy

PAGEBLOCK_ORDER: Final = 3
NR_ORDERS: Final = 5
GRAIN: Final = 1 << (NR_ORDERS - 1)
LETTERS: Final = {
    ".": Frame.FREE, "a": Frame.ANON, "s": Frame.SHMEM, "c": Frame.CLEAN, "d": Frame.DIRTY,
    "e": Frame.UNEVICTABLE, "o": Frame.MOVABLE_OPS, "p": Frame.PINNED, "u": Frame.UNCERTAIN,
    "x": Frame.FIXED, "?": Frame.UNKNOWN, "_": Frame.HOLE, "h": Frame.HELD,
}  # fmt: skip
LARGE: Final = "ascdepux"
"""What comes as large folios too."""


def state_of(drawing: str) -> np.ndarray:
    """Return the bytes of a drawing; blanks only separate."""
    state: list[int] = []
    head = -1
    for letter in drawing.replace(" ", "").replace("\n", ""):
        if letter in "-!":
            state.append(state[head] & 0x0F | TAIL)
            if letter == "!":
                state[head] |= UNSPLITTABLE
            state[-1] |= state[head] & UNSPLITTABLE
        else:
            head = len(state)
            state.append(LETTERS[letter.lower()] | (HEAD if letter.isupper() else 0))
    return np.array(state, np.uint8)


def layout_of(
    drawing: str,
    *,
    base_pfn: int = 0,
    targets: list[bool] | None = None,
    pageblock_order: int = PAGEBLOCK_ORDER,
    nr_orders: int = NR_ORDERS,
    pcp_pages: int | None = None,
    wmark_min: int = 0,
) -> ZoneLayout:
    """Return the zone of a drawing, with holes behind it up to a whole largest block; checked."""
    grain = 1 << (nr_orders - 1)
    state = state_of(drawing)
    nr_frames = -(-len(state) // grain) * grain
    padded = np.full(nr_frames, Frame.HOLE, np.uint8)
    padded[: len(state)] = state
    allowed = np.ones(nr_frames >> pageblock_order, np.bool_) if targets is None else np.array(targets)
    zone = ZoneLayout(
        0, "Normal", base_pfn, base_pfn + len(state), base_pfn, padded, allowed,
        pageblock_order, nr_orders, pcp_pages, wmark_min,
    )  # fmt: skip
    zone.validate()
    return zone


def drawing_of(state: np.ndarray) -> str:
    """Return the drawing of bytes, for messages of failing tests."""
    by_kind = {int(kind): letter for letter, kind in LETTERS.items()}
    out = []
    for byte in state.tolist():
        letter = by_kind[byte & 0x0F]
        if byte & TAIL:
            letter = "!" if byte & UNSPLITTABLE else "-"
        out.append(letter.upper() if byte & HEAD else letter)
    return "".join(out)


@st.composite
def drawings(draw: DrawFn, nr_frames: int, letters: str = "".join(LETTERS), max_order: int = 4) -> str:
    """Draw a zone of `nr_frames` frames from pieces: a free or used run, or a naturally aligned folio."""
    drawing = ""
    while len(drawing) < nr_frames:
        letter = draw(st.sampled_from(letters))
        left = nr_frames - len(drawing)
        if max_order and letter in LARGE and draw(st.booleans()):
            order = draw(st.integers(1, max_order))
            while len(drawing) % (1 << order) or 1 << order > left:
                order -= 1
            if order:
                tail = "!" if letter == "d" and draw(st.booleans()) else "-"
                drawing += letter.upper() + tail * ((1 << order) - 1)
                continue
        drawing += letter * min(draw(st.integers(1, 6)), left)
    return drawing


@st.composite
def _layouts(draw: DrawFn, max_blocks: int, letters: str, max_order: int) -> ZoneLayout:
    nr_frames = GRAIN * draw(st.integers(1, max_blocks))
    before, behind = draw(st.integers(0, GRAIN - 1)), draw(st.integers(0, GRAIN - 1))
    if before + behind >= nr_frames or draw(st.booleans()):
        before = behind = 0
    whole = draw(drawings(nr_frames, letters, max_order))
    # A folio is not cut by the end of its zone: what would be cut is a hole as a whole.
    state = state_of(whole)
    folio = np.maximum.accumulate(np.where(state & TAIL, 0, np.arange(nr_frames)))
    inside = np.arange(nr_frames)
    outside = (inside < before) | (inside >= nr_frames - behind)
    state[np.isin(folio, folio[outside])] = Frame.HOLE
    nr_pageblocks = nr_frames >> PAGEBLOCK_ORDER
    base_pfn = GRAIN * draw(st.integers(0, 5))
    unknown = int((state & 0x0F == Frame.UNKNOWN).sum())
    zone = ZoneLayout(
        0, "Normal", base_pfn + before, base_pfn + nr_frames - behind, base_pfn, state,
        np.array(draw(st.lists(st.booleans(), min_size=nr_pageblocks, max_size=nr_pageblocks)), np.bool_),
        PAGEBLOCK_ORDER, NR_ORDERS, draw(st.sampled_from([None, 0, unknown // 2, unknown])),
        draw(st.sampled_from([0, 0, 3])),
    )  # fmt: skip
    zone.validate()
    return zone


def layouts(
    *, max_blocks: int = 6, letters: str = "." * 6 + "".join(LETTERS) + "aacc", max_order: int = 4
) -> SearchStrategy[ZoneLayout]:
    """Return the strategy of zones of 16 to ``16 * max_blocks`` frames.

    Parameters
    ----------
    letters
        What to draw from; a letter that comes twice comes twice as often.
    max_order
        Largest order of a folio; 0 for single pages only.
    """
    return _layouts(max_blocks, letters, max_order)


def rng_layout(
    rng: np.random.Generator, nr_frames: int, kinds: tuple[Frame, ...], weights: tuple[float, ...]
) -> ZoneLayout:
    """Return a zone of single pages, each of a kind drawn by weight; `nr_frames` whole largest blocks."""
    share = np.array(weights) / sum(weights)
    state = rng.choice(np.array(kinds, np.uint8), nr_frames, p=share)
    nr_orders = 5 if nr_frames % 16 == 0 else 1 + (nr_frames & -nr_frames).bit_length() - 1
    pageblock_order = min(PAGEBLOCK_ORDER, nr_orders - 1)
    targets = np.ones(nr_frames >> pageblock_order, np.bool_)
    return ZoneLayout(
        0,
        "Normal",
        0,
        nr_frames,
        0,
        state,
        targets,
        pageblock_order,
        nr_orders,
        None,
        int(rng.integers(0, 3)),
    )

"""/proc/pagetypeinfo: free blocks and pageblocks per migratetype.

Each node with memory prints the whole again, headers included::

    Page block order: 9
    Pages per block:  512

    Free pages count per migrate type at order       0      1 ...
    Node    0, zone      DMA, type    Unmovable      0      1 ...

    Number of blocks type     Unmovable      Movable ...
    Node 0, zone      DMA            1            7 ...

    Number of mixed blocks    Unmovable      Movable ...        (page_owner=on only)
    Node 0, zone      DMA            0            0 ...

Kernel source: ``mm/vmstat.c: pagetypeinfo_show`` and what it calls, ``mm/page_owner.c:
pagetypeinfo_showmixedcount_print``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from vmprobe.formats.lines import U32_LAST, Line, empty, ends_early, lines

_ORDER: Final = "Page block order:"
_PAGES: Final = "Pages per block:"
_FREE: Final = "Free pages count per migrate type at order"
_BLOCKS: Final = "Number of blocks type"
_MIXED: Final = "Number of mixed blocks"
_TYPE: Final = re.compile(r", type +([^ ]+) (.*)")


class TypeRow(NamedTuple):
    """Free blocks of one migratetype in one zone.

    Parameters
    ----------
    node, zone, migratetype
        As the kernel spells them.
    nr_free
        Free blocks of 2**order pages at index order.
    capped
        Where the kernel stopped counting: it printed ``>100000``, so `nr_free` is a lower bound.
    """

    node: int
    zone: str
    migratetype: str
    nr_free: tuple[int, ...]
    capped: tuple[bool, ...]


class BlockRow(NamedTuple):
    """Pageblocks of one migratetype in one zone."""

    node: int
    zone: str
    migratetype: str
    nr_pageblocks: int


class PageTypeInfo(NamedTuple):
    """The whole file, all nodes together.

    Parameters
    ----------
    pageblock_order, pages_per_block
        A pageblock is 2**pageblock_order = pages_per_block pages.
    free_areas
        Free lists; a row per node, zone and migratetype.
    pageblocks
        Pageblocks by the type they are marked with.
    mixed
        Of those, the ones that hold pages of another type; empty unless the kernel runs with page_owner=on.
    """

    pageblock_order: int
    pages_per_block: int
    free_areas: list[TypeRow]
    pageblocks: list[BlockRow]
    mixed: list[BlockRow]


@dataclass
class _State:
    """What was read so far and what the header above the current line promised."""

    order: int | None = None
    pages: int | None = None
    section: str = ""
    columns: tuple[str, ...] = ()
    free: dict[tuple[int, str, str], TypeRow] = field(default_factory=dict)
    blocks: dict[tuple[int, str, str], BlockRow] = field(default_factory=dict)
    mixed: dict[tuple[int, str, str], BlockRow] = field(default_factory=dict)


def parse(data: bytes, *, file: str = "pagetypeinfo") -> PageTypeInfo:
    """Return free areas and pageblocks of all nodes.

    Orders and migratetypes are read from the headers: CMA and Isolate are there or not.

    Raises
    ------
    FormatError
        A line is malformed or out of place, its columns are not those of its header, nodes disagree on the
        pageblock, something comes twice, or a part is missing.
    """
    state = _State()
    last = None
    for last in lines(data, file):
        if last.text:
            _read(state, last)
    if last is None:
        raise empty(file)
    if state.order is None or state.pages is None or not state.free or not state.blocks:
        raise ends_early(last, "free areas and pageblocks")
    return PageTypeInfo(
        state.order,
        state.pages,
        list(state.free.values()),
        list(state.blocks.values()),
        list(state.mixed.values()),
    )


def _read(state: _State, line: Line) -> None:
    """Take one line that is not blank."""
    text = line.text
    if text.startswith("Node"):
        _ROWS.get(state.section, _out_of_place)(state, line)
    elif text.startswith(_ORDER):
        order = line.unsigned(text.removeprefix(_ORDER).strip(), "a pageblock order", 63)
        if state.order not in (None, order):
            raise line.error(f"expected order {state.order} on every node")
        state.order, state.section = order, ""
    elif text.startswith(_PAGES):
        state.pages = line.unsigned(text.removeprefix(_PAGES).strip(), "pages per pageblock")
        if state.order is None or state.pages != 1 << state.order:
            raise line.error("expected 2**order pages per pageblock")
    elif text.startswith(_FREE):
        state.section, state.columns = _FREE, tuple(text.removeprefix(_FREE).split())
        if not state.columns or state.columns != tuple(map(str, range(len(state.columns)))):
            raise line.error("expected the orders 0, 1, 2, ...")
    else:
        _read_types(state, line)


def _read_types(state: _State, line: Line) -> None:
    """Take the header of a table that has a column per migratetype."""
    for header in (_BLOCKS, _MIXED):
        if line.text.startswith(header + " "):
            state.section, state.columns = header, tuple(line.text.removeprefix(header).split())
            if not state.columns or len(set(state.columns)) != len(state.columns):
                raise line.error("expected each migratetype once")
            return
    raise line.error("expected a header or a zone")


def _read_free(state: _State, line: Line) -> None:
    """Take a row of the free areas."""
    node, zone, rest = line.zone()
    match = _TYPE.fullmatch(rest)
    if match is None:
        raise line.error("expected `, type NAME` and counts")
    words = match[2].split()
    if len(words) != len(state.columns):
        raise line.error(f"expected {len(state.columns)} orders, found {len(words)}")
    key = (node, zone, match[1])
    if key in state.free:
        raise line.error("expected each migratetype of a zone once")
    state.free[key] = TypeRow(
        *key,
        tuple(line.unsigned(word.removeprefix(">"), "a number of blocks") for word in words),
        tuple(word.startswith(">") for word in words),
    )


def _read_blocks(state: _State, line: Line) -> None:
    """Take a row of the pageblocks, all of them or the mixed ones."""
    node, zone, rest = line.zone()
    counts = [line.unsigned(word, "a number of pageblocks", U32_LAST) for word in rest.split()]
    if len(counts) != len(state.columns):
        raise line.error(f"expected {len(state.columns)} migratetypes, found {len(counts)}")
    rows = state.blocks if state.section == _BLOCKS else state.mixed
    if (node, zone, state.columns[0]) in rows:
        raise line.error("expected each zone once")
    for migratetype, nr_pageblocks in zip(state.columns, counts, strict=True):
        rows[node, zone, migratetype] = BlockRow(node, zone, migratetype, nr_pageblocks)


def _out_of_place(state: _State, line: Line) -> None:
    del state
    raise line.error("expected a header above the first zone")


_ROWS: Final = {_FREE: _read_free, _BLOCKS: _read_blocks, _MIXED: _read_blocks}

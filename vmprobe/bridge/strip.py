"""The pageblocks of each zone side by side: what each holds, who keeps it and who uses it; and every frame.

::

    node 0 zone Normal, first_pfn 1048576
    content    0 0 1 1 2 1 4 6      an index in CONTENTS each
    free     512 512 40 3 511 0 0 0 pages
    stays      0 0 0 0 1 0 512 0
    absent     0 0 0 0 0 0 0 512    no memory there

Mirrors: nothing; the kernel draws no map.
Fidelity: as `kernelmodel.pageblock` and `kernelmodel.holder`. A pageblock that two zones share is whole in
both strips.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from kernelmodel.blockers import Windows, windows
from kernelmodel.compaction.zone_layout import KIND_MASK, Frame
from kernelmodel.holder import Holder
from kernelmodel.movability import Movability
from vmprobe.bridge.frag import pageblock_order
from vmprobe.bridge.frag_frames import ABSENT, CONTENTS
from vmprobe.bridge.page_kinds import HOLE, PAGE_KIND_VERDICTS, PAGE_KINDS, row_kinds
from vmprobe.bridge.standing import standing
from vmprobe.bridge.strip_owners import MapOwner, ownership

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from kernelmodel.compaction.result import Outcome
    from kernelmodel.compaction.zone_layout import ZoneLayout
    from kernelmodel.host import ZoneSpan
    from vmprobe.bridge.standing import Standing
    from vmprobe.bridge.strip_owners import Ownership
    from vmprobe.tables import Snapshot

__all__ = [
    "CONTENTS",
    "PAGE_KINDS",
    "PAGE_KIND_VERDICTS",
    "MapOwner",
    "Strips",
    "ZonePages",
    "ZoneStrip",
    "page_kinds",
    "pageblock_order",
    "strips",
    "strips_after",
    "strips_of_layouts",
]

Counts = np.ndarray[Any, np.dtype[np.uint16]]

NEW_TAGS: Final = np.array(
    [
        Movability.FREE, Movability.ANON, Movability.SHMEM, Movability.FILE, Movability.DIRTY,
        Movability.UNEVICTABLE, Movability.MOVABLE_OPS, Movability.HELD, Movability.HELD, Movability.SLAB,
        Movability.UNKNOWN, Movability.HOLE, Movability.HELD,
    ],
    np.uint8,
)  # fmt: skip
"""What a frame is called that became a `Frame`, by that."""


@dataclass(frozen=True, eq=False)
class ZoneStrip:
    """The pageblocks of one zone, from the one that holds its first frame to the one that holds its last.

    Parameters
    ----------
    node, zone
        Which zone.
    first_pfn
        First frame of the first pageblock; the zone itself may begin behind it.
    content
        uint8, of each pageblock: an index in `CONTENTS`.
    free, stays, unknown, absent
        uint16, pages of each that are free, that stay, of which that is not known, and that have no memory;
        the others can move.
    owner
        int32, who holds most of the pages that stay: an index in the map's owners, -1 where none stays.
    user
        int32, who uses most of the pages in use, -1 where none is.
    of_owner
        uint16, pages of the owner that was asked for; None where none was.
    """

    node: int
    zone: str
    first_pfn: int
    content: NDArray[np.uint8]
    free: Counts
    stays: Counts
    unknown: Counts
    absent: Counts
    owner: NDArray[np.int32]
    user: NDArray[np.int32]
    of_owner: Counts | None

    def __len__(self) -> int:
        return len(self.content)


@dataclass(frozen=True, eq=False)
class ZonePages:
    """The frames of one zone's pageblocks.

    Parameters
    ----------
    node, zone, first_pfn
        As of `ZoneStrip`.
    kinds
        uint8, of each frame: an index in `PAGE_KINDS`; whole pageblocks.
    """

    node: int
    zone: str
    first_pfn: int
    kinds: NDArray[np.uint8]


class Strips(NamedTuple):
    """The strips of a host.

    Parameters
    ----------
    found
        The frames that they were made of.
    zones
        In the order of the zones table.
    owners
        Who holds and uses most of some pageblock.
    """

    found: Standing
    zones: tuple[ZoneStrip, ...]
    owners: tuple[MapOwner, ...]


def strips(
    snapshot: Snapshot,
    block_order: int,
    *,
    mms: Collection[int] | None = None,
    inodes: Collection[int] | None = None,
) -> Strips:
    """Return the pageblocks of every zone that has memory.

    Parameters
    ----------
    snapshot
        With flag words.
    block_order
        Order of a pageblock.
    mms, inodes
        Address spaces, or cgroups, whose pages are counted in each pageblock.

    Raises
    ------
    SnapshotError
        The snapshot has no flag words, or the manifest's frame ranges do not cover the table.
    """
    found = standing(snapshot)
    blocks = windows(found.memmap, found.tags, block_order)
    kinds = row_kinds(found.memmap, found.tags)
    owned = ownership(snapshot, found, kinds, blocks, inodes=frozenset(inodes or ()))
    nr_blocks = len(blocks)
    owner, user = owned.holds.most(nr_blocks), owned.uses.most(nr_blocks)
    owners, owner, user = _named(snapshot, owned, owner, user)
    of_owner = None
    if mms is not None:
        of_owner = owned.uses.pages_of(owned.used_by_spaces(mms), nr_blocks)
    elif inodes is not None:
        of_owner = owned.charged
    zones = [_strip(zone, blocks, owner, user, of_owner) for zone in found.zones]
    return Strips(found, tuple(zones), owners)


def strips_after(found: Standing, outcomes: Sequence[Outcome], block_order: int) -> tuple[ZoneStrip, ...]:
    """Return the strips of the same host after a strategy of compaction; nobody is named in them.

    Parameters
    ----------
    found
        The frames.
    outcomes
        What the strategy comes to on each zone (`vmprobe.bridge.compact.run`).
    block_order
        Order of a pageblock.
    """
    blocks = windows(found.memmap, _tags_after(found, outcomes), block_order)
    nobody = np.full(len(blocks), -1, np.int64)
    return tuple(_strip(zone, blocks, nobody, nobody, None) for zone in found.zones)


def _tags_after(found: Standing, outcomes: Sequence[Outcome]) -> NDArray[np.uint8]:
    """Return the tag of each row after all moves: what moves stays what it is."""
    tags = found.tags.copy()
    for outcome in outcomes:
        source, destination = (found.memmap.rows(pfn) for pfn in outcome.moves.frames())
        tags[destination] = found.tags[source]
        tags[source] = Movability.FREE
        tags[found.memmap.rows(outcome.evicted_pfn)] = Movability.FREE
        if outcome.held_back_pages:
            unknown = np.flatnonzero(outcome.after & KIND_MASK == Frame.UNKNOWN)
            rows = found.memmap.rows(unknown + outcome.before.base_pfn)
            tags[rows[tags[rows] == Movability.FREE]] = Movability.UNKNOWN
    return tags


def strips_of_layouts(
    found: Standing, layouts: Sequence[ZoneLayout], block_order: int
) -> tuple[ZoneStrip, ...]:
    """Return the strips of some zones of the same host with other contents; nobody is named in them.

    Parameters
    ----------
    found
        The frames as the snapshot has them.
    layouts
        The zones as they are now. A frame that is to compaction what it was keeps what is known of it.
    block_order
        Order of a pageblock.
    """
    tags = found.tags.copy()
    before = _moves(tags)
    for layout in layouts:
        frames = np.flatnonzero(layout.kinds != Frame.HOLE)
        rows = found.memmap.rows(frames + layout.base_pfn)
        now = NEW_TAGS[layout.kinds[frames]]
        changed = _moves(now) != before[rows]
        tags[rows[changed]] = now[changed]
    blocks = windows(found.memmap, tags, block_order)
    nobody = np.full(len(blocks), -1, np.int64)
    names = {(layout.node, layout.zone) for layout in layouts}
    return tuple(
        _strip(zone, blocks, nobody, nobody, None) for zone in found.zones if (zone.node, zone.zone) in names
    )


def _moves(tags: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return of each tag whether it is free (0), can move (1) or neither (2)."""
    movable = (tags >= Movability.ANON) & (tags <= Movability.MOVABLE_OPS)
    return np.where(tags == Movability.FREE, 0, np.where(movable, 1, 2)).astype(np.uint8)


def _named(
    snapshot: Snapshot, owned: Ownership, *each: NDArray[np.int64]
) -> tuple[tuple[MapOwner, ...], NDArray[np.int64], NDArray[np.int64]]:
    """Return those who appear in `each`, and `each` as indices of them."""
    name = owned.namer(snapshot)
    listed, index = np.unique(np.concatenate(each), return_inverse=True)
    places: dict[MapOwner, int] = {}
    of_listed = [-1 if who < 0 else places.setdefault(name(who), len(places)) for who in listed.tolist()]
    found = np.array(of_listed, np.int64)[index]
    half = len(each[0])
    return tuple(places), found[:half], found[half:]


def _strip(
    zone: ZoneSpan,
    blocks: Windows,
    owner: NDArray[np.int64],
    user: NDArray[np.int64],
    of_owner: NDArray[np.int64] | None,
) -> ZoneStrip:
    """Lay the pageblocks of one zone side by side; one without any frame is absent."""
    first = zone.start_pfn >> blocks.order
    nr = -(-zone.end_pfn >> blocks.order) - first
    mine = blocks.touching(zone.start_pfn, zone.end_pfn)
    at = (blocks.start_pfn[mine] >> blocks.order) - first
    among = blocks.chosen(mine)
    content = among.pageblocks().contents()
    content[among.empty] = CONTENTS.index(ABSENT)
    size = np.uint16 if blocks.order < 16 else np.uint32

    def laid(values: NDArray[Any], dtype: type[np.generic], absent: int = 0) -> NDArray[Any]:
        line = np.full(nr, absent, dtype)
        line[at] = values
        return line

    return ZoneStrip(
        node=zone.node,
        zone=zone.zone,
        first_pfn=first << blocks.order,
        content=laid(content, np.uint8, CONTENTS.index(ABSENT)),
        free=laid(among.free, size),
        stays=laid(among.held[:, : Holder.UNKNOWN].sum(axis=1), size),
        unknown=laid(among.held[:, Holder.UNKNOWN], size),
        absent=laid(among.counts[:, Movability.HOLE], size, 1 << blocks.order),
        owner=laid(owner[mine], np.int32, -1),
        user=laid(user[mine], np.int32, -1),
        of_owner=None if of_owner is None else laid(of_owner[mine], size),
    )


def page_kinds(snapshot: Snapshot, *, found: Standing | None = None) -> tuple[ZonePages, ...]:
    """Return what every frame is.

    Parameters
    ----------
    snapshot
        With flag words.
    found
        Its frames, where the caller has them.

    Raises
    ------
    SnapshotError
        As for `strips`.
    """
    found = standing(snapshot) if found is None else found
    kinds = row_kinds(found.memmap, found.tags)
    order = pageblock_order(snapshot)
    made = []
    for zone in found.zones:
        first, end = zone.start_pfn >> order << order, -(-zone.end_pfn >> order) << order
        laid = np.full(end - first, HOLE, np.uint8)
        found.memmap.lay_out(kinds, laid, first, (first, end))
        made.append(ZonePages(zone.node, zone.zone, first, laid))
    return tuple(made)

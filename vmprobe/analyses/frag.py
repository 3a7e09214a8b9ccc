"""``vmprobe frag``: what is free, how fragmented it is, and who stands in the way of larger blocks.

Without frames the free lists still answer the first two questions.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from vmprobe.analyses.evidence import FILES, Evidence, why_missing
from vmprobe.analyses.frag_answer import Frag, Held, Kcompactd, NodeScore, ZoneRow
from vmprobe.analyses.show import MissingPart
from vmprobe.bridge.frag import (
    ZoneMemory,
    compaction_hpage_order,
    contiguity,
    fragmentation_score_node,
    indices,
    pageblock_order,
    wmarks,
)
from vmprobe.bridge.obtainable import free_lists
from vmprobe.errors import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmprobe.bridge.blockers import Blockers
    from vmprobe.bridge.frag_frames import Framed, ZoneFrames
    from vmprobe.tables import Snapshot

    Key = tuple[int, str]

SIZES: Final = ("present_pages", "managed_pages", "pcp_pages", "wmark_min")
FRAMES: Final = ("frames", "kpageflags")


def frag(snapshot: Snapshot, *, top: int | None = None) -> Frag:
    """Return how fragmented the memory of a host is.

    Parameters
    ----------
    snapshot
        With free lists or with frames.
    top
        Most owners to list; None for all.

    Raises
    ------
    SnapshotError
        It has neither.
    """
    evidence = Evidence(snapshot)
    lists, sizes = free_lists(snapshot), _sizes(snapshot)
    if lists is None and not evidence.has_flags:
        reasons = (why_missing(snapshot, *what) for what in (("free_areas", "buddyinfo"), FRAMES))
        raise SnapshotError(
            snapshot.path or "snapshot",
            f"neither free lists nor frames: {'; '.join(dict.fromkeys(reasons))}",
        )
    hpage_order = compaction_hpage_order(snapshot.page_size)
    block_order = pageblock_order(snapshot)
    found = _framed(snapshot, block_order) if evidence.has_flags else None
    framed = {} if found is None else found.zones
    blocked = None if found is None else found.blocked
    memory = _memory(lists, sizes, framed)
    nodes = _scores(memory, hpage_order)
    owners = None if blocked is None else blocked.owners[:top]
    return Frag(
        page_size=snapshot.page_size,
        pageblock_order=block_order,
        zones=tuple(_zone(key, memory[key], sizes.get(key), framed.get(key)) for key in memory),
        blockers=None if blocked is None else blocked.kinds,
        owners=owners,
        owners_left_out=0 if blocked is None or owners is None else len(blocked.owners) - len(owners),
        held=None if blocked is None else _held(blocked),
        contiguity=contiguity(snapshot, memory, None if found is None else partial(found.potential, memory)),
        score_order=hpage_order,
        nodes=nodes,
        score_percent=None if nodes is None else max((node.score_percent for node in nodes), default=None),
        kcompactd=_kcompactd(evidence),
        missing=tuple(_missing(evidence, lists=lists is not None, score=nodes is not None, blocked=blocked)),
    )


def _framed(snapshot: Snapshot, block_order: int) -> Framed | None:
    """Return what the frames say; None where no zone has a place, and so no pageblock is anybody's."""
    from vmprobe.bridge.frag_frames import framed  # noqa: PLC0415 - free lists alone are told in a wink

    found = framed(snapshot, block_order)
    return found if found.zones else None


def _sizes(snapshot: Snapshot) -> dict[Key, dict[str, int | None]]:
    """Return the sizes of zones that have memory, in the order of the table."""
    if not snapshot.has("zones"):
        return {}
    rows = snapshot.table("zones").rows("node", "zone", *SIZES)
    return {(node, zone): dict(zip(SIZES, values, strict=True)) for node, zone, *values in rows if values[0]}


def _memory(
    lists: dict[Key, tuple[int, ...]] | None,
    sizes: dict[Key, dict[str, int | None]],
    framed: Iterable[Key],
) -> dict[Key, ZoneMemory]:
    """Return what is known of each zone that any source knows of."""
    keys = dict.fromkeys([*sizes, *(lists or {}), *framed])
    made = {}
    for key in keys:
        size = sizes.get(key, dict.fromkeys(SIZES))
        nr_free = None if lists is None else lists.get(key)
        made[key] = ZoneMemory(size["present_pages"], size["pcp_pages"], size["wmark_min"], nr_free)
    return made


def _zone(
    key: Key, memory: ZoneMemory, size: dict[str, int | None] | None, framed: ZoneFrames | None
) -> ZoneRow:
    nr_free = memory.nr_free
    found = None if nr_free is None else indices(nr_free)
    present, managed = (None, None) if size is None else (size["present_pages"], size["managed_pages"])
    return ZoneRow(
        *key,
        free_pages=None if nr_free is None else sum(nr << order for order, nr in enumerate(nr_free)),
        pcp_pages=memory.pcp_pages,
        free_blocks=nr_free,
        unusable_permille=None if found is None else found.unusable_permille,
        fragmentation_permille=None if found is None else found.fragmentation_permille,
        extfrag_percent=None if found is None else found.extfrag_percent,
        pageblocks=None if framed is None else framed.contents,
        rebuilt_free_blocks=None if framed is None else framed.rebuilt,
        frames_agree=None if framed is None else framed.status,
        unknown_pages=None if framed is None else framed.unknown_pages,
        unmanaged_pages=None if present is None or managed is None else present - managed,
    )


def _scores(memory: dict[Key, ZoneMemory], order: int) -> tuple[NodeScore, ...] | None:
    """Return the score of each node; None where the size or a free list of any zone is missing."""
    nodes: dict[int, list[tuple[int, tuple[int, ...]]]] = {}
    for (node, _), zone in memory.items():
        if zone.present_pages is None or zone.nr_free is None:
            return None
        nodes.setdefault(node, []).append((zone.present_pages, zone.nr_free))
    return tuple(NodeScore(node, fragmentation_score_node(zones, order)) for node, zones in nodes.items())


def _kcompactd(evidence: Evidence) -> Kcompactd | None:
    proactiveness = evidence.counters.get(("sysctl", "vm", "compaction_proactiveness"))
    if proactiveness is None:
        return None
    marks = wmarks(proactiveness)
    low, high = (None, None) if marks is None else marks
    return Kcompactd(proactiveness, low, high)


def _held(blocked: Blockers) -> Held:
    return Held(
        blocked.pageblocks,
        blocked.held_pageblocks,
        blocked.trapped_free_pages,
        blocked.pins,
        blocked.pins_located,
        blocked.pins_unlocated,
    )


def _missing(evidence: Evidence, *, lists: bool, score: bool, blocked: Blockers | None) -> list[MissingPart]:
    snapshot = evidence.snapshot
    parts = []
    if not lists:
        parts.append(MissingPart("free lists", why_missing(snapshot, "free_areas", "buddyinfo")))
    if not snapshot.has("zones"):
        parts.append(MissingPart("sizes of zones", why_missing(snapshot, "zones", "zoneinfo")))
    if not score:
        parts.append(MissingPart("score", "it takes free lists and present pages of every zone"))
    if ("sysctl", "vm", "compaction_proactiveness") not in evidence.counters:
        parts.append(MissingPart("kcompactd", "vm.compaction_proactiveness is not in this snapshot"))
    if blocked is None:
        what = "pageblocks, blockers, what compaction could give"
        parts.append(MissingPart(what, _why_not_framed(evidence)))
        return parts
    parts += missing_names(snapshot)
    if blocked.pins is None:
        parts.append(MissingPart("pins", "vmstat does not count them in this snapshot"))
    return parts


def _why_not_framed(evidence: Evidence) -> str:
    if not evidence.has_flags:
        return why_missing(evidence.snapshot, *FRAMES)
    if not evidence.snapshot.has("zones"):
        return f"zones: {why_missing(evidence.snapshot, 'zones', 'zoneinfo')}"
    return "zones: where they begin is not in this snapshot"


def missing_names(snapshot: Snapshot) -> list[MissingPart]:
    """Return what of pageblocks and their owners the snapshot does not have, and why."""
    parts = []
    if snapshot.manifest.get("pageblock_order") is None:
        reason = why_missing(snapshot, "pageblocks_by_type", "pagetypeinfo")
        parts.append(MissingPart("order of a pageblock", f"{reason}; taken for that of a huge page"))
    null = snapshot.manifest.get("tables", {}).get("frames", {}).get("null_columns", {})
    if "memcg" in null:
        parts.append(MissingPart("cgroups", f"kpagecgroup: {null['memcg']}; kernel memory has no names"))
    tables = [table for table in FILES if not snapshot.has(table)]
    if tables:
        reason = why_missing(snapshot, tables[0], FILES[tables[0]])
        parts.append(MissingPart("processes", f"{reason}; what they hold has no names"))
    elif not snapshot.table("mappings", ("pfn",)).has("pfn"):
        parts.append(MissingPart("processes", "frame numbers are hidden; what they hold has no names"))
    return parts

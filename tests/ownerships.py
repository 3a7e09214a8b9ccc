"""Two snapshots' frames, held against the oracle that looks at one at a time (`tests.oracles.diff`)."""

from __future__ import annotations

from dataclasses import replace

from kernelmodel.pageblock import CONTENT_NAMES, Content
from tests.oracles import diff as oracle
from tests.oracles.diff import Frame
from vmprobe.bridge.address_spaces import Member
from vmprobe.bridge.diff import FrameDiff, Owner, Ownership, Turn
from vmprobe.bridge.ownership import Rank

Host = dict[int, Frame]


def told(found: Turn) -> oracle.Turn:
    owners = {row.owner.kind: tuple(row[1:5]) for row in found.owners}
    return oracle.Turn(
        found.pageblocks, found.by_staying, found.by_moving, found.by_unknown, found.shared, found.unstable,
        owners,  # type: ignore[arg-type]
    )  # fmt: skip


def check(found: FrameDiff, then: Host, now: Host, order: int, zones: tuple[tuple[int, int], ...]) -> None:
    """Hold what was found against the oracle."""
    both = then.keys() & now.keys()
    then, now = ({pfn: host[pfn] for pfn in both} for host in (then, now))
    blocks = sorted({pfn >> order for pfn in both})
    inside = [
        block
        for block in blocks
        if not zones or any(s <= block << order and block + 1 << order <= e for s, e in zones)
        if all(f.rank != "absent" for host in (then, now) for f in oracle.frames_of(host, block, order))
    ]
    matrix = oracle.contents(then, now, order)
    assert {
        (CONTENT_NAMES[a], CONTENT_NAMES[b]): int(found.contents[a, b])
        for a in Content
        for b in Content
        if found.contents[a, b]
    } == matrix
    assert told(found.broken) == oracle.turn(then, now, inside, order, "free")
    assert told(found.held) == oracle.turn(then, now, inside, order, "movable only")
    assert told(found.freed) == oracle.turn(now, then, inside, order, "free")
    assert told(found.released) == oracle.turn(now, then, inside, order, "movable only")
    went, unstable = oracle.changes(then, now)
    assert {(row.old.kind, row.new.kind): row.frames for row in found.changes} == went
    assert (found.frames, found.changed, found.unstable) == (len(both), went.total(), unstable)
    for turned, host in ((found.broken, now), (found.held, now), (found.freed, then), (found.released, then)):
        for row in turned.owners:
            assert row.example_pfns
            assert {host[pfn].owner for pfn in row.example_pfns} == {row.owner.kind}
        # Each pageblock counts once: under who decided it alone, or among the shared ones.
        alone = sum(row.alone_pageblocks for row in turned.owners)
        assert turned.pageblocks == alone + turned.shared
        assert turned.pageblocks == turned.by_staying + turned.by_moving + turned.by_unknown


def slowly(whose: Ownership) -> Host:
    """Return a host for the oracle; owners of both snapshots are the same text if they are the same."""
    pfns = [pfn for start, end in whose.ranges.tolist() for pfn in range(start, end)]
    names = []
    for owner in whose.owners:
        start = min(owner.members, default=Member(0, 0))
        names.append(f"{owner.kind}/{start if owner.members else owner.key}")
    return {
        pfn: Frame(names[whose.owner_of[code]], Rank(int(whose.rank_of[code])).name.lower(), unstable)
        for pfn, code, unstable in zip(pfns, whose.codes.tolist(), whose.unstable.tolist(), strict=True)
    }


def by_kind(found: FrameDiff) -> FrameDiff:
    """Return the answer with owners called as `slowly` calls them."""

    def name(owner: Owner) -> Owner:
        start = min(owner.members, default=None)
        return Owner(f"{owner.kind}/{start or owner.key}")

    def turn(turned: Turn) -> Turn:
        return replace(turned, owners=tuple(row._replace(owner=name(row.owner)) for row in turned.owners))

    return replace(
        found,
        broken=turn(found.broken), held=turn(found.held), freed=turn(found.freed),
        released=turn(found.released),
        changes=tuple(row._replace(old=name(row.old), new=name(row.new)) for row in found.changes),
    )  # fmt: skip

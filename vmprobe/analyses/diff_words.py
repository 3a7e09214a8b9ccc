"""What changed between two snapshots, in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmprobe.bridge.frag import compaction_hpage_order
from vmprobe.units import count_text, seconds_text

if TYPE_CHECKING:
    from vmprobe.analyses.diff_answer import Diff
    from vmprobe.analyses.diff_frames import OwnerRow, Turned

NAMED: Final = 3
"""Owners that the sentence names."""

_OF: Final = {
    "process": "",
    "cgroup": "kernel memory of ",
    "page tables": "page tables of ",
    "pinned": "pages pinned by ",
    "page cache": "page cache of ",
    "shared memory": "shared memory of ",
    "anonymous": "unmapped anonymous pages of ",
    "kernel": "",
    "unknown": "pages of ",
}
"""How the kinds of owners that have names are put before them."""
_NAMELESS: Final = {
    "process": "a process that is not listed",
    "pinned": "pinned pages",
    "anonymous": "anonymous pages that nobody maps",
}


def owner_text(kind: str, owner: str | None, pid: int | None) -> str:
    """Return an owner in words; of the path of a cgroup its last part.

    >>> owner_text("process", "python3", 4711), owner_text("page cache", "/system.slice/a.service", None)
    ('python3 4711', 'page cache of a.service')
    >>> owner_text("slab", None, None), owner_text("process", None, None)
    ('slab', 'a process that is not listed')
    """
    if pid is not None:
        return f"{_OF.get(kind, '')}{owner or '?'} {pid}"
    if owner is None:
        return _NAMELESS.get(kind, kind)
    last = owner.rstrip("/").rpartition("/")[2] if owner.startswith("/") else owner
    return f"{_OF.get(kind, kind + ' of ')}{last or 'the root cgroup'}"


def block_text(answer: Diff, nr: int) -> str:
    """Return how so many pageblocks are called: huge pages where they are as large."""
    huge = answer.pageblock_order == compaction_hpage_order(answer.page_size)
    return ("huge page" if huge else "pageblock") + ("" if nr == 1 else "s")


def verdict(answer: Diff) -> str:
    """Return what changed in a sentence."""
    ago = f"{seconds_text(answer.seconds)} ago" if answer.seconds else "in the earlier snapshot"
    free = answer.free_pageblocks
    if free is None:
        said = "How many pageblocks are free is not known in both snapshots"
    elif free.before == free.after:
        said = f"As many {block_text(answer, 2)} are free as {ago}, {count_text(free.after)}"
    else:
        nr = abs(free.after - free.before)
        more = "more" if free.after > free.before else "fewer"
        verb = "is" if nr == 1 else "are"
        said = f"{count_text(nr)} {block_text(answer, nr)} {more} {verb} free than {ago}"
    return f"{_boot(answer)}{said}{_turns(answer)}."


def _boot(answer: Diff) -> str:
    if answer.same_boot:
        return ""
    if answer.same_boot is None:
        return "Whether both snapshots are of one boot is not known, so that frames are not compared. "
    return "The host was booted between the two, so that frames cannot be compared. "


def _turns(answer: Diff) -> str:
    """Return who broke pageblocks, how many came back, and how many are held."""
    frames = answer.frames
    if frames is None:
        return ""
    said = []
    if frames.broken.pageblocks:
        nr = frames.broken.pageblocks
        said.append(f"{count_text(nr)} {'was' if nr == 1 else 'were'} broken{_by(answer, frames.broken)}")
    if frames.freed.pageblocks:
        said.append(f"{count_text(frames.freed.pageblocks)} became free")
    if frames.held.by_staying:
        nr = frames.held.by_staying
        verb = "holds pages that stay" if nr == 1 else "hold pages that stay"
        said.append(f"{count_text(nr)} more that compaction could have freed {verb} now")
    return f": {', '.join(said)}" if said else ""


def _by(answer: Diff, turned: Turned) -> str:
    """Return who decided alone, and how many were decided by several."""
    alone = sorted((row for row in turned.owners if row.alone_pageblocks), key=lambda r: -r.alone_pageblocks)
    said = [f"{count_text(row.alone_pageblocks)} by {_who(answer, row)}" for row in alone[:NAMED]]
    rest = turned.pageblocks - turned.shared_pageblocks
    rest -= sum(row.alone_pageblocks for row in alone[:NAMED])
    if rest:
        said.append(f"{count_text(rest)} by one of the others")
    if turned.shared_pageblocks:
        most = max(turned.owners, key=lambda row: row.shared_pageblocks)
        share = f", {_who(answer, most)} in {count_text(most.shared_pageblocks)} of those"
        said.append(f"{count_text(turned.shared_pageblocks)} by several at once{share}")
    return f" ({'; '.join(said)})"


def _who(answer: Diff, row: OwnerRow) -> str:
    if row.pid is not None and row.pid == answer.new.reader_pid:
        return "vmprobe itself"
    return owner_text(row.kind, row.owner, row.pid)

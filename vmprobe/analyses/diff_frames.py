"""What became of frames and pageblocks between two snapshots, as the answer of ``vmprobe diff`` has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmprobe.bridge.diff import Content
from vmprobe.bridge.frag_frames import CONTENTS

if TYPE_CHECKING:
    from vmprobe.bridge.diff import FrameDiff, Turn


@dataclass(frozen=True)
class OwnerRow:
    """What one owner has to do with pageblocks that turned.

    Parameters
    ----------
    kind
        process, cgroup, slab, page tables, kernel, pinned, unknown, page cache, shared memory or anonymous.
    owner
        Name of the process, path of the cgroup, or what the pages are; None where nobody could be named.
    pid
        The process; the first of those that share its address space.
    alone_pageblocks
        Those that it decided alone.
    shared_pageblocks
        Those that others decided as well: they count under each.
    pages
        Its pages in them.
    staying_pages
        Those of its pages that cannot be moved.
    example_pfns
        Some of the frames that decided.
    """

    kind: str
    owner: str | None
    pid: int | None
    alone_pageblocks: int
    shared_pageblocks: int
    pages: int
    staying_pages: int
    example_pfns: tuple[int, ...]


@dataclass(frozen=True)
class Turned:
    """Pageblocks that turned from one state into another, each counted once.

    Parameters
    ----------
    pageblocks
        All of them.
    by_staying, by_moving, by_unknown
        By what decided: a page that stays where there is one, else one that can move, else one of which
        nothing is known.
    shared_pageblocks
        Those that several owners decided; the others are in `alone_pageblocks` of one owner.
    unstable_pageblocks
        Those that rest on frames which changed while either snapshot was taken.
    owners
        Who decided, those of most pageblocks first.
    owners_left_out
        How many more there are.
    """

    pageblocks: int
    by_staying: int
    by_moving: int
    by_unknown: int
    shared_pageblocks: int
    unstable_pageblocks: int
    owners: tuple[OwnerRow, ...]
    owners_left_out: int


@dataclass(frozen=True)
class OwnerChange:
    """Frames that went from one owner to another; owners as in `OwnerRow`, and ``free`` and ``hole``."""

    from_kind: str
    from_owner: str | None
    from_pid: int | None
    to_kind: str
    to_owner: str | None
    to_pid: int | None
    frames: int


@dataclass(frozen=True)
class FrameChanges:
    """What became of frames and pageblocks of one boot.

    Parameters
    ----------
    frames
        Frames that are in both snapshots.
    changed_frames
        Those with another owner: a process, a cgroup, or the kernel for one purpose.
    unstable_frames
        Those as well, but set apart: they changed while either snapshot was taken.
    changes
        From whom to whom, most frames first.
    changes_left_out
        How many more there are.
    pageblocks
        Content before to content after to pageblocks, contents as in ``vmprobe frag``; those without memory
        are left out.
    broken
        Pageblocks that were free and are not, by who is in them.
    held
        Those that held nothing but movable pages, so that compaction could free them, and that hold others
        now; by whose those are.
    freed, released
        The same in the other direction, by who was in them.
    """

    frames: int
    changed_frames: int
    unstable_frames: int
    changes: tuple[OwnerChange, ...]
    changes_left_out: int
    pageblocks: dict[str, dict[str, int]]
    broken: Turned
    held: Turned
    freed: Turned
    released: Turned


def frame_changes(found: FrameDiff, top: int | None) -> FrameChanges:
    """Return the answer for frames, at most `top` owners and changes in each list."""
    shown = found.changes[:top]
    return FrameChanges(
        frames=found.frames,
        changed_frames=found.changed,
        unstable_frames=found.unstable,
        changes=tuple(
            OwnerChange(*row.old[:3], *row.new[:3], frames=row.frames)  # kind, name, pid
            for row in shown
        ),
        changes_left_out=len(found.changes) - len(shown),
        pageblocks={
            CONTENTS[then]: {CONTENTS[now]: int(found.contents[then, now]) for now in Content}
            for then in Content
        },
        broken=_turned(found.broken, top),
        held=_turned(found.held, top),
        freed=_turned(found.freed, top),
        released=_turned(found.released, top),
    )


def _turned(found: Turn, top: int | None) -> Turned:
    shown = found.owners[:top]
    return Turned(
        pageblocks=found.pageblocks,
        by_staying=found.by_staying,
        by_moving=found.by_moving,
        by_unknown=found.by_unknown,
        shared_pageblocks=found.shared,
        unstable_pageblocks=found.unstable,
        owners=tuple(
            OwnerRow(
                *row.owner[:3],  # kind, name, pid
                row.alone_pageblocks,
                row.shared_pageblocks,
                row.pages,
                row.staying_pages,
                row.example_pfns,
            )
            for row in shown
        ),
        owners_left_out=len(found.owners) - len(shown),
    )

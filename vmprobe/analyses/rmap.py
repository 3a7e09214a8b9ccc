"""``vmprobe rmap``: three reverse maps side by side, and what VMA motion did to the entries of 1998."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vmprobe.analyses.evidence import Evidence, demand_tables, refuse_hidden_frames
from vmprobe.analyses.order import demand_order
from vmprobe.analyses.process import address_space, owners
from vmprobe.analyses.quirks import trust_ksm
from vmprobe.bridge.rmap import ENDS, KINDS, follow_entries, mapped, survey_maps

if TYPE_CHECKING:
    from vmprobe.bridge.rmap import Mapped, Outcome, Survey
    from vmprobe.tables import Snapshot


@dataclass(frozen=True)
class MapRow:
    """One reverse map; a look-up asks who maps a frame, and every frame that is served is asked for once.

    Parameters
    ----------
    map
        ``single`` (1998), ``chain`` (2.5) or ``object`` (today).
    frames_served, frames_mapped, served_permille
        Frames whose mappings it finds, all of them, of those that are mapped.
    entries_served, entries
        Mappings of those frames, and of all.
    bytes, bytes_per_frame
        Memory, and that for each mapped frame (rounded); None where the number of frames is not known.
    visits_per_lookup, visits_max, false_visits
        Places looked at for a frame (mean, rounded to hundredths; None without one), most for one frame, and
        those in vain, of all frames together.
    visits_per_lookup_at_most
        `visits_per_lookup`, if all anonymous pages were faulted before their families forked.
    stale
        Entries of the earlier snapshot that would be wrong now; None without one.
    """

    map: str
    frames_served: int
    frames_mapped: int
    served_permille: int
    entries_served: int
    entries: int
    bytes: int | None
    bytes_per_frame: float | None
    visits_per_lookup: float | None
    visits_max: int
    false_visits: int
    visits_per_lookup_at_most: float | None
    stale: int | None


@dataclass(frozen=True)
class Example:
    """One stale entry, as bytes: where its VMA started then and now, the offset stored and the right one."""

    pid: int | None
    comm: str | None
    old_start: int
    new_start: int
    recorded_offset: int
    right_offset: int


@dataclass(frozen=True)
class CauseRow:
    """What made entries wrong: how many, of how many processes (by address space), one of them."""

    cause: str
    entries: int
    processes: int
    example: Example


@dataclass(frozen=True)
class EndRow:
    """Why entries can be neither right nor wrong any more."""

    reason: str
    entries: int


@dataclass(frozen=True)
class Stale:
    """Single entries of an earlier snapshot, followed to this one.

    Parameters
    ----------
    since
        When that was taken.
    recorded, right, entries
        Entries, those that still resolve to their page, and those that resolve to another address.
    by_cause
        The wrong ones, most frequent first.
    not_followed
        The rest: the page is there no more.
    linear_right, linear_by_rule
        Wrong ones for which the linear page offset is right; and how many of those only because the kernel
        keeps it when mremap moves anonymous pages, which /proc does not show.
    """

    since: str
    recorded: int
    right: int
    entries: int
    by_cause: tuple[CauseRow, ...]
    not_followed: tuple[EndRow, ...]
    linear_right: int
    linear_by_rule: int


@dataclass(frozen=True)
class Rmap:
    """The answer.

    Parameters
    ----------
    pid, comm
        The process whose frames alone were looked at; None for the host.
    frames, entries
        Mapped frames and their mappings; zero pages and PFN maps are not counted.
    frames_by_kind
        ``file`` (and shared memory), ``anonymous``, ``ksm``.
    frames_without_object, frames_at_two_offsets
        Frames that the object map does not serve: nothing in /proc names their object (the vdso); their
        mappings are at different offsets, as after mremap of forked memory.
    families
        Groups of address spaces on the host that are related by fork, by inference.
    maps
        ``single``, ``chain``, ``object``.
    stale
        None without an earlier snapshot.
    notes
        What the figures leave out.
    """

    pid: int | None
    comm: str | None
    frames: int
    entries: int
    frames_by_kind: dict[str, int]
    frames_without_object: int
    frames_at_two_offsets: int
    families: int
    maps: tuple[MapRow, ...]
    stale: Stale | None
    notes: tuple[str, ...]


def rmap(snapshot: Snapshot, *, since: Snapshot | None = None, pid: int | None = None) -> Rmap:
    """Compare the reverse maps on a snapshot.

    Parameters
    ----------
    snapshot
        The photograph, with frame numbers in its page tables.
    since
        An earlier one of the same boot, whose single entries are followed.
    pid
        Look at the frames of this process alone.

    Raises
    ------
    SnapshotError
        There are no page tables or no frame numbers, or the two are not of one boot, in order.
    PrivilegeError
        The same, of a snapshot that was taken now, for want of a privilege.
    UsageError, InputError
        As from `address_space`.
    """
    if since is not None:
        demand_order(since, snapshot)
    now = _mapped(snapshot)
    comm, mm = (None, None) if pid is None else address_space(snapshot, pid)
    compared = survey_maps(snapshot, now, mm)
    stale = None
    if since is not None:
        then = _mapped(since)
        stale = _stale(since, follow_entries(since, then, snapshot, now, mm))
    unserved = compared.found < compared.nr_entries
    kinds = np.bincount(compared.kind, minlength=len(KINDS)).tolist()
    return Rmap(
        pid=pid,
        comm=comm,
        frames=len(compared.pfn),
        entries=int(compared.nr_entries.sum()),
        frames_by_kind=dict(zip(KINDS, kinds, strict=True)),
        frames_without_object=int(np.count_nonzero(unserved & (compared.visits == 0))),
        frames_at_two_offsets=int(np.count_nonzero(unserved & (compared.visits > 0))),
        families=compared.nr_families,
        maps=_rows(compared, stale),
        stale=stale,
        notes=_notes(snapshot),
    )


def _mapped(snapshot: Snapshot) -> Mapped:
    """Return who maps what, or say why that is not known."""
    demand_tables(snapshot, "vmas", "mappings")
    found = mapped(snapshot, trust_ksm=trust_ksm(Evidence(snapshot)))
    if found is None:
        refuse_hidden_frames(snapshot)
    return found


def _rows(compared: Survey, stale: Stale | None) -> tuple[MapRow, ...]:
    frames, entries = len(compared.pfn), int(compared.nr_entries.sum())
    wrong = {} if stale is None else _wrong(stale)
    return tuple(
        MapRow(
            map=figures.name,
            frames_served=figures.nr_served,
            frames_mapped=frames,
            served_permille=1000 * figures.nr_served // frames if frames else 1000,
            entries_served=figures.nr_entries_served,
            entries=entries,
            bytes=figures.nr_bytes,
            bytes_per_frame=None if figures.nr_bytes is None else _mean(figures.nr_bytes, frames),
            visits_per_lookup=_mean(figures.nr_visits, figures.nr_served),
            visits_max=figures.visits_max,
            false_visits=figures.nr_false_visits,
            visits_per_lookup_at_most=_mean(figures.nr_visits_at_most, figures.nr_served),
            stale=wrong.get(figures.name),
        )
        for figures in compared.maps
    )


def _wrong(stale: Stale) -> dict[str, int]:
    """Return the wrong entries of each map: chains are moved along with page-table entries."""
    return {"single": stale.entries, "chain": 0, "object": stale.entries - stale.linear_right}


def _mean(total: int, nr: int) -> float | None:
    return round(total / nr, 2) if nr else None


def _stale(since: Snapshot, outcome: Outcome) -> Stale:
    page = since.page_size
    processes = owners(since)
    causes = []
    for cause, example in outcome.examples.items():
        pid, comm = processes.get(example.mm, [(None, None)])[0]
        causes.append(
            CauseRow(
                cause,
                outcome.nr_by_fate[cause],
                len(outcome.mms_by_fate[cause]),
                Example(pid, comm, *(pages * page for pages in example[1:])),
            )
        )
    causes.sort(key=lambda row: (-row.entries, row.cause))
    return Stale(
        since=since.manifest["time"]["start"],
        recorded=outcome.nr_stored,
        right=outcome.nr_right,
        entries=sum(row.entries for row in causes),
        by_cause=tuple(causes),
        not_followed=tuple(
            EndRow(word, outcome.nr_by_fate[word]) for word in ENDS if word in outcome.nr_by_fate
        ),
        linear_right=outcome.nr_linear,
        linear_by_rule=outcome.nr_by_rule,
    )


def _notes(snapshot: Snapshot) -> tuple[str, ...]:
    """Return what the figures leave out."""
    notes = []
    if snapshot.selective:
        notes.append("Only chosen processes are in the snapshot; what others map with them is not counted.")
    unread = sum(
        1
        for error, kernel_thread in snapshot.table("tasks").rows("error", "kernel_thread")
        if error is not None and not kernel_thread
    )
    if unread:
        who = "1 process" if unread == 1 else f"{unread} processes"
        notes.append(f"{who} could not be read; what they map is not counted.")
    if not Evidence(snapshot).has_flags:
        notes.append("Without flag words zero pages and KSM pages count as anonymous.")
    return tuple(notes)

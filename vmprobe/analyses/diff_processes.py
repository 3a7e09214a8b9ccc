"""Processes that came, went, grew or shrank between two snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vmprobe.analyses.diff_answer import NameChange, ProcessChange, Processes
from vmprobe.analyses.show_processes import pages_by_mm
from vmprobe.bridge.address_spaces import spaces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmprobe.analyses.evidence import Evidence
    from vmprobe.bridge.address_spaces import Space


class _Sized(NamedTuple):
    """An address space, with its pages by page tables and as stat prints them."""

    space: Space
    entries: int | None
    rss_pages: int | None


def _sized(evidence: Evidence) -> list[_Sized]:
    present = pages_by_mm(evidence, "present")
    return [
        _Sized(
            space,
            None if present is None or space.mm is None else present.get(space.mm, 0),
            space.rss_pages,
        )
        for space in spaces(evidence.snapshot)
    ]


def processes(old: Evidence, new: Evidence, *, top: int | None) -> Processes:
    """Return the processes of one boot that changed; kernel threads have no memory of their own.

    Parameters
    ----------
    old, new
        Of snapshots that have tasks.
    top
        Most rows; None for all.
    """
    then, now = _sized(old), _sized(new)
    index = {member: at for at, each in enumerate(then) for member in each.space.members}
    page_size = new.snapshot.page_size
    selective = old.snapshot.selective or new.snapshot.selective
    rows: list[ProcessChange | None] = []
    met: set[int] = set()
    for each in now:
        known = {index[member] for member in each.space.members if member in index} - met
        at = min(known, default=None)
        if at is not None:
            met.add(at)
            rows.append(_change(then[at], each, page_size))
        elif not selective:
            rows.append(_change(None, each, page_size))
    if not selective:
        rows += [_change(each, None, page_size) for at, each in enumerate(then) if at not in met]
    changed = [row for row in rows if row is not None]
    changed.sort(key=lambda row: (-abs(row.change_bytes or 0), row.pid))
    nr = {word: sum(row.change == word for row in changed) for word in ("came", "went", "grew", "shrank")}
    return Processes(
        came=None if selective else nr["came"],
        went=None if selective else nr["went"],
        grew=nr["grew"],
        shrank=nr["shrank"],
        same=len(rows) - len(changed),
        rows=tuple(changed[:top]),
        rows_left_out=len(changed[top:]) if top is not None else 0,
    )


def _change(then: _Sized | None, now: _Sized | None, page_size: int) -> ProcessChange | None:
    """Return what became of one address space; None where nothing did."""
    sides = [each for each in (then, now) if each is not None]
    space = sides[-1].space
    tables, stat = [each.entries for each in sides], [each.rss_pages for each in sides]
    # One measure for both, or the difference would be that between the two.
    sizes = [None if nr is None else nr * page_size for nr in (stat if None in tables else tables)]
    if then is None:
        return ProcessChange("came", space.pid, space.comm, (None, sizes[0]), sizes[0])
    if now is None:
        gone = None if sizes[0] is None else -sizes[0]
        return ProcessChange("went", space.pid, space.comm, (sizes[0], None), gone)
    before, after = sizes
    if before is None or after is None or before == after:
        return None
    word = "grew" if after > before else "shrank"
    return ProcessChange(word, space.pid, space.comm, (before, after), after - before)


def names(old: Evidence, new: Evidence, *, top: int | None) -> tuple[NameChange, ...]:
    """Return the processes by name, those that changed most first: with a boot between no pid lasts."""
    page_sizes = (old.snapshot.page_size, new.snapshot.page_size)
    named: dict[str | None, tuple[list[_Sized], list[_Sized]]] = {}
    for at, evidence in enumerate((old, new)):
        for each in _sized(evidence):
            named.setdefault(each.space.comm, ([], []))[at].append(each)
    rows = []
    for comm, sides in named.items():
        then, now = (sum(len(each.space.members) for each in side) for side in sides)
        before, after = _added_up(sides, page_sizes)
        change = None if before is None or after is None else after - before
        if then != now or change:
            rows.append((change, NameChange(comm, (then, now), (before, after))))
    rows.sort(key=lambda row: (-abs(row[0] or 0), row[1].comm or ""))
    return tuple(row for _, row in rows[:top])


def _added_up(sides: Sequence[list[_Sized]], page_sizes: Sequence[int]) -> list[int | None]:
    """Return the bytes of each side; None where that of one of its processes is not known."""
    # One measure for all of them, as for a single process.
    by_tables = all(each.entries is not None for side in sides for each in side)
    sums: list[int | None] = []
    for side, page_size in zip(sides, page_sizes, strict=True):
        pages = [each.entries if by_tables else each.rss_pages for each in side]
        known = [nr for nr in pages if nr is not None]
        sums.append(sum(known) * page_size if len(known) == len(pages) else None)
    return sums

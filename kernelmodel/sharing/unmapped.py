"""Frames that are in use and that nobody maps: page cache, pins, pipes, batches.

Mirrors: ``mm/filemap.c``, ``mm/gup.c: pin_user_pages``, ``io_uring/rsrc.c: io_buffer_account_pin``,
``fs/splice.c: vmsplice_to_pipe``, ``mm/swap.c: folio_add_lru``.
Fidelity: no reference count is exported. That somebody holds an anonymous page which nobody maps is sure; who
it is follows from what processes have pinned and open. What is pinned and still mapped is seen only where
fdinfo tells the address.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from kernelmodel.pageclass import PageClass
from kernelmodel.sharing.counted import of_rows
from kernelmodel.sharing.finding import Finding
from kernelmodel.sharing.mechanism import Certainty, Mechanism

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from kernelmodel.sharing.facts import OpenFile
    from kernelmodel.sharing.view import View

PROVED, LIKELY, POSSIBLE = Certainty.PROVED, Certainty.LIKELY, Certainty.POSSIBLE

IO_URING: Final = "anon_inode:[io_uring]"
VFIO: Final = ("/dev/vfio/", "anon_inode:[vfio")
_BUFFER: Final = re.compile(r"\d+: 0x([0-9a-f]+)/(\d+)")


class Held(NamedTuple):
    """Anonymous frames that nobody maps and somebody holds, by whether they are on an LRU list. Rows."""

    on_lru: NDArray[np.int64]
    off_lru: NDArray[np.int64]


def page_cache(view: View) -> Iterator[Finding]:
    """Find pages of files that nobody maps. There can be millions: a mask names them."""
    mask = (view.page_class == PageClass.FILE) & view.having("LRU") & view.idle
    note = "LRU, of a file, no mapping"
    nr = int(np.count_nonzero(mask))
    yield from masked(view, Mechanism.PAGE_CACHE_UNMAPPED, PROVED, mask, nr=nr, note=note)


def masked(
    view: View,
    mechanism: Mechanism,
    certainty: Certainty,
    mask: NDArray[np.bool_],
    *,
    nr: int,
    note: str,
    pids: tuple[int, ...] = (),
) -> Iterator[Finding]:
    """Yield a finding of `nr` frames among those of the mask, nothing where there are none."""
    if nr:
        yield Finding(
            mechanism=mechanism,
            certainty=certainty,
            rows=None,
            nr_frames=nr,
            nr_bytes=nr * view.facts.page_size,
            nr_entries=0,
            pids=pids,
            note=note,
            mask=mask,
        )


def held(view: View) -> Held:
    """Return the anonymous frames that only a reference keeps."""
    anon = (view.page_class == PageClass.ANON) | (view.page_class == PageClass.KSM)
    rows = np.flatnonzero(anon & view.idle & ~view.having("SWAPCACHE"))
    rows = rows[np.isin(rows, view.kept_by_folio, assume_unique=True, invert=True)]
    on_lru = view.having("LRU")[rows]
    return Held(rows[on_lru], rows[~on_lru])


def holders(view: View) -> Iterator[Finding]:
    """Find what is pinned, what lies in pipes, and what a batch still holds."""
    kept = held(view)
    note = f"ANON, no mapping, not on an LRU list: {len(kept.off_lru)} frames"
    yield from of_rows(view, Mechanism.LRU_BATCH, LIKELY, kept.off_lru, note)
    pinned, nr_pinned, pids = _buffers(view)
    note = f"{len(pinned)} frames behind registered io_uring buffers of processes with VmPin"
    yield from of_rows(view, Mechanism.PINNED, PROVED, pinned, note, pids=pids)
    nr_left = nr_pinned - _accounted(view, pinned)
    rest = kept.on_lru
    if nr_left > 0:
        yield from _unmapped_pins(view, rest, nr_left, pids)
        if len(rest) <= nr_left:
            rest = rest[:0]
    yield from _vfio(view)
    yield from _pipes(view, rest)


def _buffers(view: View) -> tuple[NDArray[np.int64], int, tuple[int, ...]]:
    """Return rows behind registered buffers, pages that processes have pinned, and those processes."""
    page, tables = view.facts.page_size, view.facts.tables
    pinning = {p.pid: p for p in view.facts.processes if p.vm_pin_bytes}
    # Processes in one address space have its number each.
    by_mm = {p.mm if p.mm is not None else -pid: p.vm_pin_bytes or 0 for pid, p in pinning.items()}
    ranges = set()
    for file in view.facts.open_files or ():
        mm = pinning[file.pid].mm if file.pid in pinning else None
        if file.target == IO_URING and mm is not None:
            ranges |= {(mm, start // page, -(-end // page)) for start, end in _addresses(file)}
    vpns = [np.arange(start, end) for _, start, end in sorted(ranges)]
    mms = [np.full(end - start, mm) for mm, start, end in sorted(ranges)]
    none = np.empty(0, np.int64)
    pfn = tables.lookup(np.concatenate([none, *mms]), np.concatenate([none, *vpns]))
    rows = np.unique(view.facts.frames.rows(pfn[pfn >= 0]))
    return rows[rows >= 0], sum(by_mm.values()) // page, tuple(sorted(pinning))


def _addresses(file: OpenFile) -> list[tuple[int, int]]:
    """Return the half-open byte ranges of the registered buffers of an io_uring."""
    found = [_BUFFER.fullmatch(line) for line in (file.info or "").split("\n")]
    ranges = [(int(match[1], 16), int(match[2])) for match in found if match is not None]
    return [(start, start + size) for start, size in ranges if size]


def _accounted(view: View, rows: NDArray[np.int64]) -> int:
    """Return the pages that VmPin counts for these rows: a large folio is counted whole, once."""
    folios = view.facts.folios
    if not len(folios):
        return len(rows)
    pfn = view.facts.frames.pfns(rows)
    of = np.searchsorted(folios.head_pfn, pfn, side="right") - 1
    inside = (of >= 0) & (pfn < folios.head_pfn[of] + folios.nr_pages[of])
    return int(np.count_nonzero(~inside) + folios.nr_pages[np.unique(of[inside])].sum())


def _unmapped_pins(
    view: View, rows: NDArray[np.int64], nr_left: int, pids: tuple[int, ...]
) -> Iterator[Finding]:
    """Yield what VmPin counts and no buffer explains: among anonymous frames that nobody maps, or nowhere."""
    if len(rows) <= nr_left:
        note = f"{len(rows)} anonymous frames without mapping, {nr_left} pinned pages not found elsewhere"
        yield from of_rows(view, Mechanism.PINNED, LIKELY, rows, note, pids=pids)
    else:
        mask = np.zeros(len(view.facts.frames), np.bool_)
        mask[rows] = True
        note = f"{nr_left} pinned pages among {len(rows)} anonymous frames without mapping"
        yield from masked(view, Mechanism.PINNED, LIKELY, mask, nr=nr_left, note=note, pids=pids)
    nr_nowhere = nr_left - len(rows)
    if nr_nowhere > 0:
        note = f"VmPin counts {nr_nowhere} more pages than buffers tell; which, no file says"
        yield _unplaced(view, PROVED, nr_nowhere, pids, note)


def _vfio(view: View) -> Iterator[Finding]:
    """Yield what processes have locked for devices that they drive themselves."""
    drivers = {file.pid for file in view.facts.open_files or () if file.target.startswith(VFIO)}
    locking = {
        p.mm if p.mm is not None else -p.pid: p.vm_lck_bytes
        for p in view.facts.processes
        if p.pid in drivers and p.vm_lck_bytes
    }
    if locking:
        nr = sum(locking.values()) // view.facts.page_size
        pids = tuple(sorted(p.pid for p in view.facts.processes if p.pid in drivers and p.vm_lck_bytes))
        note = f"{len(pids)} processes with vfio devices and {nr} locked pages"
        yield _unplaced(view, LIKELY, nr, pids, note)


def _unplaced(view: View, certainty: Certainty, nr: int, pids: tuple[int, ...], note: str) -> Finding:
    """Return a finding of `nr` pinned frames of which is not known where they are."""
    return Finding(
        mechanism=Mechanism.PINNED,
        certainty=certainty,
        rows=None,
        nr_frames=nr,
        nr_bytes=nr * view.facts.page_size,
        nr_entries=None,
        pids=pids,
        note=note,
    )


def _pipes(view: View, rows: NDArray[np.int64]) -> Iterator[Finding]:
    """Yield held frames as pages in pipes: likely where somebody of their cgroup has a pipe open."""
    facts = view.facts
    with_pipe = {file.pid for file in facts.open_files or () if file.target.startswith("pipe:[")}
    inode_of = facts.cgroup_inode or {}
    by_cgroup: dict[int, list[int]] = {}
    for process in facts.processes:
        inode = None if process.cgroup is None else inode_of.get(process.cgroup)
        if process.pid in with_pipe and inode is not None:
            by_cgroup.setdefault(inode, []).append(process.pid)
    near = np.zeros(len(rows), np.bool_)
    pids: tuple[int, ...] = ()
    if facts.memcg is not None and len(rows):
        inodes = facts.memcg(rows)
        near = np.isin(inodes, np.array(list(by_cgroup), np.uint64))
        charged = set(inodes[near].tolist())
        pids = tuple(sorted(pid for inode in charged for pid in by_cgroup[inode]))
    note = f"ANON on the LRU, no mapping; {len(pids)} processes of its cgroup have pipes open"
    yield from of_rows(view, Mechanism.PIPE_BUFFER, LIKELY, rows[near], note, pids=pids)
    note = "ANON on the LRU, no mapping; who holds it is not told"
    yield from of_rows(view, Mechanism.PIPE_BUFFER, POSSIBLE, rows[~near], note, pids=())

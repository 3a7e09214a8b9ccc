"""Frames that are in use and that nobody maps: page cache, pins, pipes, batches.

Mirrors: ``mm/filemap.c``, ``mm/gup.c: pin_user_pages``, ``io_uring/rsrc.c: io_buffer_account_pin``,
``fs/splice.c: vmsplice_to_pipe``, ``mm/swap.c: folio_add_lru``.
Fidelity: no reference count is exported. That somebody holds an anonymous page which nobody maps is sure; who
it is follows from what processes have pinned and open. What is pinned and still mapped is seen only where
fdinfo tells the address.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from kernelmodel.pageclass import PageClass
from kernelmodel.sharing.counted import of_rows
from kernelmodel.sharing.finding import Finding
from kernelmodel.sharing.mechanism import Certainty, Mechanism

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

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
    pinned, pids, left = _buffers(view)
    note = f"{len(pinned)} frames behind registered io_uring buffers of processes with VmPin"
    yield from of_rows(view, Mechanism.PINNED, PROVED, pinned, note, pids=pids)
    rest = kept.on_lru
    if left:
        yield from _unmapped_pins(view, rest, left)
        if len(rest) <= sum(left.values()):
            rest = rest[:0]
    yield from _vfio(view)
    yield from _pipes(view, rest)


def _buffers(view: View) -> tuple[NDArray[np.int64], tuple[int, ...], dict[int, int]]:
    """Return rows behind registered buffers, the processes that pinned them, and what else is pinned.

    That is, by address space (a negative pid where that is not known), the pages that VmPin counts and that
    no buffer of it tells.
    """
    page, tables = view.facts.page_size, view.facts.tables
    pinning = {p.pid: p for p in view.facts.processes if p.vm_pin_bytes}
    by_mm = view.by_mm(lambda process: process.vm_pin_bytes)
    ranges: dict[int, set[tuple[int, int]]] = {mm: set() for mm in by_mm}
    for file in view.facts.open_files or ():
        mm = pinning[file.pid].mm if file.pid in pinning else None
        if file.target == IO_URING and mm is not None:
            ranges[mm] |= {(start // page, -(-end // page)) for start, end in buffer_addresses(file.info)}
    found, told = [np.empty(0, np.int64)], set()
    left = {}
    for mm, nr_bytes in by_mm.items():
        vpn = np.concatenate([np.empty(0, np.int64), *(np.arange(*ends) for ends in sorted(ranges[mm]))])
        pfn = tables.lookup(np.full(len(vpn), mm), vpn)
        rows = np.unique(view.facts.frames.rows(pfn[pfn >= 0]))
        rows = rows[rows >= 0]
        found.append(rows)
        if len(rows):
            told.add(mm)
        nr_left = nr_bytes // page - _accounted(view, rows)
        if nr_left > 0:
            left[mm] = nr_left
    pids = tuple(sorted(pid for pid, process in pinning.items() if process.mm in told))
    return np.unique(np.concatenate(found)), pids, left


def buffer_addresses(info: str | None) -> list[tuple[int, int]]:
    r"""Return the half-open byte ranges of the registered buffers of an io_uring, out of what fdinfo told.

    >>> buffer_addresses("UserBufs: 3\n0: 0x7f00/4096\n1: <none>\n2: 0x9000/0")
    [(32512, 36608)]
    """
    found = [_BUFFER.fullmatch(line) for line in (info or "").split("\n")]
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


def _unmapped_pins(view: View, rows: NDArray[np.int64], left: dict[int, int]) -> Iterator[Finding]:
    """Yield what VmPin counts and no buffer explains: among anonymous frames that nobody maps, or nowhere."""
    nr_left = sum(left.values())
    pids = tuple(sorted([*view.tasks(left), *(-mm for mm in left if mm < 0)]))

    def own(pid: int) -> Finding:
        nr = sum(left.get(mm, 0) for mm in (*view.mms(pid), -pid))
        note = f"VmPin counts {nr} pages that no buffer tells"
        return _unplaced(view, LIKELY if len(rows) else PROVED, nr, (pid,), note)

    if len(rows) <= nr_left:
        note = f"{len(rows)} anonymous frames without mapping, {nr_left} pinned pages not found elsewhere"
        for finding in of_rows(view, Mechanism.PINNED, LIKELY, rows, note, pids=pids):
            yield replace(finding, own=own)
    else:
        mask = view.only(rows)
        note = f"{nr_left} pinned pages among {len(rows)} anonymous frames without mapping"
        for finding in masked(view, Mechanism.PINNED, LIKELY, mask, nr=nr_left, note=note, pids=pids):
            yield replace(finding, own=own)
    nr_nowhere = nr_left - len(rows)
    if nr_nowhere > 0:
        note = f"VmPin counts {nr_nowhere} more pages than buffers tell; which, no file says"
        # Where some are found, the part of each process stands with these.
        unplaced = _unplaced(view, PROVED, nr_nowhere, pids, note)
        yield replace(unplaced, own=own if not len(rows) else lambda _pid: None)


def _vfio(view: View) -> Iterator[Finding]:
    """Yield what processes have locked for devices that they drive themselves."""
    drivers = {file.pid for file in view.facts.open_files or () if file.target.startswith(VFIO)}
    locking = view.by_mm(lambda process: process.vm_lck_bytes if process.pid in drivers else None)
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

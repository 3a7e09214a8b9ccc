"""Pages that are pinned for long and so cannot be moved, as far as a snapshot tells where they are.

No file lists pins. vmstat counts those that are outstanding, and fdinfo of an io_uring tells which addresses
its registered buffers have; RDMA, vfio, XDP and vhost tell nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.pageflags import mask
from kernelmodel.sharing.unmapped import IO_URING, buffer_addresses
from vmprobe.bridge.model import counter, frames, page_tables

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.memmap import MemMap
    from kernelmodel.page_tables import PageTables
    from vmprobe.tables import Snapshot

_COMPOUND = np.uint64(mask("COMPOUND_HEAD", "COMPOUND_TAIL", "THP"))
_HEAD = np.uint64(mask("COMPOUND_HEAD"))


@dataclass(frozen=True)
class Pins:
    """What is known of long-term pins.

    Parameters
    ----------
    pfn
        int64, frames known to be pinned, ascending, each once.
    nr_outstanding
        Pins that were taken and not given back, by vmstat; None where it does not count them. Counts that a
        CPU has not folded in yet, and input and output under way, are in it.
    nr_unlocated
        How many of them no known frame accounts for; None where they are not counted. A large folio accounts
        for one, since newer kernels keep one pin of a folio of a buffer and older ones one of each page:
        rather too many than too few.
    """

    pfn: NDArray[np.int64]
    nr_outstanding: int | None
    nr_unlocated: int | None = None


def pinned_frames(
    snapshot: Snapshot, *, memmap: MemMap | None = None, tables: PageTables | None = None
) -> Pins:
    """Return the frames that are known to be pinned, and how many more pins there are.

    Parameters
    ----------
    snapshot
        Any.
    memmap, tables
        Its frames and page tables, where the caller has them already.

    Raises
    ------
    SnapshotError
        It tells of registered buffers and has no flag words.
    """
    none = np.empty(0, np.int64)
    outstanding = outstanding_pins(snapshot)
    buffers = _buffers(snapshot)
    if buffers:
        tables = page_tables(snapshot) if tables is None else tables
    if not buffers or tables is None:
        return Pins(none, outstanding, outstanding)
    memmap = frames(snapshot) if memmap is None else memmap
    found, accounted = [none], 0
    for mm, first, end in buffers:
        vpn = np.arange(first, end)
        pfn = tables.lookup(np.full(len(vpn), mm), vpn)
        pfn = pfn[memmap.rows(pfn) >= 0]
        found.append(pfn)
        accounted += _nr_pins(memmap, pfn)
    unlocated = None if outstanding is None else max(0, outstanding - accounted)
    return Pins(np.unique(np.concatenate(found)), outstanding, unlocated)


def outstanding_pins(snapshot: Snapshot) -> int | None:
    """Return how many pins are held; None where vmstat does not count them (before 5.7)."""
    acquired, released = (
        counter(snapshot, "vmstat", f"nr_foll_pin_{name}") for name in ("acquired", "released")
    )
    if not isinstance(acquired, int) or not isinstance(released, int):
        return None
    # One CPU may have folded in what it released before another what it acquired.
    return max(0, acquired - released)


def _buffers(snapshot: Snapshot) -> list[tuple[int, int, int]]:
    """Return address space, first and end page of each registered buffer, each once.

    A process that inherited the ring has no pins of its own: its addresses are other memory.
    """
    if not snapshot.has("fds"):
        return []
    pinning = {
        pid: mm
        for pid, mm, nr_bytes in snapshot.table("tasks", ("pid", "mm", "vm_pin_bytes")).rows(
            "pid", "mm", "vm_pin_bytes"
        )
        if mm is not None and nr_bytes != 0
    }
    page = snapshot.page_size
    rings: dict[tuple[int, str], list[tuple[int, int]]] = {}
    names = ("pid", "target", "info")
    for pid, target, info in snapshot.table("fds", names).rows(*names):
        if target == IO_URING and pid in pinning and info:
            # Two descriptors of one ring, or of a process and one that shares its memory, tell the same.
            rings[pinning[pid], info] = buffer_addresses(info)
    return [
        (mm, start // page, -(-end // page)) for (mm, _), ranges in rings.items() for start, end in ranges
    ]


def _nr_pins(memmap: MemMap, pfn: NDArray[np.int64]) -> int:
    """Return how many pins the frames of one buffer account for: one each, but one for each large folio."""
    words = memmap.words[memmap.rows(pfn)]
    inside = (words & _COMPOUND) != 0
    begins = np.ones(len(pfn), np.bool_)
    begins[1:] = (pfn[1:] != pfn[:-1] + 1) | ((words[1:] & _HEAD) != 0)
    return int(np.count_nonzero(~inside | begins))

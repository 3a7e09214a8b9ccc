"""What stands behind an address of a process: a page, a swap slot, a marker, or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vmprobe.analyses.evidence import demand_tables, refuse_hidden_frames
from vmprobe.analyses.process import address_space
from vmprobe.bridge.page import cell
from vmprobe.errors import UsageError

if TYPE_CHECKING:
    from vmprobe.tables import Snapshot

_MEANINGS: Final = {
    "present": "a page",
    "frame-entry": "an entry that holds a frame: it is being migrated, is poisoned, or is device memory",
    "guard": "a guard region: whoever touches it gets SIGSEGV",
    "uffd-wp": "a marker: there is no page, only its write protection by userfaultfd",
    "poisoned": "a marker: whoever touches it gets SIGBUS (a memory error, or UFFDIO_POISON)",
    "marker": "a marker of the kernel, no page",
}
"""What an entry of each kind is; swap and none say more."""

_ENTRY_COLUMNS: Final = (
    "mm", "vpn", "nr_pages", "kind", "pfn", "swap_type", "swap_offset", "unstable",
)  # fmt: skip
_VMA_COLUMNS: Final = ("mm", "start", "end", "perms", "vm_flags", "inode", "name")


@dataclass(frozen=True)
class Entry:
    """The page-table entry behind an address, and the VMA around it.

    Parameters
    ----------
    pid, comm
        The process that was asked for.
    address
        First byte of the page.
    kind
        As in mappings.kind, or ``none`` where there is no entry.
    pfn
        Frame behind it (present and frame-entry).
    swap_type, swap_offset
        Swap area and slot (swap); None where the kernel hides them.
    vma_start, vma_end, vma_name, perms
        The VMA; None where no VMA of the list covers the address.
    meaning
        One line for people.
    unstable
        The entry changed while it was read; None where there is none.
    """

    pid: int
    comm: str | None
    address: int
    kind: str
    pfn: int | None
    swap_type: int | None
    swap_offset: int | None
    vma_start: int | None
    vma_end: int | None
    vma_name: str | None
    perms: str | None
    meaning: str
    unstable: bool | None


@dataclass(frozen=True)
class _Vma:
    start: int
    end: int
    perms: str
    vm_flags: str | None
    inode: int
    name: str


def resolve(snapshot: Snapshot, pid: int, address: int) -> Entry:
    """Return the entry behind `address` of process `pid`.

    Raises
    ------
    UsageError
        The process is not in the snapshot or has no memory of its own, or the address is in no VMA.
    InputError
        The process could not be read.
    SnapshotError
        The snapshot has no page tables, or no frame numbers in them.
    PrivilegeError
        The same, of a snapshot that was taken now.
    """
    demand_tables(snapshot, "vmas", "mappings")
    comm, mm = address_space(snapshot, pid)
    page = snapshot.page_size
    start = address // page * page
    entry = _entry(snapshot, mm, start // page)
    vma = _vma(snapshot, mm, address)
    if entry is None and isinstance(vma, str):
        raise UsageError(f"{address:#x} lies in no VMA of process {pid}", hint=vma)
    found = None if isinstance(vma, str) else vma
    kind = "none" if entry is None else entry["kind"]
    if kind in {"present", "frame-entry"} and entry is not None and entry["pfn"] is None:
        refuse_hidden_frames(snapshot)
    return Entry(
        pid=pid,
        comm=comm,
        address=start,
        kind=kind,
        pfn=None if entry is None else entry["pfn"],
        swap_type=entry["swap_type"] if entry is not None and kind == "swap" else None,
        swap_offset=None if entry is None else entry["swap_offset"],
        vma_start=None if found is None else found.start,
        vma_end=None if found is None else found.end,
        vma_name=None if found is None else found.name,
        perms=None if found is None else found.perms,
        meaning=_meaning(entry, found),
        unstable=None if entry is None else entry["unstable"],
    )


def _entry(snapshot: Snapshot, mm: int, vpn: int) -> dict[str, Any] | None:
    """Return the entry of one virtual page: kind, frame or swap slot, whether it changed."""
    table = snapshot.table("mappings", _ENTRY_COLUMNS)
    first = table.column("vpn").astype(np.int64)
    into = vpn - first
    inside = (table.column("mm") == mm) & (into >= 0) & (into < table.column("nr_pages"))
    rows = np.flatnonzero(inside)
    if not len(rows):
        return None
    row = int(rows[0])
    found = {name: cell(table, name, row) for name in ("kind", "pfn", "swap_type", "swap_offset", "unstable")}
    for name in ("pfn", "swap_offset"):
        if found[name] is not None:
            found[name] += int(into[row])
    return found


def _vma(snapshot: Snapshot, mm: int, address: int) -> _Vma | str:
    """Return the VMA around an address, or in words where the nearest ones are."""
    table = snapshot.table("vmas", _VMA_COLUMNS)
    rows = np.flatnonzero(table.column("mm") == mm)
    starts, ends = table.column("start")[rows], table.column("end")[rows]
    at = int(np.searchsorted(starts, np.uint64(address), side="right")) - 1
    if at >= 0 and address < ends[at]:
        return _Vma(*(cell(table, name, int(rows[at])) for name in _VMA_COLUMNS[1:]))
    near = [f"{starts[i]:#x}-{ends[i]:#x}" for i in (at, at + 1) if 0 <= i < len(rows)]
    if not near:
        return "no VMA of it is in the snapshot"
    return f"the nearest {'are' if len(near) > 1 else 'is'} {' and '.join(near)}"


def _meaning(entry: dict[str, Any] | None, vma: _Vma | None) -> str:
    if entry is None:
        assert vma is not None  # an address with neither is refused
        return _nothing(vma)
    if entry["kind"] != "swap":
        return _MEANINGS.get(entry["kind"], "an entry of a kind that this version does not know")
    if entry["swap_type"] is None:
        return "swapped out, the kernel hides where to"
    return f"swapped out to slot {entry['swap_offset']} of swap area {entry['swap_type']}"


def _nothing(vma: _Vma) -> str:
    """Return why an address of a VMA has no entry."""
    if vma.name.startswith(("[vvar", "[vsyscall")) or "pf" in (vma.vm_flags or "").split():
        return "the kernel shows no entries of this VMA: what it maps are no pages of its own"
    if vma.inode or vma.perms.endswith("s"):
        return "nothing mapped yet: the file's page may be cached all the same, and shared memory swapped out"
    if vma.perms.startswith("---"):
        return "nothing: the address may not be accessed (---p)"
    return "nothing yet: memory that was never touched has no page"

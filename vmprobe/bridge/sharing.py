"""Who shares what in a snapshot: tables in, `kernelmodel.sharing` out."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from kernelmodel.folio import folios
from kernelmodel.sharing.accounting import PSS_SHIFT, Accounts, account
from kernelmodel.sharing.facts import (
    Facts,
    FrameEntries,
    OpenFile,
    Process,
    SysvSegment,
    VmaFacts,
)
from kernelmodel.sharing.finding import Finding
from kernelmodel.sharing.groups import GroupCosts, group_costs
from kernelmodel.sharing.mechanism import MECHANISM_INFO, Mechanism
from kernelmodel.sharing.survey import Survey, at_frame, of_process, survey
from vmprobe.bridge.memmap import charged
from vmprobe.bridge.model import counter, frames, page_tables, unseen
from vmprobe.bridge.swap import swap_runs
from vmprobe.errors import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from kernelmodel.folio import Folios
    from kernelmodel.host import Unseen
    from kernelmodel.memmap import MemMap
    from kernelmodel.page_tables import PageTables
    from vmprobe.tables import Snapshot, Table

__all__ = [
    "MECHANISM_INFO",
    "PSS_SHIFT",
    "Accounts",
    "Facts",
    "Finding",
    "GroupCosts",
    "Mechanism",
    "Process",
    "Survey",
    "accounts",
    "at_frame",
    "costs",
    "facts",
    "facts_about",
    "hidden_bytes",
    "of_process",
    "survey",
]


def facts(snapshot: Snapshot, *, averaged: bool, ksm_trusted: bool) -> Facts:
    """Return everything in a snapshot that tells of sharing.

    Parameters
    ----------
    snapshot
        With flag words, map counts and page tables.
    averaged
        Whether its kernel prints averages for large folios (the quirk averaged-mapcounts).
    ksm_trusted
        Whether the KSM bit means KSM on that kernel (the quirk ksm-on-all-anon).

    Raises
    ------
    SnapshotError
        Flag words, map counts or page tables are missing.
    """
    where = snapshot.path or "snapshot"
    memmap = frames(snapshot)
    if memmap.mapcount is None:
        raise SnapshotError(where, "it has no map counts", hint="take one as root")
    tables = page_tables(snapshot)
    if tables is None:
        raise SnapshotError(where, "it has no page tables with frame numbers", hint="take one as root")
    return facts_about(
        snapshot, memmap, tables, folios(memmap), unseen(snapshot), averaged=averaged, ksm_trusted=ksm_trusted
    )


def facts_about(
    snapshot: Snapshot,
    memmap: MemMap,
    tables: PageTables,
    compound: Folios,
    others: Unseen,
    *,
    averaged: bool,
    ksm_trusted: bool,
) -> Facts:
    """Return the facts where parts of the model are there already; as `facts`."""
    ksm_pages_shared = counter(snapshot, "ksm", "pages_shared")
    return Facts(
        frames=memmap,
        tables=tables,
        folios=compound,
        unseen=others,
        zspages=counter(snapshot, "vmstat", "nr_zspages"),
        averaged=averaged,
        vmas=_vma_facts(snapshot),
        swap=swap_runs(snapshot)[0],
        frame_entries=_frame_entries(snapshot),
        memcg=_memcg(snapshot),
        processes=_rows(snapshot, "tasks", Process) or (),
        open_files=_rows(snapshot, "fds", OpenFile),
        segments=_rows(snapshot, "sysv_shm", SysvSegment),
        ksm_pages_shared=ksm_pages_shared if isinstance(ksm_pages_shared, int) else None,
        ksm_trusted=ksm_trusted,
        page_size=snapshot.page_size,
        cgroup_inode=_cgroup_inode(snapshot),
    )


def accounts(surveyed: Survey) -> Accounts:
    """Return what each address space has."""
    about, entries = surveyed.view.facts, surveyed.view.entries
    return account(
        about.frames, entries, about.swap, _nr_mms(about), about.page_size, moving=about.frame_entries
    )


def costs(surveyed: Survey, groups: Sequence[frozenset[int]]) -> GroupCosts:
    """Return what groups of processes cost together.

    Parameters
    ----------
    surveyed
        The host.
    groups
        The pids of each group, no pid in two of them.
    """
    about = surveyed.view.facts
    of_pid = {pid: number for number, pids in enumerate(groups) for pid in pids}
    nr_mms = _nr_mms(about)
    group = np.full(nr_mms, -1, np.int64)
    whole = np.ones(nr_mms, np.bool_)
    first: set[int] = set()
    for process in about.processes:
        if process.mm is None:
            continue
        number = of_pid.get(process.pid, -1)
        if process.mm in first and number != group[process.mm]:
            # Processes of several groups run in it: it is no one's alone.
            whole[process.mm] = False
        group[process.mm] = max(int(group[process.mm]), number)
        first.add(process.mm)
    return group_costs(
        about.frames,
        surveyed.view.entries,
        about.swap,
        group,
        whole,
        nr_groups=len(groups),
        page_size=about.page_size,
    )


def _nr_mms(about: Facts) -> int:
    highest = int(about.tables.vmas.mm.max()) if len(about.tables.vmas) else -1
    return max(highest, *(process.mm for process in about.processes if process.mm is not None), -1) + 1


def _rows(snapshot: Snapshot, name: str, row: type[Any]) -> tuple[Any, ...] | None:
    """Return the rows of a table as objects; None without the table."""
    if not snapshot.has(name):
        return None
    names = tuple(row.__dataclass_fields__)
    return tuple(row(*values) for values in snapshot.table(name, names).rows(*names))


def _vma_facts(snapshot: Snapshot) -> VmaFacts:
    names = ("name", "dev", "inode", "pgoff", "perms", "vm_flags", "swap_bytes")
    table = snapshot.table("vmas", names)
    vm_flags = None
    if table.has("vm_flags"):
        known = table.is_valid("vm_flags").tolist()
        sets: dict[str, frozenset[str]] = {}
        vm_flags = [
            sets.setdefault(text, frozenset(text.split())) if ok else None
            for text, ok in zip(table.column("vm_flags").tolist(), known, strict=True)
        ]
    return VmaFacts(
        name=table.column("name").tolist(),
        dev=table.column("dev").tolist(),
        inode=table.column("inode").astype(np.uint64, copy=False),
        pgoff=table.column("pgoff").astype(np.int64),
        shared=np.array([perms.endswith("s") for perms in table.column("perms").tolist()], np.bool_),
        vm_flags=vm_flags,
        swap_bytes=_signed(table, "swap_bytes"),
    )


def _signed(table: Table, name: str) -> NDArray[np.int64] | None:
    """Return a column with -1 for null; None where all of it is."""
    if not table.has(name):
        return None
    values: NDArray[np.int64] = np.where(table.is_valid(name), table.column(name).astype(np.int64), -1)
    return values


def _frame_entries(snapshot: Snapshot) -> FrameEntries:
    table = snapshot.table("mappings", ("mm", "nr_pages", "kind", "pfn", "swap_type"))
    if not table.has("swap_type"):
        none = np.empty(0, np.int64)
        return FrameEntries(none, none, none, none)
    rows = np.flatnonzero(table.equals("kind", "frame-entry") & table.is_valid("pfn"))
    mm, pfn, nr_pages, pseudo_type = (
        table.column(name)[rows].astype(np.int64) for name in ("mm", "pfn", "nr_pages", "swap_type")
    )
    return FrameEntries(mm, pfn, nr_pages, pseudo_type)


def _memcg(snapshot: Snapshot) -> Callable[[NDArray[np.int64]], NDArray[np.uint64]] | None:
    # Kept for long: not with the page tables that are in the facts already.
    snapshot = snapshot.released("mappings")
    null = snapshot.manifest["tables"].get("frames", {}).get("null_columns", {})
    if "memcg" in null:
        return None
    return partial(charged, snapshot)


def _cgroup_inode(snapshot: Snapshot) -> dict[str, int] | None:
    if not snapshot.has("cgroups"):
        return None
    return {path: inode for inode, path in snapshot.table("cgroups").rows("inode", "path")}


def hidden_bytes(surveyed: Survey, figures: Accounts) -> dict[int, int]:
    """Return what each process can reach that its resident set does not count, in bytes.

    Huge pages of hugetlb that its page tables lead to, and files in memory that it holds and does not map.
    """
    about = surveyed.view.facts
    found: dict[int, int] = {}
    for finding in surveyed.findings:
        if finding.mechanism is Mechanism.FD_ONLY:
            assert finding.own is not None
            parts = ((pid, finding.own(pid)) for pid in finding.pids)
            found |= {pid: part.nr_bytes for pid, part in parts if part is not None and part.nr_bytes}
    for process in about.processes:
        if process.mm is not None and figures.hugetlb_pages[process.mm]:
            pages = int(figures.hugetlb_pages[process.mm])
            found[process.pid] = found.get(process.pid, 0) + pages * about.page_size
    return found

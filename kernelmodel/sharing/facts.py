"""What a photograph tells of a host, as far as sharing can be seen in it.

Mirrors: nothing of the kernel; values of ``/proc`` as the detectors take them.
Fidelity: what could not be read is None (or -1 in an array), never 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.errors import InvariantError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from kernelmodel.folio import Folios
    from kernelmodel.host import Unseen
    from kernelmodel.memmap import MemMap
    from kernelmodel.page_tables import PageTables


@dataclass(frozen=True)
class SwapRuns:
    """Swapped entries as runs whose slots continue one another; int64 columns, one row a run.

    Parameters
    ----------
    mm
        Address space.
    area
        Number of the swap area (the swap type).
    offset
        First slot, in pages.
    nr_pages
        Entries of the run.
    vma
        Index in the `VmaTable` of the VMA that the run lies in.
    """

    mm: NDArray[np.int64]
    area: NDArray[np.int64]
    offset: NDArray[np.int64]
    nr_pages: NDArray[np.int64]
    vma: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.mm)


@dataclass(frozen=True)
class FrameEntries:
    """Entries that are not present and name a frame all the same: migration, hwpoison, device memory.

    Parameters
    ----------
    mm, pfn, nr_pages
        int64, address space, first frame and entries of each run.
    pseudo_type
        int64, the swap type that marks such an entry (``include/linux/swap.h: SWP_MIGRATION_READ`` ...).
    """

    mm: NDArray[np.int64]
    pfn: NDArray[np.int64]
    nr_pages: NDArray[np.int64]
    pseudo_type: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.mm)


@dataclass(frozen=True)
class VmaFacts:
    """What each VMA maps; row i describes row i of the `VmaTable`.

    The table may be longer: of the stand-ins behind the last row nothing is known.

    Parameters
    ----------
    name
        As maps prints it, "" for none.
    dev
        "major:minor" in hex as maps prints it.
    inode
        uint64; of SysV shared memory the id of the segment.
    pgoff
        int64, offset in the file in pages.
    shared
        bool, VM_MAYSHARE (permissions end in s).
    vm_flags
        Two-letter codes of smaps, None of a VMA whose codes were not read; None where none were.
    swap_bytes
        int64, what smaps says, -1 where it was not read; None where it was read of no VMA.
    """

    name: Sequence[str]
    dev: Sequence[str]
    inode: NDArray[np.uint64]
    pgoff: NDArray[np.int64]
    shared: NDArray[np.bool_]
    vm_flags: Sequence[frozenset[str] | None] | None = None
    swap_bytes: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.name)


@dataclass(frozen=True)
class Process:
    """A process: who it is, and what the kernel counts of it.

    Parameters
    ----------
    pid, ppid
        Numbers of process and parent.
    mm
        Address space; None where it has none or it could not be told.
    mm_evidence
        How it is known that tasks share it: ``kcmp`` or ``exclusive-frames``; None of an unshared one.
    uid
        Real user.
    vm_pin_bytes, vm_lck_bytes
        VmPin and VmLck of ``/proc/PID/status``.
    ksm_merging_pages, ksm_zero_pages
        Of ``/proc/PID/ksm_stat``.
    cgroup
        Path of its memory cgroup.
    """

    pid: int
    ppid: int | None = None
    mm: int | None = None
    mm_evidence: str | None = None
    uid: int | None = None
    vm_pin_bytes: int | None = None
    vm_lck_bytes: int | None = None
    ksm_merging_pages: int | None = None
    ksm_zero_pages: int | None = None
    cgroup: str | None = None


@dataclass(frozen=True)
class OpenFile:
    """An open file of a process that leads to memory, or can.

    Parameters
    ----------
    pid, fd
        Process and descriptor.
    target
        Text of the link ``/proc/PID/fd/FD``.
    dev, inode
        As maps prints them.
    fstype
        File system, as mountinfo names it.
    size_bytes, allocated_bytes
        Length, and what is allocated, swapped pages included; only of file systems that live in memory.
    info
        Lines of ``/proc/PID/fdinfo/FD`` that matter, ``Name: value``.
    """

    pid: int
    fd: int
    target: str
    dev: str | None = None
    inode: int | None = None
    fstype: str | None = None
    size_bytes: int | None = None
    allocated_bytes: int | None = None
    info: str | None = None


@dataclass(frozen=True)
class SysvSegment:
    """A segment of SysV shared memory (``ipc/shm.c: sysvipc_shm_proc_show``)."""

    shmid: int
    size_bytes: int
    nr_attached: int
    rss_bytes: int | None = None
    swap_bytes: int | None = None


@dataclass(frozen=True)
class Facts:
    """Everything that the detectors look at.

    Parameters
    ----------
    frames, tables, folios
        The page frames, the page tables that lead to them, the compound pages.
    unseen
        Who else may map frames.
    zspages
        Pages of zsmalloc; None where that is not told.
    averaged
        Whether the kernel spreads the map count of a large folio over its pages.
    vmas, swap, frame_entries
        What VMAs map, swapped entries, other entries that name a frame.
    memcg
        Gives the inodes of the cgroups that some rows are charged to, 0 for none: few rows are ever asked
        for; None where that was not read.
    processes
        All processes.
    open_files, segments
        Open files and SysV segments; None where they were not read.
    ksm_pages_shared
        Frames that KSM merged by ``/sys/kernel/mm/ksm/pages_shared``; None where that was not read.
    ksm_trusted
        False where the kernel sets KSM on every anonymous page.
    page_size
        Bytes of a page.
    cgroup_inode
        Path of a cgroup to its inode; None where that was not read.
    """

    frames: MemMap
    tables: PageTables
    folios: Folios
    unseen: Unseen
    zspages: int | None
    averaged: bool
    vmas: VmaFacts
    swap: SwapRuns
    frame_entries: FrameEntries
    memcg: Callable[[NDArray[np.int64]], NDArray[np.uint64]] | None
    processes: Sequence[Process]
    open_files: Sequence[OpenFile] | None
    segments: Sequence[SysvSegment] | None
    ksm_pages_shared: int | None
    ksm_trusted: bool
    page_size: int = 4096
    cgroup_inode: Mapping[str, int] | None = None

    def validate(self) -> None:
        """Check that the columns speak of the same VMAs and frames.

        Raises
        ------
        InvariantError
            ``vma-facts`` or ``swap-inside-vma``.
        """
        vmas, nr = self.vmas, len(self.vmas)
        columns = (
            vmas.dev,
            vmas.inode,
            vmas.pgoff,
            vmas.shared,
            vmas.vm_flags,
            vmas.swap_bytes,
        )
        sizes = [len(column) for column in columns if column is not None]
        if nr > len(self.tables.vmas) or set(sizes) - {nr}:
            raise InvariantError("vma-facts", f"{nr} names", f"{len(self.tables.vmas)} VMAs, columns {sizes}")
        owner = self.tables.vmas.mm[self.swap.vma]
        wrong = np.flatnonzero(owner != self.swap.mm)
        if len(wrong):
            row = int(wrong[0])
            detail = f"mm {self.swap.mm[row]}, its VMA is of mm {owner[row]}"
            raise InvariantError("swap-inside-vma", f"run {row}", detail)

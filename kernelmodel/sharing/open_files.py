"""Mechanisms that open files tell: memory held without a mapping, one file under several names, guests.

Mirrors: ``fs/proc/fd.c``, ``mm/shmem.c: shmem_getattr``, ``ipc/shm.c: sysvipc_shm_proc_show``,
``virt/kvm/kvm_main.c: kvm_dev_ioctl_create_vm``.
Fidelity: which frames belong to which inode no file tells; of a file that nobody maps only their number is
known, with what of it is in swap space.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from kernelmodel.pageclass import PageClass
from kernelmodel.sharing.counted import of_rows
from kernelmodel.sharing.finding import Finding
from kernelmodel.sharing.mechanism import Certainty, Mechanism
from kernelmodel.sharing.reason import Reason
from kernelmodel.sharing.runs import coverage, unions
from kernelmodel.sharing.swapped import SHARED_MEMORY
from kernelmodel.sharing.unmapped import masked
from kernelmodel.sharing.view import coded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernelmodel.sharing.facts import OpenFile
    from kernelmodel.sharing.view import View

PROVED, LIKELY = Certainty.PROVED, Certainty.LIKELY

_File: TypeAlias = tuple[str | None, int, str]

DELETED: Final = " (deleted)"
_GUEST: Final = ("anon_inode:kvm-vm", "anon_inode:[kvm-vm]", "anon_inode:kvm-vcpu", "anon_inode:[kvm-vcpu")
_GUEST_BYTES: Final = 16 << 20
"""A monitor's VMA of this size or more is the memory of its guest, not its own heap."""


def same_file(view: View) -> Iterator[Finding]:
    """Find frames of files that are mapped under several names or inode numbers."""
    facts, frames = view.facts.vmas, view.facts.frames
    vmas = np.flatnonzero(view.of_file)
    key = np.full(len(view.facts.tables.vmas), -1, np.int64)
    # A file may be deleted between two looks.
    key[vmas] = coded(
        (facts.dev[vma], int(facts.inode[vma]), facts.name[vma].removesuffix(DELETED))
        for vma in vmas.tolist()
    )
    runs = np.flatnonzero(key[view.of_vma.owner] >= 0)
    start, end = (part[runs].astype(np.int64) for part in (view.of_vma.start, view.of_vma.end))
    # Each name covers a row once, so that a row covered twice has two names.
    names = unions(key[view.of_vma.owner[runs]], start, end - start)
    several = coverage(names.start, names.end, len(frames)) > 1
    # A frame of a file has one inode; an anonymous one may be a copy that KSM merged.
    of_file = (view.page_class == PageClass.FILE) | (view.page_class == PageClass.SHMEM)
    of_file |= view.page_class == PageClass.HUGETLB
    rows = np.flatnonzero(several & of_file & (view.ledger.reason == Reason.MATCH) & ~frames.unstable)
    note = f"{len(rows)} frames in VMAs that name them differently"
    yield from of_rows(view, Mechanism.SAME_FILE_OTHER_PATH, PROVED, rows, note)


def unmapped_shmem(view: View) -> Iterator[Finding]:
    """Find memory of tmpfs files and segments that is held without a mapping, and the rest."""
    page = view.facts.page_size
    mask = (view.page_class == PageClass.SHMEM) & view.idle
    files, in_shmem, of_pid = _held_only(view)
    nr_held = min(sum(files[file] for file in in_shmem) // page, int(np.count_nonzero(mask)))

    def of_files(chosen: set[_File]) -> Finding:
        allocated = sum(files[file] for file in chosen)
        return Finding(
            mechanism=Mechanism.FD_ONLY,
            certainty=PROVED,
            rows=None,
            nr_frames=allocated // page,
            nr_bytes=allocated,
            nr_entries=None,
            pids=tuple(sorted(pid for pid, held in of_pid.items() if held & chosen)),
            note=f"{len(chosen)} files in memory open in processes that map nothing of them; swap included",
            mask=mask,
        )

    if files:
        yield replace(of_files(set(files)), own=lambda pid: of_files(of_pid[pid]))
    unattached = [s for s in view.facts.segments or () if not s.nr_attached and (s.rss_bytes or s.swap_bytes)]
    resident = sum(s.rss_bytes or 0 for s in unattached)
    if unattached:
        yield Finding(
            mechanism=Mechanism.SYSV_UNATTACHED,
            certainty=PROVED,
            rows=None,
            nr_frames=resident // page,
            nr_bytes=resident + sum(s.swap_bytes or 0 for s in unattached),
            nr_entries=0,
            pids=(),
            note=f"{len(unattached)} segments with nattch 0",
            mask=mask,
        )
    nr_rest = int(np.count_nonzero(mask)) - nr_held - resident // page
    note = "SWAPBACKED, no mapping, beyond what files and segments account for: files of tmpfs"
    certainty = LIKELY if nr_held or resident else PROVED
    yield from masked(view, Mechanism.PAGE_CACHE_UNMAPPED, certainty, mask, nr=max(nr_rest, 0), note=note)


def _held_only(view: View) -> tuple[dict[_File, int], set[_File], dict[int, set[_File]]]:
    """Return files in memory that are held and not mapped: their bytes, those of shmem, those by process."""
    facts = view.facts
    mm_of = {process.pid: process.mm for process in facts.processes}
    in_memory = [f for f in facts.open_files or () if f.allocated_bytes and f.inode is not None]
    wanted = {mm_of.get(file.pid) for file in in_memory}
    mapped: set[tuple[int, str, int]] = set()
    for vma in np.flatnonzero(view.of_file).tolist():
        mm = int(facts.tables.vmas.mm[vma])
        if mm in wanted:
            inode = int(facts.vmas.inode[vma])
            mapped |= {(mm, facts.vmas.dev[vma], inode), (mm, facts.vmas.name[vma], inode)}
    files: dict[_File, int] = {}
    in_shmem: set[_File] = set()
    of_pid: dict[int, set[_File]] = {}
    for file in in_memory:
        mm_or_none = mm_of.get(file.pid)
        if mm_or_none is not None and not _is_mapped(file, mm_or_none, mapped):
            assert file.inode is not None
            # Device and inode are the file; only without a device does its name have to tell.
            key = (file.dev, file.inode, "" if file.dev is not None else file.target)
            files[key] = max(files.get(key, 0), file.allocated_bytes or 0)
            of_pid.setdefault(file.pid, set()).add(key)
            if file.fstype != "hugetlbfs":
                in_shmem.add(key)
    return files, in_shmem, of_pid


def _is_mapped(file: OpenFile, mm: int, mapped: set[tuple[int, str, int]]) -> bool:
    assert file.inode is not None
    return (mm, file.target if file.dev is None else file.dev, file.inode) in mapped


def kvm_guests(view: View) -> Iterator[Finding]:
    """Find processes that run guests; the guest's memory is what large anonymous VMAs of theirs hold."""
    pids = {file.pid for file in view.facts.open_files or () if file.target.startswith(_GUEST)}
    if not pids:
        return
    mms = [process.mm for process in view.facts.processes if process.pid in pids and process.mm is not None]
    size = view.nr_pages(np.arange(len(view.facts.vmas))) * view.facts.page_size
    vmas = view.named(_is_guest_memory) & (size >= _GUEST_BYTES) & view.vmas_of(mms)
    rows = view.mapped(vmas).rows
    yield Finding(
        mechanism=Mechanism.KVM_GUEST,
        certainty=LIKELY,
        rows=rows if len(rows) else None,
        nr_frames=len(rows) or None,
        nr_bytes=len(rows) * view.facts.page_size or None,
        nr_entries=int(view.ledger.found[rows].sum(dtype=np.int64)) or None,
        pids=tuple(sorted(pids)),
        note=f"{len(pids)} processes hold a virtual machine; {int(vmas.sum())} VMAs of 16 MiB or more",
    )


def _is_guest_memory(name: str) -> bool:
    return name in ("", "/anon_hugepage (deleted)") or name.startswith(("[anon", *SHARED_MEMORY))

"""Mechanisms that VMAs tell: the kernel's own pages, drivers' memory, watched and secret memory.

Mirrors: ``include/linux/mm.h: VM_PFNMAP, VM_MIXEDMAP, VM_UFFD_MISSING``, ``fs/proc/task_mmu.c:
show_smap_vma_flags, show_map_vma``; the names that ``mm/secretmem.c``, ``kernel/events/core.c``,
``kernel/bpf/syscall.c`` and ``drivers/dma-buf/dma-buf.c`` give.
Fidelity: where VmFlags were not read, names stand in for them; a driver that has its own is missed then.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel.pageclass import PageClass
from kernelmodel.sharing.counted import of_rows
from kernelmodel.sharing.finding import Finding
from kernelmodel.sharing.mechanism import Certainty, Mechanism
from kernelmodel.sharing.reason import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from kernelmodel.sharing.facts import OpenFile
    from kernelmodel.sharing.view import Mapped, View

PROVED, LIKELY, POSSIBLE = Certainty.PROVED, Certainty.LIKELY, Certainty.POSSIBLE

VDSO: Final = frozenset({"[vdso]", "[vvar]", "[vvar_vclock]"})
"""Not [vsyscall], which is in every list and is no mapping: the kernel emulates what is called there."""
PERF: Final = "anon_inode:[perf_event]"
BPF: Final = "anon_inode:bpf-map"
DMA_BUF: Final = "/dmabuf:"
SECRETMEM: Final = "/secretmem"
USERFAULTFD: Final = "anon_inode:[userfaultfd]"
_BY_NUMBER: Final = re.compile(r"/dev/(?:k?mem|fb\d+|vfio/.*|uio\d+)|anon_inode:\[vfio-.*|/sys/.*/resource.*")


def _has_own_name(name: str) -> bool:
    """Whether a VMA belongs to a mechanism more special than the flag of its VMA."""
    return name in VDSO or name in (PERF, BPF) or name.startswith((DMA_BUF, SECRETMEM))


def vdso(view: View) -> Iterator[Finding]:
    """Find the pages that the kernel maps into every process."""
    vmas = view.named(VDSO.__contains__)
    if vmas.any():
        mapped = view.mapped(vmas)
        yield Finding(
            mechanism=Mechanism.VDSO,
            certainty=PROVED,
            rows=mapped.rows if len(mapped.rows) else None,
            nr_frames=len(mapped.rows) or None,
            nr_bytes=len(mapped.rows) * view.facts.page_size or None,
            nr_entries=mapped.nr_entries,
            pids=mapped.pids,
            note=f"{int(vmas.sum())} VMAs with the kernel's names; of [vvar] pagemap shows nothing",
        )


def _of_mapped(
    mechanism: Mechanism,
    certainty: Certainty,
    mapped: Mapped,
    *,
    nr_bytes: int | None,
    note: str,
    holders: set[int] | frozenset[int] = frozenset(),
) -> Finding:
    """Return the finding of what VMAs lead to, as far as page tables show it, and of who else holds it."""
    rows = mapped.rows if len(mapped.rows) else None
    return Finding(
        mechanism=mechanism,
        certainty=certainty,
        rows=rows,
        nr_frames=None if rows is None else len(rows),
        nr_bytes=nr_bytes,
        nr_entries=mapped.nr_entries or None,
        pids=tuple(sorted({*holders, *mapped.pids})),
        note=note,
    )


def _own(
    view: View, finding: Finding, vmas: NDArray[np.bool_], nr_bytes: Callable[[int, NDArray[np.int64]], int]
) -> Finding:
    """Let a finding whose frames are not known tell the part of one process: its VMAs, or what it holds.

    Parameters
    ----------
    view
        The host.
    finding
        Of all processes; one with rows is given back as it is.
    vmas
        The VMAs that it is about.
    nr_bytes
        Gives the bytes of a process with these VMAs, 0 where they are not known.
    """
    if finding.rows is not None:
        return finding

    def own(pid: int) -> Finding:
        size = nr_bytes(pid, np.flatnonzero(vmas & view.vmas_of(view.mms(pid))))
        return replace(finding, nr_bytes=size or None, nr_entries=None, pids=(pid,))

    return replace(finding, own=own)


def pfnmap(view: View) -> Iterator[Finding]:
    """Find VMAs of VM_PFNMAP: what stands behind them is known by file and offset alone."""
    unnamed = ~view.named(_has_own_name)
    by_flag = view.flagged("pf") & unnamed
    by_name = view.named(lambda name: _BY_NUMBER.fullmatch(name) is not None) & ~view.flags_read
    for vmas, certainty, told in (
        (by_flag, PROVED, "VmFlags pf"),
        (by_name, LIKELY, "the name of the device"),
    ):
        if not vmas.any():
            continue
        found = _of_mapped(
            Mechanism.PFNMAP,
            certainty,
            view.mapped(vmas),
            nr_bytes=view.extent_bytes(np.flatnonzero(vmas)),
            note=f"{told} on {int(vmas.sum())} VMAs; bytes are distinct extents of files",
        )
        yield _own(view, found, vmas, lambda _pid, mine: view.extent_bytes(mine))


def mixedmap(view: View) -> Iterator[Finding]:
    """Find pages that drivers put into VMAs one by one."""
    unnamed = ~view.named(_has_own_name)
    by_flag = view.flagged("mm") & unnamed
    mapped = view.mapped(by_flag)
    note = f"VmFlags mm on {int(by_flag.sum())} VMAs"
    yield from of_rows(view, Mechanism.MIXEDMAP, PROVED, mapped.rows, note, pids=mapped.pids)
    untold = view.of_file & unnamed & ~view.flags_read
    driver = view.mapped(untold).rows
    driver = driver[view.page_class[driver] == PageClass.DRIVER]
    note = f"{len(driver)} frames in VMAs of files, neither cache nor anonymous; VmFlags not read"
    yield from of_rows(view, Mechanism.MIXEDMAP, LIKELY, driver, note)


def dax(view: View) -> Iterator[Finding]:
    """Find entries that lead to no frame: in a VMA of a file persistent memory, otherwise nobody knows.

    Persistent memory between other memory has a frame that kpageflags calls NOPAGE.
    """
    rows = np.flatnonzero(view.ledger.reason == Reason.DAX)
    note = f"{len(rows)} frames with NOPAGE that page tables lead to"
    yield from of_rows(view, Mechanism.DAX, LIKELY, rows, note)
    if not view.nr_outside:
        return
    tables = view.facts.tables
    runs = np.flatnonzero(view.outside)
    by_number = view.flagged("pf") | view.named(_has_own_name)
    in_file = view.padded(view.of_file & ~by_number)[tables.vma[runs]]
    for mechanism, certainty, of in (
        (Mechanism.DAX, LIKELY, runs[in_file]),
        (Mechanism.NO_FRAME, PROVED, runs[~in_file]),
    ):
        if len(of):
            nr = int(view.outside[of].sum())
            yield Finding(
                mechanism=mechanism,
                certainty=certainty,
                rows=None,
                nr_frames=None,
                nr_bytes=None,
                nr_entries=nr,
                pids=view.tasks(np.unique(tables.vmas.mm[tables.vma[of]]).tolist()),
                note=f"{nr} entries lead where kpageflags has no frame",
            )


def perf_ring(view: View) -> Iterator[Finding]:
    """Find rings of perf events; their frames are seen where the kernel counts them."""
    vmas = view.named(PERF.__eq__)

    def size(chosen: NDArray[np.int64]) -> int:
        # A ring is not inherited by fork: each VMA has its own.
        return int(view.nr_pages(chosen).sum()) * view.facts.page_size

    if vmas.any():
        found = _of_mapped(
            Mechanism.PERF_RING,
            PROVED,
            view.mapped(vmas),
            nr_bytes=size(np.flatnonzero(vmas)),
            note=f"{int(vmas.sum())} VMAs {PERF}",
        )
        yield _own(view, found, vmas, lambda _pid, mine: size(mine))


def bpf_maps(view: View) -> Iterator[Finding]:
    """Find memory of BPF maps that processes map or hold."""
    fds = [file for file in view.facts.open_files or () if file.target == BPF]

    def held(files: list[OpenFile]) -> int:
        sizes = {file.info: _number(file.info, "memlock") for file in files}
        return sum(size or 0 for size in sizes.values())

    vmas = view.named(BPF.__eq__)
    for found in _named_or_held(view, Mechanism.BPF_MAP, vmas, BPF, held(fds) or None):
        yield _own(view, found, vmas, lambda pid, _mine: held([file for file in fds if file.pid == pid]))


def dma_bufs(view: View) -> Iterator[Finding]:
    """Find buffers that devices share."""
    fds = [file for file in view.facts.open_files or () if file.target.startswith(DMA_BUF)]
    vmas = view.named(lambda name: name.startswith(DMA_BUF))

    def held(files: list[OpenFile], mapped: NDArray[np.int64]) -> int:
        sizes = {(file.target, file.inode): _number(file.info, "size") for file in files}
        return sum(size or 0 for size in sizes.values()) or view.extent_bytes(mapped)

    nr_bytes = held(fds, np.flatnonzero(vmas)) or None
    for found in _named_or_held(view, Mechanism.DMA_BUF, vmas, DMA_BUF, nr_bytes):
        yield _own(view, found, vmas, lambda pid, mine: held([file for file in fds if file.pid == pid], mine))


def secretmem(view: View) -> Iterator[Finding]:
    """Find memory that the kernel's own map leaves out."""
    vmas = view.named(lambda name: name.startswith(SECRETMEM))
    yield from _named_or_held(view, Mechanism.SECRETMEM, vmas, SECRETMEM, None)


def _named_or_held(
    view: View, mechanism: Mechanism, vmas: NDArray[np.bool_], name: str, held_bytes: int | None
) -> Iterator[Finding]:
    """Yield the finding of VMAs and descriptors that have a name of their own."""
    holders = {file.pid for file in view.facts.open_files or () if file.target.startswith(name)}
    if not vmas.any() and not holders:
        return
    mapped = view.mapped(vmas)
    yield _of_mapped(
        mechanism,
        PROVED,
        mapped,
        nr_bytes=len(mapped.rows) * view.facts.page_size or held_bytes,
        holders=holders,
        note=f"{int(vmas.sum())} VMAs {name}, {len(holders)} processes with a descriptor",
    )


def userfaultfd(view: View) -> Iterator[Finding]:
    """Find memory that a handler may fill; without VmFlags only that there is a handler."""
    vmas = view.flagged("um", "uw", "ui")
    holders = {file.pid for file in view.facts.open_files or () if file.target == USERFAULTFD}
    if vmas.any():
        mapped = view.mapped(vmas)
        yield Finding(
            mechanism=Mechanism.USERFAULTFD,
            certainty=PROVED,
            rows=mapped.rows,
            nr_frames=len(mapped.rows),
            nr_bytes=int(view.nr_pages(np.flatnonzero(vmas)).sum()) * view.facts.page_size,
            nr_entries=mapped.nr_entries,
            pids=tuple(sorted(holders | set(mapped.pids))),
            note=f"VmFlags um, uw or ui on {int(vmas.sum())} VMAs; {len(holders)} processes have the handle",
        )
    elif holders:
        told = bool(view.flags_read.all())
        yield Finding(
            mechanism=Mechanism.USERFAULTFD,
            certainty=POSSIBLE if told else LIKELY,
            rows=None,
            nr_frames=None,
            nr_bytes=None,
            nr_entries=None,
            pids=tuple(sorted(holders)),
            note=f"{len(holders)} processes with a descriptor; "
            + ("no VMA that was read is registered" if told else "VmFlags were not read"),
        )


def _number(info: str | None, key: str) -> int | None:
    """Return the number behind `key` in lines of fdinfo."""
    for line in (info or "").split("\n"):
        name, _, value = line.partition(": ")
        if name == key and value.isdecimal():
            return int(value)
    return None

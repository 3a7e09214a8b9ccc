"""The ways in which memory is shared without the page count telling, each with its name.

Mirrors: the table of section 6 in the project's sheet of kernel interfaces; kernel files stand beside each.
Fidelity: what no file of /proc shows is not here: process_vm_readv and ptrace while they run, the kernel's
own linear map, the hypervisor.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final, NamedTuple


class Mechanism(StrEnum):
    """The value is the name in output."""

    ZERO_PAGE = "zero-page"
    HUGE_ZERO_PAGE = "huge-zero-page"
    SHARED_MM = "shared-mm"
    HUGETLB_PMD_SHARING = "hugetlb-pmd-sharing"
    PFNMAP = "pfnmap"
    MIXEDMAP = "mixedmap"
    VDSO = "vdso"
    DAX = "dax"
    KSM = "ksm"
    KSM_ZERO = "ksm-zero"
    SWAP_SLOT = "swap-slot"
    SWAP_CACHE = "swap-cache"
    MIGRATION_ENTRY = "migration-entry"
    PAGE_CACHE_UNMAPPED = "page-cache-unmapped"
    SAME_FILE_OTHER_PATH = "same-file-other-path"
    FD_ONLY = "fd-only"
    SYSV_UNATTACHED = "sysv-unattached"
    SHMEM_SWAPPED = "shmem-swapped"
    PINNED = "pinned"
    PIPE_BUFFER = "pipe-buffer"
    KVM_GUEST = "kvm-guest"
    USERFAULTFD = "userfaultfd"
    BPF_MAP = "bpf-map"
    DMA_BUF = "dma-buf"
    PERF_RING = "perf-ring"
    LARGE_FOLIO_AVERAGE = "large-folio-average"
    PARTIAL_FOLIO = "partial-folio"
    MAPPED_TWICE = "mapped-twice"
    HIDDEN_MAPPERS = "hidden-mappers"
    EXITING_MM = "exiting-mm"
    SECRETMEM = "secretmem"
    LRU_BATCH = "lru-batch"
    ZSMALLOC = "zsmalloc"
    NO_FRAME = "no-frame"


class Certainty(IntEnum):
    """How well a finding is witnessed.

    PROVED: the kernel's own files leave no other reading. LIKELY: the usual reading of what they say.
    POSSIBLE: nothing seen speaks against it.
    """

    POSSIBLE = 0
    LIKELY = 1
    PROVED = 2

    @property
    def word(self) -> str:
        """As output spells it.

        >>> Certainty.LIKELY.word
        'likely'
        """
        return self.name.lower()


class MechanismInfo(NamedTuple):
    """Name; what it is; what the page count says; what did the like in 1998, "" where nothing did."""

    name: str
    meaning: str
    page_count: str
    ancestor: str


_RESERVED: Final = "PG_reserved pages and frames beyond max_mapnr: fork and unmap passed the count by"
_TEMPORARY: Final = "temporary users of page->count"
_SHM: Final = "SysV shared memory kept a page table of its own, outside any address space"
_CACHE: Final = "page cache and buffers held a count"

_INFO: Final = {
    Mechanism.ZERO_PAGE: (
        "one page of zeros stands wherever memory was read before it was written",
        "0, whoever maps it",
        _RESERVED,
    ),
    Mechanism.HUGE_ZERO_PAGE: (
        "one huge page of zeros stands where huge pages were read before they were written",
        "0, whoever maps it",
        _RESERVED,
    ),
    Mechanism.SHARED_MM: (
        "processes run in one address space (vfork, CLONE_VM): one page table serves them all",
        "1 for all of them",
        "clone(CLONE_VM): mm->count",
    ),
    Mechanism.HUGETLB_PMD_SHARING: (
        "processes share a page table of hugetlb pages",
        "1 for each table, not for each process",
        "",
    ),
    Mechanism.PFNMAP: (
        "a driver maps frames by number (VM_PFNMAP): device memory, /dev/mem",
        "nothing, and pagemap shows no entry",
        _RESERVED,
    ),
    Mechanism.MIXEDMAP: (
        "a driver maps pages of its own (VM_MIXEDMAP): packet rings, some GPUs",
        "the entries of processes; the driver's own use not",
        _RESERVED,
    ),
    Mechanism.VDSO: (
        "the kernel's code and data for every process",
        "the entries of vdso pages; nothing of [vvar]",
        _RESERVED,
    ),
    Mechanism.DAX: ("file pages in persistent memory, mapped in place", "0: no page frame", _RESERVED),
    Mechanism.KSM: (
        "KSM merged equal anonymous pages of any processes into one",
        "the entries, several of one process among them",
        "",
    ),
    Mechanism.KSM_ZERO: (
        "KSM replaced pages of zeros by the zero page",
        "0, as for every zero page",
        _RESERVED,
    ),
    Mechanism.SWAP_SLOT: (
        "entries of several processes lead to one slot of swap space",
        "no page; swap_map counts and is not exported",
        "swap_map[] counted entries; a page could be in one process and another's swap entry",
    ),
    Mechanism.SWAP_CACHE: (
        "a page of swap space is in memory and no entry leads to it yet",
        "0",
        "the swap cache held a count",
    ),
    Mechanism.MIGRATION_ENTRY: ("a page is being moved; its entries are not present meanwhile", "0", ""),
    Mechanism.PAGE_CACHE_UNMAPPED: (
        "pages of files that processes reach by read and write alone",
        "0",
        _CACHE,
    ),
    Mechanism.SAME_FILE_OTHER_PATH: (
        "one file mapped under several names: bind mounts, overlays, hard links",
        "the sum over all names",
        "i_mmap: one list for each inode, whatever the path",
    ),
    Mechanism.FD_ONLY: (
        "a process holds a file that lives in memory open and maps nothing of it",
        "0, or the entries of others",
        _CACHE,
    ),
    Mechanism.SYSV_UNATTACHED: (
        "a segment of SysV shared memory that nobody has attached and that stays",
        "0",
        _SHM,
    ),
    Mechanism.SHMEM_SWAPPED: (
        "shared memory in swap space: the page cache knows the slot, page tables do not",
        "no page and no entry",
        _SHM,
    ),
    Mechanism.PINNED: (
        "the kernel or a device holds pages for long: io_uring buffers, RDMA, vfio",
        "unchanged, and 0 once they are unmapped",
        _TEMPORARY,
    ),
    Mechanism.PIPE_BUFFER: (
        "pages of a process lie in a pipe (vmsplice) after it unmapped them",
        "unchanged, and 0 once they are unmapped",
        _TEMPORARY,
    ),
    Mechanism.KVM_GUEST: (
        "a guest runs in the memory of its monitor, through page tables of its own",
        "the entries of the monitor alone",
        "",
    ),
    Mechanism.USERFAULTFD: (
        "another process may fill and protect this memory",
        "the entries of the owner",
        "",
    ),
    Mechanism.BPF_MAP: (
        "memory of a BPF map, which programs in the kernel use",
        "the entries of processes, two for each data page of a ring",
        "",
    ),
    Mechanism.DMA_BUF: (
        "a buffer that devices and processes share by descriptor",
        "nothing, or the entries",
        _RESERVED,
    ),
    Mechanism.PERF_RING: (
        "the ring that the kernel writes perf events to",
        "nothing since 6.18; the entries before",
        _RESERVED,
    ),
    Mechanism.LARGE_FOLIO_AVERAGE: (
        "this kernel does not count the pages of a large folio one by one",
        "the average of the folio",
        "",
    ),
    Mechanism.PARTIAL_FOLIO: (
        "pages of a large folio that nobody maps and that its other pages keep",
        "0",
        "",
    ),
    Mechanism.MAPPED_TWICE: (
        "one process maps a page at several addresses",
        "more than there are processes",
        "",
    ),
    Mechanism.HIDDEN_MAPPERS: (
        "processes map it whose page tables could not be read",
        "more than was found",
        "",
    ),
    Mechanism.EXITING_MM: (
        "a process that began or ended during the read mapped it",
        "more than was found",
        "",
    ),
    Mechanism.SECRETMEM: (
        "memory that the kernel's own map leaves out",
        "the entries",
        "",
    ),
    Mechanism.LRU_BATCH: (
        "a per-CPU batch still holds a page that is freed otherwise",
        "0",
        _TEMPORARY,
    ),
    Mechanism.ZSMALLOC: (
        "compressed pages; an offset stands where the count is",
        "a number that is no count (up to 6.11)",
        "",
    ),
    Mechanism.NO_FRAME: ("an entry leads to an address that no frame of this host has", "nothing", _RESERVED),
}

MECHANISM_INFO: Final = {
    mechanism: MechanismInfo(mechanism.value, *_INFO[mechanism]) for mechanism in Mechanism
}
"""What is to be said of each mechanism."""

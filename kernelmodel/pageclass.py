"""What a page frame is used for, from its flag word alone.

``fs/proc/page.c: stable_page_flags`` writes the word; the kernel's ``tools/mm/page-types.c`` counts words,
not classes. The order of the tests matters, because typed pages (slab, page tables, offline) reuse the fields
behind ANON, KSM and MMAP for other things.

Fidelity: a word says what the frame was at one moment. A word of 0 says nothing at all: a free page on a
per-CPU list, vmalloc, a kernel stack, memory not yet given to the allocator, or (6.16 and later) a hole.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from kernelmodel.pageflags import mask

if TYPE_CHECKING:
    from numpy.typing import NDArray


class PageClass(IntEnum):
    """The use of a frame; every word belongs to exactly one."""

    HOLE = 0
    HWPOISON = 1
    FREE = 2
    SLAB = 3
    PGTABLE = 4
    HUGETLB = 5
    ZERO = 6
    OFFLINE = 7
    RESERVED = 8
    KSM = 9
    ANON = 10
    SWAPCACHE = 11
    SHMEM = 12
    FILE = 13
    DRIVER = 14
    KERNEL = 15
    UNKNOWN = 16


class ClassInfo(NamedTuple):
    """How people call the class, and one line on what is in it."""

    name: str
    meaning: str


CLASS_INFO: Final = {
    PageClass.HOLE: ClassInfo("hole", "no memory at that address"),
    PageClass.HWPOISON: ClassInfo("poisoned", "lost to a memory error"),
    PageClass.FREE: ClassInfo("free", "in the buddy allocator"),
    PageClass.SLAB: ClassInfo("slab", "kernel objects"),
    PageClass.PGTABLE: ClassInfo("page table", "page tables"),
    PageClass.HUGETLB: ClassInfo("hugetlb", "pool of huge pages"),
    PageClass.ZERO: ClassInfo("zero page", "the shared zero pages"),
    PageClass.OFFLINE: ClassInfo("offline", "given to the hypervisor"),
    PageClass.RESERVED: ClassInfo("reserved", "firmware, kernel image, boot"),
    PageClass.KSM: ClassInfo("ksm", "anonymous, merged by KSM"),
    PageClass.ANON: ClassInfo("anonymous", "private memory of processes"),
    PageClass.SWAPCACHE: ClassInfo("swap cache", "back from swap, not mapped"),
    PageClass.SHMEM: ClassInfo("shmem", "tmpfs, memfd, shared memory"),
    PageClass.FILE: ClassInfo("file", "page cache of files"),
    PageClass.DRIVER: ClassInfo("driver", "mapped by drivers; zsmalloc"),
    PageClass.KERNEL: ClassInfo("kernel", "large kmalloc, drivers, other"),
    PageClass.UNKNOWN: ClassInfo("unknown", "flag word 0: undecidable"),
}
"""Name and meaning of each class."""

_FRESH_FILE: Final = mask("MMAP", "UPTODATE")
_HEAD: Final = mask("COMPOUND_HEAD")
_TAIL: Final = mask("COMPOUND_TAIL")
_INHERITED: Final = mask(
    "LOCKED", "REFERENCED", "UPTODATE", "DIRTY", "LRU", "ACTIVE", "WRITEBACK", "ANON", "SWAPCACHE",
    "SWAPBACKED", "UNEVICTABLE", "KSM", "MLOCKED",
)  # fmt: skip


def classify(words: NDArray[np.uint64], *, trust_ksm: bool = True) -> NDArray[np.uint8]:
    """Return the `PageClass` of each word.

    Total and exclusive: the first rule that fits wins, and the last one fits everything. Running time is
    O(words); give it distinct words where the array is long.

    Parameters
    ----------
    words
        Words of /proc/kpageflags, any shape.
    trust_ksm
        False on kernels that set KSM on every anonymous page: then such pages are anonymous.

    Returns
    -------
    numpy.ndarray
        uint8 codes of `PageClass`, in the shape of `words`.

    Notes
    -----
    Two rules go beyond the flags' names. A page that is mapped and up to date but on no LRU list is taken for
    page cache that still waits in a per-CPU LRU batch (or secretmem): drivers do not set UPTODATE. A mapped
    page without it (``vm_insert_page``: packet rings, BPF maps) is a driver's.

    Examples
    --------
    >>> [PageClass(code).name for code in classify(np.array([0, 1 << 10, 0x1020], np.uint64))]
    ['UNKNOWN', 'FREE', 'ANON']
    """

    def has(*names: str) -> NDArray[np.bool_]:
        wanted = np.uint64(mask(*names))
        found: NDArray[np.bool_] = (words & wanted) == wanted
        return found

    anon = has("ANON")
    rules = (
        (has("NOPAGE"), PageClass.HOLE),
        (has("HWPOISON"), PageClass.HWPOISON),
        (has("BUDDY"), PageClass.FREE),
        (has("SLAB"), PageClass.SLAB),
        (has("PGTABLE"), PageClass.PGTABLE),
        (has("HUGE"), PageClass.HUGETLB),
        (has("ZERO_PAGE"), PageClass.ZERO),
        (has("OFFLINE"), PageClass.OFFLINE),
        (has("RESERVED"), PageClass.RESERVED),
        (anon & has("KSM") & trust_ksm, PageClass.KSM),
        (anon, PageClass.ANON),
        (has("SWAPBACKED", "SWAPCACHE"), PageClass.SWAPCACHE),
        (has("SWAPBACKED"), PageClass.SHMEM),
        (has("LRU"), PageClass.FILE),
        ((words & np.uint64(_FRESH_FILE)) == np.uint64(_FRESH_FILE), PageClass.FILE),
        (has("MMAP"), PageClass.DRIVER),
        (words != 0, PageClass.KERNEL),
    )
    conditions = [condition for condition, _ in rules]
    codes = [np.uint8(code) for _, code in rules]
    return np.select(conditions, codes, np.uint8(PageClass.UNKNOWN)).astype(np.uint8)


def inherit_from_head(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return `words` with each tail of a large folio given its head's LRU and mapping bits.

    Kernels up to 6.9 print little more than COMPOUND_TAIL on tails; later ones repeat the head, and then
    nothing changes. Works on runs of equal words as well as on single frames, in physical order.

    Parameters
    ----------
    words
        Words of consecutive frames, or of consecutive runs of them.

    Examples
    --------
    >>> head, tail = mask("LRU", "COMPOUND_HEAD", "THP"), mask("COMPOUND_TAIL", "THP")
    >>> from kernelmodel.pageflags import describe
    >>> describe(int(inherit_from_head(np.array([head, tail], np.uint64))[1]))
    'LRU|COMPOUND_TAIL|THP'
    """
    tails = (words & np.uint64(_TAIL)) != 0
    # A tail belongs to the nearest frame before it that is no tail; every other frame to itself.
    owners = words[np.maximum.accumulate(np.where(tails, 0, np.arange(words.size)))]
    heads = (owners & np.uint64(_HEAD)) != 0
    inherited: NDArray[np.uint64] = words | np.where(heads, owners & np.uint64(_INHERITED), np.uint64(0))
    return inherited

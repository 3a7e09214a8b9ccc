r"""/proc/PID/pagemap: one word per virtual page.

====== ==================================================================================
bits   meaning
====== ==================================================================================
0-54   page frame number, if present
0-4    swap type, if swapped (bit 62)
5-54   swap offset, if swapped; of a frame-entry: the page frame number
55     soft-dirty
56     mapped exactly once
57     write-protected by userfaultfd
58     guard region
61     the page belongs to a file or to shared anonymous memory
62     swapped: any entry that is neither present nor empty
63     present
====== ==================================================================================

**Without CAP_SYS_ADMIN** in the initial user namespace the kernel zeroes bits 0 to 54 and leaves the flags.
A field of 0 is therefore a hidden one. What a hidden swapped word is, its flags say as far as they can: bit
58 is a guard; bit 61 needs a page, so it is a frame-entry; bit 57 is called a uffd-wp marker, though a
write-protected page in swap looks the same; the rest is called swap, though a migrating anonymous page and a
poisoned entry look the same.

Kernel source: ``fs/proc/task_mmu.c: pte_to_pagemap_entry, pagemap_pmd_range, pagemap_hugetlb_range``; swap
types: ``include/linux/swap.h: MAX_SWAPFILES``; markers: ``include/linux/swapops.h: PTE_MARKER_*``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vmprobe.formats import words as _words

if TYPE_CHECKING:
    from numpy.typing import NDArray

SOFT_DIRTY: Final = np.uint64(1 << 55)
EXCLUSIVE: Final = np.uint64(1 << 56)
UFFD_WP: Final = np.uint64(1 << 57)
GUARD: Final = np.uint64(1 << 58)
FILE: Final = np.uint64(1 << 61)
SWAP: Final = np.uint64(1 << 62)
PRESENT: Final = np.uint64(1 << 63)

PFN_MASK: Final = np.uint64((1 << 55) - 1)
"""Bits of the page frame number of a present word, and of the whole field of any other."""

FLAGS_SHIFT: Final = np.uint64(55)
"""Everything from here up is a flag."""

SWAP_TYPE_MASK: Final = np.uint64(31)
SWAP_OFFSET_SHIFT: Final = np.uint64(5)

FRAME_TYPE_FIRST: Final = np.uint64(22)
"""First swap type that some kernel uses for hardware poison (22 on 6.1), migration or device memory."""

MARKER_TYPE: Final = np.uint64(31)
"""Swap type of a marker, which stands for no page at all."""

MARKER_UFFD_WP: Final = np.uint64(1)
MARKER_POISONED: Final = np.uint64(2)
MARKER_GUARD: Final = np.uint64(4)
MARKER_LAST: Final = np.uint64(7)
"""A larger offset under the marker's type is the frame number of 5.19's SWP_SWAPIN_ERROR."""

OLD_UFFD_WP: Final = np.uint64(30 | 1 << 5)
"""Field of a uffd-wp marker from 5.19 to 6.1, where type 31 was SWP_SWAPIN_ERROR (gone with 15520a3f0469)."""

KINDS: Final = ("present", "swap", "frame-entry", "guard", "uffd-wp", "poisoned", "marker")
"""What a word is, by the code that `kinds` gives it: the values of the column ``mappings.kind``."""

NOT_POPULATED: Final = 255
"""The code of a word that maps nothing; there is no kind for it."""

_PRESENT, _SWAP, _FRAME_ENTRY, _GUARD, _UFFD_WP, _POISONED, _MARKER = map(np.uint8, range(len(KINDS)))


@dataclass(frozen=True)
class Runs:
    """Runs of words that continue one another.

    Parameters
    ----------
    index
        Position of each run's first word in the arrays that were given. Shape (runs,), int64.
    nr_pages
        Words in the run. Shape (runs,), uint32.
    """

    index: NDArray[np.int64]
    nr_pages: NDArray[np.uint32]


def decode(
    data: bytes | bytearray | memoryview | NDArray[Any], *, file: str = "pagemap"
) -> NDArray[np.uint64]:
    """Return the words of consecutive virtual pages.

    Raises
    ------
    FormatError
        The length is not a multiple of 8 bytes.

    Examples
    --------
    >>> decode(bytes(16)).tolist()
    [0, 0]
    """
    return _words.decode(data, file)


def populated(words: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return which words map something: True where `kinds` has a kind.

    Testing for 0 is not enough: with CONFIG_MEM_SOFT_DIRTY untouched pages of a new VMA read as bit 55 alone.

    >>> populated(np.array([0, 1 << 55, 1 << 63], np.uint64)).tolist()
    [False, False, True]
    """
    # Bit 57 alone is a write-protected hugetlb entry that is not present: the kernel sets no bit 62 there.
    there: NDArray[np.bool_] = (words & (PRESENT | SWAP | UFFD_WP)) != 0
    return there


def kinds(words: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return a code into `KINDS` per word, `NOT_POPULATED` where it maps nothing.

    Types 22 to 30 are frame-entries: the offset is a page frame number and the page is in memory. A kernel
    with fewer such entries could give 22 to 27 to real swap areas, but only with more than 22 of them in use.
    From 5.19 to 6.1 the types stood otherwise: 30 was the marker, told apart from a frame-entry by its one
    value and bit 57 (frame 1 is never a user's), and 31 a page that could not be read back from swap.

    >>> [KINDS[k] for k in kinds(np.array([1 << 63, 1 << 62 | 31 | 4 << 5], np.uint64))]
    ['present', 'guard']
    """
    if _all_present(words):
        return np.full(len(words), _PRESENT, np.uint8)
    field = words & PFN_MASK
    swap_type = words & SWAP_TYPE_MASK
    marker = field >> SWAP_OFFSET_SHIFT
    hidden = field == 0
    uffd_wp = (words & UFFD_WP) != 0
    is_marker = swap_type == MARKER_TYPE
    codes = np.select(
        [
            (words & PRESENT) != 0,
            ~populated(words),
            (words & SWAP) == 0,
            ((words & GUARD) != 0) | (is_marker & ((marker & MARKER_GUARD) != 0) & (marker <= MARKER_LAST)),
            is_marker & (((marker & MARKER_POISONED) != 0) | (marker > MARKER_LAST)),
            (is_marker & ((marker & MARKER_UFFD_WP) != 0)) | (uffd_wp & (field == OLD_UFFD_WP)),
            is_marker,
            (swap_type >= FRAME_TYPE_FIRST) | (hidden & ((words & FILE) != 0)),
            hidden & uffd_wp,
        ],
        [
            _PRESENT,
            np.uint8(NOT_POPULATED),
            _UFFD_WP,
            _GUARD,
            _POISONED,
            _UFFD_WP,
            _MARKER,
            _FRAME_ENTRY,
            _UFFD_WP,
        ],
        _SWAP,
    )
    return codes.astype(np.uint8, copy=False)


def _all_present(words: NDArray[np.uint64]) -> bool:
    """Whether all words are present ones, as most pieces are that are looked at; bit 63 is the highest."""
    return bool((words >= PRESENT).all())


def _steps(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return how much larger the word of the next page is if it continues the run."""
    if _all_present(words):
        there: NDArray[np.uint64] = ((words & PFN_MASK) != 0).astype(np.uint64)
        return there
    codes = kinds(words)
    advances = (words & PFN_MASK) != 0
    return np.where(
        advances & (codes == _PRESENT),
        np.uint64(1),
        np.where(
            advances & ((codes == _SWAP) | (codes == _FRAME_ENTRY)),
            np.uint64(1) << SWAP_OFFSET_SHIFT,
            np.uint64(0),
        ),
    )


def runs(vpns: NDArray[np.uint64], words: NDArray[np.uint64]) -> Runs:
    """Group words whose pages and contents are consecutive.

    A word continues the one before it when its virtual page number is one more, its flags are equal and its
    frame or swap slot is the next one; hidden fields and markers must be equal. Words that map nothing belong
    to no run, so the rest of `vpns` need not be consecutive either.

    Parameters
    ----------
    vpns
        Virtual page numbers, ascending. Shape (n,), uint64.
    words
        Their words. Shape (n,), uint64.

    Returns
    -------
    Runs
        The words are ``expand(words[index], nr_pages)`` again.

    Examples
    --------
    >>> present = 1 << 63
    >>> runs(np.arange(4, dtype=np.uint64), np.array([present | 7, present | 8, 0, present | 9], np.uint64))
    Runs(index=array([0, 3]), nr_pages=array([2, 1], dtype=uint32))
    """
    there = np.flatnonzero(populated(words))
    if there.size == 0:
        return Runs(np.empty(0, np.int64), np.empty(0, np.uint32))
    if there.size < words.size:
        vpns, words = vpns[there], words[there]
    continues = vpns[1:] == vpns[:-1] + np.uint64(1)
    continues &= words[1:] == words[:-1] + _steps(words[:-1])
    continues &= (words[1:] ^ words[:-1]) >> FLAGS_SHIFT == 0
    first = np.flatnonzero(np.concatenate(([True], ~continues)))
    nr_pages = np.diff(np.append(first, words.size)).astype(np.uint32)
    return Runs(there[first], nr_pages)


def expand(first_words: NDArray[np.uint64], nr_pages: NDArray[np.integer[Any]]) -> NDArray[np.uint64]:
    """Return the words of runs again, run after run: the inverse of `runs`.

    >>> [hex(w) for w in expand(np.array([1 << 63 | 7], np.uint64), np.array([3]))]
    ['0x8000000000000007', '0x8000000000000008', '0x8000000000000009']
    """
    lengths = nr_pages.astype(np.int64)
    begins = np.cumsum(lengths) - lengths
    inside = (np.arange(int(lengths.sum())) - np.repeat(begins, lengths)).astype(np.uint64)
    return np.repeat(first_words, lengths) + np.repeat(_steps(first_words), lengths) * inside


def advance(words: NDArray[np.uint64], nr_pages: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the words of runs `nr_pages` pages behind their first word.

    >>> hex(advance(np.array([1 << 63 | 7], np.uint64), np.array([2], np.uint64))[0])
    '0x8000000000000009'
    """
    return words + _steps(words) * nr_pages


def frames(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the page frame number of present words and frame-entries, 0 for others and hidden ones.

    >>> frames(np.array([1 << 63 | 7, 1 << 62 | 5 << 5], np.uint64)).tolist()
    [7, 0]
    """
    codes = kinds(words)
    field = words & PFN_MASK
    return np.where(
        codes == _PRESENT, field, np.where(codes == _FRAME_ENTRY, field >> SWAP_OFFSET_SHIFT, np.uint64(0))
    )


def swap_types(words: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return the swap area of words that are not present."""
    return (words & SWAP_TYPE_MASK).astype(np.uint8)


def swap_offsets(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the slot in its swap area of words that are not present."""
    return (words & PFN_MASK) >> SWAP_OFFSET_SHIFT

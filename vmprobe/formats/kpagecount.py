"""/proc/kpagecount: how often each page frame is mapped.

Word *i* counts the user page-table entries that map page frame *i*: not its references. It is 0 for free
pages, slab, page tables, the zero page and for frames that do not exist; one process that maps a page twice
counts 2; sharers of a hugetlb page table count 1 together.

Kernel source: ``fs/proc/page.c: kpagecount_read``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vmprobe.errors import FormatError
from vmprobe.formats import words as _words

if TYPE_CHECKING:
    from numpy.typing import NDArray

COUNT_LAST: Final = (1 << 32) - 1
"""The kernel counts in an ``int``; a larger word is not a count."""


def decode(
    data: bytes | bytearray | memoryview | NDArray[Any], *, file: str = "kpagecount"
) -> NDArray[np.uint64]:
    """Return one count per frame, in page-table entries.

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


def narrow(words: NDArray[np.uint64], *, file: str = "kpagecount") -> NDArray[np.uint32]:
    """Return the counts in half the memory.

    Raises
    ------
    FormatError
        A count does not fit into 32 bits; the error names the first such word by its index in `words`.

    Examples
    --------
    >>> narrow(np.array([0, 3], np.uint64)).dtype.name
    'uint32'
    """
    if words.size and words.max() > COUNT_LAST:
        index = int(np.argmax(words > COUNT_LAST))
        raise FormatError(file, None, f"word {index} is {int(words[index])}", "expected counts below 2**32")
    return words.astype(np.uint32)

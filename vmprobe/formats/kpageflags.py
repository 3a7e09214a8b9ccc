"""/proc/kpageflags: one word of flags per page frame.

Word *i* belongs to page frame number *i*. Bits 0 to 26 are the kernel's promise (KPF_LOCKED to KPF_PGTABLE in
``include/uapi/linux/kernel-page-flags.h``), bits 32 to 42 are for kernel hackers and may change meaning
(``include/linux/kernel-page-flags.h``). A word of 0 is no answer: a hole since 6.16, a page on a per-CPU free
list, or a page that the kernel uses for something without a flag.

Kernel source: ``fs/proc/page.c: kpageflags_read, stable_page_flags``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmprobe.formats import words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def decode(
    data: bytes | bytearray | memoryview | NDArray[Any], *, file: str = "kpageflags"
) -> NDArray[np.uint64]:
    """Return one flag word per frame.

    Raises
    ------
    FormatError
        The length is not a multiple of 8 bytes.

    Examples
    --------
    >>> [hex(w) for w in decode((1 << 10).to_bytes(8, "little")).tolist()]  # KPF_BUDDY
    ['0x400']
    """
    return words.decode(data, file)

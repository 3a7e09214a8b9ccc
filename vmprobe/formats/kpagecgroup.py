"""/proc/kpagecgroup: which memory cgroup each page frame is charged to.

Word *i* is the inode number of the cgroup directory that page frame *i* is charged to, 0 when it is charged
to none (free, kernel, slab, zero page). Charged is not used: the first toucher pays. A cgroup that was
removed is shown as its nearest living ancestor.

Kernel source: ``fs/proc/page.c: kpagecgroup_read``, ``mm/memcontrol.c: page_cgroup_ino``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmprobe.formats import words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def decode(
    data: bytes | bytearray | memoryview | NDArray[Any], *, file: str = "kpagecgroup"
) -> NDArray[np.uint64]:
    """Return one cgroup inode per frame, 0 for none.

    Raises
    ------
    FormatError
        The length is not a multiple of 8 bytes.

    Examples
    --------
    >>> decode((4711).to_bytes(8, "little")).tolist()
    [4711]
    """
    return words.decode(data, file)

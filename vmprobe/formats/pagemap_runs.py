"""PID/pagemap.runs of a recorded tree: the virtual pages of the words in the dense ``pagemap`` beside it.

Not a file of the kernel: ``lab/record.py`` writes one line a run, ``first_vpn nr_pages``, the first in
hexadecimal and the second in decimal, ascending and disjoint. A pagemap with its holes would be a sparse file
of 256 GiB, which neither zip, git nor scp carries.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

import numpy as np

from vmprobe.formats.lines import lines

if TYPE_CHECKING:
    from numpy.typing import NDArray

VPN_END: Final = 1 << 52
"""No machine has a page number this high: 64-bit addresses of pages of 4 KiB end here."""

LINE_BYTES: Final = 13 + 1 + 16 + 1
"""The longest line: a page number, a blank, a count up to `VPN_END`, a newline."""


def parse(data: bytes, *, file: str = "pagemap.runs") -> NDArray[np.uint64]:
    r"""Return the runs, ascending and disjoint; none where nothing was mapped.

    Returns
    -------
    runs
        First page number and number of pages. Shape (runs, 2), uint64.

    Raises
    ------
    FormatError
        A line is not two numbers, holds no page, or begins before the end of the one above it.

    Examples
    --------
    >>> parse(b"400 2\n7fff0 1\n").tolist()
    [[1024, 2], [524272, 1]]
    """
    found = array("Q")
    seen_to = 0
    for line in lines(data, file):
        first_word, blank, nr_word = line.text.partition(" ")
        if not blank:
            raise line.error("expected `first_vpn nr_pages`")
        first = line.hexadecimal(first_word, "a page number")
        nr_pages = line.unsigned(nr_word, "a number of pages")
        if not nr_pages:
            raise line.error("expected at least one page")
        if first < seen_to:
            raise line.error("expected a run that begins behind the one above it")
        seen_to = first + nr_pages
        if seen_to > VPN_END:
            raise line.error(f"expected page numbers below {VPN_END:#x}")
        found.extend((first, nr_pages))
    return np.array(found, np.uint64).reshape(-1, 2)

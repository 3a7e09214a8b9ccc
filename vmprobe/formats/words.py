"""Arrays of 64-bit words: what pagemap, kpageflags, kpagecount and kpagecgroup have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vmprobe.errors import FormatError

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORD_BYTES: Final = 8
"""Bytes of one entry in each of the four files."""


def decode(data: bytes | bytearray | memoryview | NDArray[Any], file: str) -> NDArray[np.uint64]:
    """Return the words of `data`, which are in the byte order of the machine, without copying.

    Parameters
    ----------
    data
        Any contiguous buffer; the result shares its memory and its writability.
    file
        Name put into the error.

    Raises
    ------
    FormatError
        The length is not a multiple of 8 bytes; its line is None.
    """
    nr_bytes = data.nbytes if isinstance(data, np.ndarray | memoryview) else len(data)
    if nr_bytes % WORD_BYTES:
        raise FormatError(file, None, f"{nr_bytes} bytes", "expected whole words of 8 bytes")
    if nr_bytes == 0:  # numpy refuses to look into an empty buffer
        return np.empty(0, np.uint64)
    return np.frombuffer(data, np.uint64)

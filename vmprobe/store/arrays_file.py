"""Arrays of plain numbers in a file of their own, in numpy's format, written whole."""

from __future__ import annotations

import io
import zipfile
import zlib
from typing import TYPE_CHECKING, Final

import numpy as np

from vmprobe.errors import InputError
from vmprobe.store.single_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

MOST_BYTES: Final = 4 << 30
"""Arrays that claim to be larger are not unpacked."""


def write_arrays(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write arrays by name; OutputError as `write_whole`."""
    whole = io.BytesIO()
    np.savez_compressed(whole, allow_pickle=False, **arrays)
    write_whole(path, whole.getvalue())


def read_arrays(path: Path, hint: str) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of a file by name.

    Parameters
    ----------
    path
        The file.
    hint
        What such a file is made by, for who gave another one.

    Raises
    ------
    InputError
        The file cannot be read, or is none of arrays.
    """
    try:
        with zipfile.ZipFile(path) as packed:
            size = sum(member.file_size for member in packed.infolist())
        if size > MOST_BYTES:
            raise InputError(f"{path}: it unpacks to {size} bytes, more than we take", hint=hint)
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}", hint=hint) from error
    except (ValueError, zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError) as error:
        raise InputError(f"{path}: not what it should be: {error}", hint=hint) from error

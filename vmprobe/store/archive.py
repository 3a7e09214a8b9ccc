"""Snapshots in one file: a ``.tar`` or ``.tar.zst`` of the folder, unpacked with distrust."""

from __future__ import annotations

import re
import shutil
import stat
import sys
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, cast

from vmprobe.errors import SnapshotError
from vmprobe.schema import MANIFEST

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Iterator

_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_CHUNK_BYTES: Final = 1 << 20
_MAX_MEMBERS: Final = 100_000

_MEMBER: Final = re.compile(
    r"(?:\./)?(?:(?P<top>[^/]+)/)??(?P<name>manifest\.json|[a-z][a-z0-9_]{0,62}(?:/part-[0-9]{4,5})?\.parquet)"
)


class _Bounded:
    """A file to read that gives no more than a number of bytes, in no more than a chunk at a time.

    `tarfile` reads some headers whole, of whatever size they claim; and a few bytes unpack to any number.
    """

    def __init__(self, stream: IO[bytes], path: Path, max_bytes: int) -> None:
        self._stream = stream
        self._path = path
        self._max_bytes = max_bytes

    def read(self, size: int = -1, /) -> bytes:
        if not 0 <= size <= _CHUNK_BYTES:
            raise SnapshotError(
                self._path, "a header of the archive is too large", hint="it is not of vmprobe"
            )
        data = self._stream.read(size)
        self._check(self._stream.tell())
        return data

    def seek(self, position: int, /) -> int:
        self._check(position)
        return self._stream.seek(position)

    def tell(self) -> int:
        return self._stream.tell()

    def close(self) -> None:
        self._stream.close()

    def _check(self, position: int) -> None:
        if position > self._max_bytes:
            raise SnapshotError(
                self._path,
                f"unpacks to more than {self._max_bytes} bytes",
                hint="unpack it with tar and open the folder",
            )


@contextmanager
def unpack(path: Path, max_bytes: int) -> Iterator[Path]:
    """Unpack the archive at `path` into a temporary folder that lasts as long as the context.

    Raises
    ------
    SnapshotError
        It is no archive, damaged, holds something that is not part of a snapshot, or more than `max_bytes`.
    OSError
        It cannot be opened, or the temporary folder not be filled.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise SnapshotError(path, "is neither a folder nor a file", hint="name a snapshot or a tar of one")
    with tempfile.TemporaryDirectory(prefix="vmprobe-") as temporary:
        folder = Path(temporary)
        try:
            _unpack(path, folder, max_bytes)
        except (tarfile.TarError, zstd.ZstdError, EOFError, ValueError, OverflowError) as error:
            reason = "is neither a folder nor a whole tar of one: " + str(error).partition("\n")[0]
            raise SnapshotError(path, reason, hint="copy it again") from error
        yield folder


def _unpack(path: Path, folder: Path, max_bytes: int) -> None:
    with path.open("rb") as raw:
        compressed = raw.read(len(_ZSTD_MAGIC)) == _ZSTD_MAGIC
        raw.seek(0)
        if compressed:
            with zstd.ZstdFile(raw, "rb") as plain:
                _unpack_tar(_Bounded(cast("IO[bytes]", plain), path, max_bytes), path, folder)
        else:
            _unpack_tar(_Bounded(raw, path, max_bytes), path, folder)


def _unpack_tar(bounded: _Bounded, path: Path, folder: Path) -> None:
    """Write the files of the one snapshot in a tar under `folder`."""
    tops: set[str] = set()
    with tarfile.open(fileobj=cast("IO[bytes]", bounded), mode="r:", errors="backslashreplace") as archive:
        for member, top, name in _members(archive, path):
            tops.add(top)
            if len(tops) > 1:
                raise SnapshotError(
                    path, "holds more than one snapshot", hint="unpack it and open one folder"
                )
            target = folder / name
            target.parent.mkdir(mode=0o700, exist_ok=True)
            source = archive.extractfile(member)
            assert source is not None  # it is a regular file
            try:
                with target.open("xb") as out:
                    shutil.copyfileobj(source, out, _CHUNK_BYTES)
            except FileExistsError:
                raise SnapshotError(path, f"holds {name} twice", hint="copy it again") from None
    if not (folder / MANIFEST).exists():
        raise SnapshotError(path, f"holds no {MANIFEST}, so it is not a snapshot")


def _members(archive: tarfile.TarFile, path: Path) -> Iterator[tuple[tarfile.TarInfo, str, str]]:
    """Yield the files of the archive with the folder they are in and their name inside a snapshot."""
    for nr_seen, member in enumerate(archive):
        # tarfile remembers every member; we have no use for that, and a hostile archive has millions.
        if nr_seen >= _MAX_MEMBERS:
            raise SnapshotError(path, f"holds more than {_MAX_MEMBERS} members")
        if member.isdir():
            continue  # folders are made as their files need them
        match = _MEMBER.fullmatch(member.name)
        if match is None or match["top"] == ".." or not member.isreg() or member.issparse():
            raise SnapshotError(
                path,
                f"holds {member.name[:60]!r}, which is not part of a snapshot",
                hint="unpack and look at it first",
            )
        yield member, match["top"] or "", match["name"]

"""A recorded tree: what lab/record.py saved of a host's /proc and /sys, read as if the host were there.

Reading it raises what the recorder met: a file that it was refused is refused here as well. A recording is a
bug report and may come from anywhere, so links and devices in it are not followed.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Final

from vmprobe.errors import InputError
from vmprobe.formats import recording
from vmprobe.formats.recording import DAMAGED, Recording
from vmprobe.sources.plainfile import open_plain
from vmprobe.sources.procfs import FLAGS, Tree, read_fd
from vmprobe.sources.recorded_pagemap import spread

if TYPE_CHECKING:
    from vmprobe.sources.meter import Meter

MARK: Final = "recording.json"
"""The file that makes a folder a recorded tree."""

MAX_BYTES: Final = 64 << 20
"""Of that file: a hundred thousand processes that could not be read make 10 MiB."""


def find(root: str) -> Recording | None:
    """Return what the recorded tree below `root` says of itself, None where it is no recorded tree.

    Raises
    ------
    InputError
        It is one that cannot be replayed.
    """
    path = f"{root}/{MARK}"
    try:
        fd = open_plain(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        if os.fstat(fd).st_size > MAX_BYTES:
            raise InputError(f"{path}: is larger than {MAX_BYTES >> 20} MiB", hint=DAMAGED)
        data, _ = read_fd(fd)
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(fd)
    found = recording.parse(data, file=path)
    if found.byte_order != sys.byteorder:
        raise InputError(
            f"{path}: its words are {found.byte_order}-endian, those of this machine {sys.byteorder}-endian",
            hint=f"replay it on a {found.byte_order}-endian machine",
        )
    for name, nr_words in found.frame_words.items():
        _check_size(f"{root}/{name}", nr_words * 8)
    return found


def _unreadable(path: str, error: OSError) -> InputError:
    return InputError(f"{path}: {error.strerror}", hint="replay it as a user who may read it")


def _check_size(path: str, nr_bytes: int) -> None:
    """Refuse a frame file that was cut off: the frames that it lacks would look like memory of no use."""
    try:
        size = os.lstat(path).st_size
    except OSError:
        return  # taken out of the recording: said to be missing when it is looked for
    if size != nr_bytes:
        raise InputError(f"{path}: has {size} bytes, of {nr_bytes} that were recorded", hint=DAMAGED)


def is_live(root: str) -> bool:
    """Whether this is a mounted procfs: each has ``self``, which leads nowhere in another PID namespace."""
    return os.path.islink(f"{root}/self")


class StillTree(Tree):
    """A folder of saved files without a second look at them."""

    def later(self) -> None:  # type: ignore[explicit-override]
        """Return None: to read the same bytes again would tell nothing of what moved."""


class RecordedTree(Tree):
    """The part of a recording that stands for /proc or /sys, at the first or at the second look.

    Parameters
    ----------
    root
        The recording's folder.
    about
        What it says of itself.
    meter
        Where the cost of every read goes.
    part
        Folder inside: empty for /proc, ``sysfs``, or one of these below ``later``.
    """

    def __init__(self, root: str, about: Recording, meter: Meter, part: str = "") -> None:
        super().__init__(f"{root}/{part}" if part else root, meter)
        self._recording_root = root
        self._about = about
        self._part = part

    def later(self) -> Tree | None:  # type: ignore[explicit-override]
        """Return the second look, None where the recording has none."""
        if not os.path.isdir(f"{self._recording_root}/later"):
            return None
        part = f"later/{self._part}" if self._part else "later"
        return RecordedTree(self._recording_root, self._about, self.meter, part)

    def open(self, name: str) -> int:  # type: ignore[explicit-override]
        """Open for reading, or raise what the recorder met."""
        return self._opened(self.path(name), name, None)

    def open_folder(self, name: str) -> int:  # type: ignore[explicit-override]
        """Open a folder, or raise what the recorder met."""
        try:
            return os.open(self.path(name), FLAGS | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise self._met(name) from None

    def open_in(self, folder_fd: int, folder: str, name: str) -> int:  # type: ignore[explicit-override]
        """Open a file of a process; page tables are spread out as the kernel's are."""
        fd = self._opened(name, f"{folder}/{name}", folder_fd)
        if name.rpartition("/")[2] != "pagemap":
            return fd
        try:
            return spread(fd, f"{name}.runs", folder_fd, self.path(f"{folder}/{name}"))
        finally:
            os.close(fd)

    def pids(self) -> list[int]:  # type: ignore[explicit-override]
        """Return the processes, also those that were listed and had ended before they were read."""
        ended = {int(name) for name in self._errors() if name.isascii() and name.isdecimal()}
        return sorted({*super().pids(), *ended})

    def cgroups(self) -> list[tuple[int, str]]:
        """Return (inode, path) of the memory cgroups; of the part for /sys.

        Raises
        ------
        OSError
            What the recorder met.
        """
        name = "cgroups.json"
        return recording.parse_cgroups(self.read(name, "cgroupfs"), file=self.path(name))

    def _opened(self, path: str, name: str, folder_fd: int | None) -> int:
        try:
            return open_plain(path, folder_fd, self.path(name))
        except FileNotFoundError:
            raise self._met(name) from None

    def _errors(self) -> dict[str, int]:
        """Return the error numbers by name in this part."""
        prefix = f"{self._part}/" if self._part else ""
        return {
            path.removeprefix(prefix): code
            for path, code in self._about.errors.items()
            if path.startswith(prefix)
        }

    def _met(self, name: str) -> OSError:
        """Return the error for a file that is not there: the recorder's own, if it noted one."""
        path = f"{self._part}/{name}" if self._part else name
        code = self._about.errors.get(path, errno.ENOENT)
        return OSError(code, os.strerror(code), self.path(name))

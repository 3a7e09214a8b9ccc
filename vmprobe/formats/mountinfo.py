"""/proc/PID/mountinfo: the mounts of one mount namespace, and what kind of file system each is.

Kernel source: ``fs/proc_namespace.c: show_mountinfo``; device numbers are decimal there, hexadecimal in maps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vmprobe.formats.lines import U32_LAST, lines

if TYPE_CHECKING:
    from vmprobe.formats.lines import Line


class Mount(NamedTuple):
    """One mount.

    Parameters
    ----------
    dev
        Device of its file system, ``major:minor`` in hexadecimal as maps prints it.
    fstype
        ``ext4``, ``tmpfs``, ``fuse.sshfs``, ...
    """

    dev: str
    fstype: str


def parse(data: bytes, *, file: str = "mountinfo") -> dict[int, Mount]:
    r"""Return the mounts by their id.

    Raises
    ------
    FormatError
        A line is malformed.

    Examples
    --------
    >>> parse(b"25 24 0:23 / /dev/shm rw,relatime shared:7 - tmpfs tmpfs rw,size=8g\n")
    {25: Mount(dev='00:17', fstype='tmpfs')}
    """
    return dict(_row(line) for line in lines(data, file))


def _row(line: Line) -> tuple[int, Mount]:
    # Blanks in paths are escaped, so a field is a word. A root or a place may be a dash alone; only after
    # the six fields that are always there does a dash end the optional ones.
    words = line.text.split(" ")
    fields = iter(words[6:])
    fstype = next(fields, "") if "-" in fields else ""  # looking for the dash reads on to it
    if not fstype:
        raise line.error("expected `id parent major:minor root place options ... - fstype ...`")
    major, colon, minor = words[2].partition(":")
    if not colon:
        raise line.error("expected a device `major:minor`")
    numbers = [line.unsigned(word, "a device number", U32_LAST) for word in (major, minor)]
    return line.unsigned(words[0], "a mount", U32_LAST), Mount("{:02x}:{:02x}".format(*numbers), fstype)

"""Pages in pipes: kernel memory that nothing in /proc attributes, and that cannot move."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import random
import resource
import termios
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from lab.errors import UnavailableError
from lab.workloads import look
from lab.workloads.made import LIMIT_BYTES, bounded, need
from lab.workloads.memory import PAGE

if TYPE_CHECKING:
    from lab.workloads.made import Made

PAGES_EACH: Final = 16
"""What a pipe holds unless somebody resizes it."""

SPARE_FILES: Final = 32
CAP_SYS_ADMIN, CAP_SYS_RESOURCE = 21, 24


@contextmanager
def pipes(*, bytes: int, seed: int = 0, limit: int = LIMIT_BYTES) -> Made:  # noqa: A002 - named as it is written in a spec
    """Fill pipes with whole pages.

    Parameters
    ----------
    bytes
        Rounded up to whole pipes of 64 KiB.
    seed
        Of the content.
    limit
        As for every workload.

    Yields
    ------
    dict
        ``bytes``, ``nr_pages``, and ``pipes``: a list of ``[fd to read, fd to write, inode, bytes]``.
    """
    need(bytes >= 1, f"bytes={bytes}: at least 1")
    nr_pipes = -(-bytes // (PAGES_EACH * PAGE))
    nr_bytes = bounded(nr_pipes * PAGES_EACH * PAGE, limit)
    may_have(nr_pipes)
    rng = random.Random(seed)
    with ExitStack() as stack:
        made = []
        for _ in range(nr_pipes):
            reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            stack.callback(os.close, reader)
            stack.callback(os.close, writer)
            for _ in range(PAGES_EACH):
                with contextlib.suppress(BlockingIOError):  # full too soon: found below, with the figures
                    os.write(writer, rng.randbytes(PAGE))
            made.append((reader, writer, os.fstat(reader).st_ino, _fill(reader)))
        short = [pipe for pipe in made if pipe[3] != PAGES_EACH * PAGE]
        if short:
            raise UnavailableError(
                f"{len(short)} of {nr_pipes} pipes hold {short[0][3]} bytes, not {PAGES_EACH * PAGE}: "
                "this user is past fs.pipe-user-pages-soft"
            )
        yield {"bytes": nr_bytes, "nr_pages": nr_pipes * PAGES_EACH, "pipes": made}


def _fill(fd: int) -> int:
    """Return how many bytes wait in a pipe."""
    found = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, found)
    return found[0]


def may_have(nr_pipes: int) -> None:
    """Refuse what limits forbid; the soft limit of files is raised, as every process may."""
    nr_files = 2 * nr_pipes + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < nr_files:
        if hard < nr_files:
            raise UnavailableError(
                f"{nr_pipes} pipes need {nr_files} files, and RLIMIT_NOFILE is {soft}, at most {hard}"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (nr_files, hard))
    if look.capable(CAP_SYS_RESOURCE) or look.capable(CAP_SYS_ADMIN):
        return
    for name in ("soft", "hard"):
        pages = int(look.text(f"/proc/sys/fs/pipe-user-pages-{name}"))
        if pages and nr_pipes * PAGES_EACH > pages:
            raise UnavailableError(
                f"{nr_pipes} pipes hold {nr_pipes * PAGES_EACH} pages; fs.pipe-user-pages-{name} is {pages}"
            )

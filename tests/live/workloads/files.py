"""Files and segments: open and unmapped, unattached, cached, reached by two names, secret."""

from __future__ import annotations

import ctypes
import os
import tempfile
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from lab.errors import UnavailableError
from lab.workloads import look
from lab.workloads.folders import filesystem, own_folder
from lab.workloads.memory import LIBC, PAGE, READ, SHARED, WRITE, Area, failed
from tests.live.workloads import witness
from tests.live.workloads.anonymous import NR_PAGES
from tests.live.workloads.bare import Keep, bare, spawn
from tests.live.workloads.made import Expected, Made

if TYPE_CHECKING:
    from tests.live.workloads.made import Holding

MEMFD_SECRET: Final = 447
IPC_PRIVATE, IPC_CREAT, IPC_RMID = 0, 0o1000, 0
NR_CACHED: Final = 1024
CONTENT: Final = b"vmprobe " * (NR_PAGES * PAGE // 8)


def scratch() -> str:
    """Return a folder for files: a guest's disk, or the machine's for temporary files."""
    return os.environ.get("LAB_SCRATCH") or tempfile.gettempdir()


def mapping(fd: int, nr_pages: int, prot: int = READ | WRITE) -> Area:
    """Map a file shared, and read each page."""
    area = Area(nr_pages, prot=prot, flags=SHARED, fd=fd)
    area.read_each()
    return area


@contextmanager
def fd_only(control: bool) -> Holding:
    """Write a memfd that two processes have open and neither maps; in the control both map all of it."""

    def work() -> Keep:
        fd = os.memfd_create("passed")
        os.write(fd, CONTENT)

        def mapped() -> list[Area]:
            if not control:
                return []
            return [mapping(fd, NR_PAGES)]

        child = spawn(lambda: Keep(mapped(), fds=[fd]))
        return Keep(mapped(), fds=[fd], facts={"child": child.pid})

    with bare(work) as (one,):
        pids = [one.pid, one.facts["child"]]
        for pid in pids:
            nr = NR_PAGES + 1 if control else 1
            look.expect_equal("present pages", witness.present_pages(pid), nr)
        yield Made(pids, Expected(processes=2, bytes=NR_PAGES * PAGE))


@contextmanager
def sysv_unattached() -> Holding:
    """Write a System V segment and detach it."""
    LIBC.shmat.restype = ctypes.c_void_p
    shmid = LIBC.shmget(IPC_PRIVATE, ctypes.c_size_t(NR_PAGES * PAGE), IPC_CREAT | 0o600)
    if shmid < 0:
        raise UnavailableError(str(failed("shmget")))
    try:
        address = LIBC.shmat(shmid, None, 0)
        if address == ctypes.c_void_p(-1).value:
            raise failed("shmat")
        ctypes.memset(address, 1, NR_PAGES * PAGE)
        if LIBC.shmdt(ctypes.c_void_p(address)):
            raise failed("shmdt")
        yield Made([], Expected(bytes=NR_PAGES * PAGE))
    finally:
        LIBC.shmctl(shmid, IPC_RMID, None)


@contextmanager
def page_cache() -> Holding:
    """Write a file of the disk and close it."""
    if filesystem(scratch()) in {None, "tmpfs"}:
        raise UnavailableError(f"{scratch()} is not known to lie on a disk")
    with own_folder(scratch(), "page-cache") as folder:
        with open(f"{folder}/file", "wb") as file:
            file.write(os.urandom(NR_CACHED * PAGE))
            file.flush()
            os.fsync(file.fileno())
        # Files of others come to the cache and go: only these frames are looked at.
        with open(f"{folder}/file", "rb") as file:
            area = mapping(file.fileno(), NR_CACHED, prot=READ)
            pfns = witness.frames(os.getpid(), area.start, NR_CACHED)
            area.close()
        witness.expect_counts("pages of the file", pfns, NR_CACHED, 0)
        yield Made([], Expected(frames=NR_CACHED), frames=pfns)


@contextmanager
def dax(control: bool) -> Holding:
    """Map a file whose pages are those of a device; the control maps one of another file system."""
    mounts = [line.split() for line in look.text("/proc/self/mountinfo").splitlines()]
    places = [words[4] for words in mounts if {"dax", "dax=always"} & set(words[-1].split(","))]
    if not places:
        raise UnavailableError("no file system is mounted with dax")
    with own_folder(scratch() if control else places[0], f"dax-{int(control)}") as folder:

        def work() -> Keep:
            fd = os.open(f"{folder}/file", os.O_RDWR | os.O_CREAT, 0o600)
            os.write(fd, CONTENT)
            area = mapping(fd, NR_PAGES)
            return Keep([area], facts={"start": area.start})

        with bare(work) as (one,):
            pfns = witness.frames(one.pid, one.facts["start"], NR_PAGES)
            look.expect_equal("present pages", len(pfns), NR_PAGES)
            counted = any(witness.words("kpagecount", pfns))
            look.expect_equal("pages with a map count", counted, control)
            yield Made([one.pid], Expected(processes=1))


@contextmanager
def other_path(control: bool) -> Holding:
    """Map one file by two hard links; the control maps it twice by one."""
    with ExitStack() as stack:
        folder = stack.enter_context(own_folder(scratch(), f"links-{int(control)}"))
        first, second = f"{folder}/first", f"{folder}/second"
        with open(first, "wb") as file:
            file.write(CONTENT)
        os.link(first, second)

        def by_name(path: str) -> Keep:
            area = mapping(os.open(path, os.O_RDONLY), NR_PAGES, prot=READ)
            return Keep([area], facts={"start": area.start})

        names = [first, first if control else second]
        pair = stack.enter_context(bare(*[lambda name=name: by_name(name) for name in names]))
        for one in pair:
            pfns = witness.frames(one.pid, one.facts["start"], NR_PAGES)
            witness.expect_counts("file", pfns, NR_PAGES, 2)
        yield Made([one.pid for one in pair], Expected(frames=NR_PAGES, processes=2))


@contextmanager
def secretmem(control: bool) -> Holding:
    """Map memory that the kernel itself does not map; the control maps a memfd."""

    def work() -> Keep:
        fd = os.memfd_create("open") if control else LIBC.syscall(MEMFD_SECRET, 0)
        if fd < 0:
            raise UnavailableError(str(failed("memfd_secret (before 6.5 it needs secretmem.enable=1)")))
        os.truncate(fd, NR_PAGES * PAGE)
        area = Area(NR_PAGES, flags=SHARED, fd=fd)
        area.stamp(1)
        return Keep([area], facts={"start": area.start})

    with bare(work) as (one,):
        witness.expect_counts("file", witness.frames(one.pid, one.facts["start"], NR_PAGES), NR_PAGES, 1)
        yield Made([one.pid], Expected(frames=NR_PAGES, processes=1))

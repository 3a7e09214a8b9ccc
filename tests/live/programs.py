"""Small programs for the tests to look at: each says on stdout what it did, then waits for stdin to close.

Run as ``python -I programs.py NAME [ARGUMENT]``, with the standard library alone.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import signal
import socket
import sys
import threading
import time

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
]
LIBC.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
LIBC.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
PAGE = mmap.PAGESIZE
READ, WRITE = 1, 2
PRIVATE_ANON, NORESERVE = 0x22, 0x4000
MADV_NOHUGEPAGE, MADV_GUARD_INSTALL = 15, 102
CLONE_VM = 0x100
SYS_EXIT = {"x86_64": 60, "aarch64": 93}.get(os.uname().machine, 60)


def say(**facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def wait() -> None:
    sys.stdin.read()


def reserve(nr_bytes: int) -> int:
    address = LIBC.mmap(None, nr_bytes, 0, PRIVATE_ANON | NORESERVE, -1, 0)
    if address in (None, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), "mmap")
    return address


def touch(address: int) -> None:
    if LIBC.mprotect(address, PAGE, READ | WRITE):
        raise OSError(ctypes.get_errno(), "mprotect")
    ctypes.memset(address, 1, 1)


def sparse() -> None:
    """One TiB reserved, 100 pages touched far apart, one guard page."""
    size = 1 << 40
    start = reserve(size)
    LIBC.madvise(start, size, MADV_NOHUGEPAGE)
    touched = [start + i * (size // 101) // PAGE * PAGE for i in range(100)]
    for address in touched:
        touch(address)
    guard = start + size - (PAGE << 4)
    guarded = LIBC.madvise(guard, PAGE, MADV_GUARD_INSTALL) == 0
    say(start=start, end=start + size, touched=touched, guard=guard if guarded else None)
    wait()


def threads() -> None:
    """Eight threads that count; prints the counters each time a line comes in."""
    counts = [0] * 8

    def count(i: int) -> None:
        while True:
            counts[i] += 1
            time.sleep(0.001)

    for i in range(7):
        threading.Thread(target=count, args=(i,), daemon=True).start()
    counter = threading.Thread(target=lambda: [say(counts=counts) for _ in sys.stdin], daemon=True)
    counter.start()
    say(ready=True)
    while counter.is_alive():
        counts[7] += 1
        time.sleep(0.001)


def shared_mm() -> None:
    """A second process with this address space (CLONE_VM), and a fork without."""
    start = reserve(PAGE * 8)
    for i in range(8):
        touch(start + i * PAGE)
    stack = reserve(PAGE * 16)
    LIBC.mprotect(stack, PAGE * 16, READ | WRITE)
    top = ctypes.c_void_p(stack + PAGE * 16)
    sleep = ctypes.cast(LIBC.sleep, ctypes.c_void_p)
    cloned = LIBC.clone(sleep, top, CLONE_VM | signal.SIGCHLD, ctypes.c_long(600))
    forked = os.fork()
    if forked == 0:
        time.sleep(600)
        os._exit(0)
    say(cloned=cloned, forked=forked, start=start)
    wait()
    for pid in (cloned, forked):
        os.kill(pid, signal.SIGKILL)


def zombie_leader() -> None:
    """The leader ends, another thread lives on with the memory."""
    start = reserve(PAGE * 4)
    for i in range(4):
        touch(start + i * PAGE)

    def live() -> None:
        time.sleep(0.3)  # the leader must be gone when we say so
        say(start=start)
        wait()
        os._exit(0)

    threading.Thread(target=live).start()
    LIBC.syscall(SYS_EXIT, 0)


def storm(per_second: str) -> None:
    """Forks and exits, half of them through vfork and exec, until stdin closes; then says how many."""
    total, done = 0, threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
    say(ready=True)
    begin = time.monotonic()
    while not done.is_set():
        if total % 2:
            os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
        else:
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)
        total += 1
        ahead = total / int(per_second) - (time.monotonic() - begin)
        if ahead > 0:
            time.sleep(ahead)
    say(total=total, seconds=time.monotonic() - begin)


def churn() -> None:
    """Maps and unmaps without rest, so that lists of VMAs tear."""
    say(ready=True)
    done = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
    held = [reserve(PAGE) for _ in range(300)]
    while not done.is_set():
        for i in range(0, 300, 3):
            LIBC.mprotect(held[i], PAGE, READ | WRITE if i % 2 else READ)
            LIBC.munmap(ctypes.c_void_p(held[i]), ctypes.c_size_t(PAGE))
            held[i] = reserve(PAGE * (1 + i % 3))


def quiet() -> None:
    """Private memory of known size, written, a part only read, and nothing that moves."""
    start = reserve(PAGE * 64)
    LIBC.madvise(start, PAGE * 64, MADV_NOHUGEPAGE)
    LIBC.mprotect(start, PAGE * 64, READ | WRITE)
    for i in range(32):
        ctypes.memset(start + i * PAGE, 1, 1)
    for i in range(40, 48):
        ctypes.string_at(start + i * PAGE, 1)
    say(start=start)
    wait()


def files(folder: str) -> None:
    """Open files that are memory, that are none, and one that is mapped."""
    memfd = os.memfd_create("one of ours")
    os.truncate(memfd, PAGE * 16)
    area = mmap.mmap(memfd, PAGE * 16)
    area[0] = area[PAGE] = area[PAGE * 5] = 1
    regular = os.open(f"{folder}/regular", os.O_RDWR | os.O_CREAT)
    pipe = os.pipe()
    try:
        huge = os.memfd_create("huge", os.MFD_HUGETLB)
    except OSError:
        huge = None
    try:
        shm = os.open(f"/dev/shm/vmprobe-test-{os.getpid()}", os.O_RDWR | os.O_CREAT | os.O_EXCL)
        os.unlink(f"/dev/shm/vmprobe-test-{os.getpid()}")
        os.write(shm, bytes(PAGE * 2))
    except OSError:
        shm = None
    near, _far = socket.socketpair()
    null = os.open("/dev/null", os.O_RDONLY)
    eventfd = LIBC.eventfd(0, 0)
    say(
        memfd=memfd,
        regular=regular,
        pipe=pipe,
        pipe_inode=os.fstat(pipe[0]).st_ino,
        huge=huge,
        shm=shm,
        socket=near.fileno(),
        null=null,
        eventfd=eventfd,
    )
    wait()


def segment() -> None:
    """Three pages of a System V segment touched and left alone; removed when a line comes in or none will."""
    LIBC.shmat.restype = ctypes.c_void_p
    LIBC.shmat.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
    LIBC.shmdt.argtypes = [ctypes.c_void_p]
    shmid = LIBC.shmget(0, ctypes.c_size_t(PAGE * 8), 0o600)
    if shmid < 0:
        say(shmid=None)
        return wait()
    try:
        address = LIBC.shmat(shmid, None, 0)
        ctypes.memset(address, 1, PAGE * 3)
        LIBC.shmdt(address)
        say(shmid=shmid)
        sys.stdin.readline()
    finally:
        LIBC.shmctl(shmid, 0, None)
    say(removed=True)
    return wait()


def sockets(number: str) -> None:
    """Hold many sockets open."""
    held = [socket.socket() for _ in range(int(number))]
    say(nr_open=len(held))
    wait()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])

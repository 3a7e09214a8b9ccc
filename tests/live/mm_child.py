"""A process that maps and unmaps as it is told, and says after each step what /proc/self/maps shows.

Run as ``PYTHONMALLOC=malloc python mm_child.py FILE [legacy]``, with the standard library alone; legacy
asks for addresses from below. It owns an arena of addresses, where nothing else is mapped, and the heap
above what its own allocator took. Messages are marshal behind a length of four bytes: first it says what
it owns, then for each list of steps on stdin one list of answers. Before each list it clears the arena
and puts the heap back. It ends with its stdin.

An answer is ``(result, maps)``: the result as the kernel gives it (an error as a negative number), and the
lines of arena and heap, or None where they are the same as before. A step ``("fork",)`` goes on in the child.
"""

from __future__ import annotations

import ctypes
import errno
import marshal
import os
import resource
import sys

PAGE = 4096
ARENA_PAGES = 4096
HEAP_PAGES = 256
STACK_LIMIT_PAGES = 512
FILE_PAGES = 4096
ARENA_START = 0x100_0000_0000
SYS_BRK = 12
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
PROT_NONE, PRIVATE_ANON, FIXED_PRIVATE_ANON = 0, 0x22, 0x32
ADDR_COMPAT_LAYOUT = 0x20_0000

LIBC = ctypes.CDLL(None, use_errno=True)
ADDRESS, SIZE, NUMBER = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
LIBC.mmap.restype, LIBC.mmap.argtypes = ADDRESS, [ADDRESS, SIZE, NUMBER, NUMBER, NUMBER, ctypes.c_long]
LIBC.munmap.argtypes = [ADDRESS, SIZE]
LIBC.mprotect.argtypes = LIBC.madvise.argtypes = [ADDRESS, SIZE, NUMBER]
LIBC.mremap.restype, LIBC.mremap.argtypes = ADDRESS, [ADDRESS, SIZE, SIZE, NUMBER, ADDRESS]
LIBC.read.argtypes = [NUMBER, ADDRESS, SIZE]
LIBC.malloc.restype, LIBC.malloc.argtypes, LIBC.free.argtypes = ADDRESS, [SIZE], [ADDRESS]
LIBC.personality.argtypes = [ctypes.c_ulong]
LIBC.syscall.restype, LIBC.syscall.argtypes = ctypes.c_long, [ctypes.c_long, ADDRESS]
FAILED = ctypes.c_void_p(-1).value


def brk(address: int) -> int:
    return int(LIBC.syscall(SYS_BRK, address))


def status(result: int) -> int:
    return -ctypes.get_errno() if result < 0 else 0


class Process:
    """What this process owns, and the steps it can do."""

    def __init__(self, path: str) -> None:
        keep_malloc_off_the_heap()
        self.maps = os.open("/proc/self/maps", os.O_RDONLY)
        self.zero = os.open("/dev/zero", os.O_RDONLY)
        self.files = open_files(path)
        self.heap_base = brk(0)
        self.heap_limit = self.heap_base + HEAP_PAGES * PAGE
        self.arena_limit = ARENA_START + ARENA_PAGES * PAGE
        self.heap_start = next(start for start, line in self.lines(1 << 62) if line.endswith(b"[heap]"))
        assert self.heap_base % PAGE == 0
        assert not any(ARENA_START <= start < self.arena_limit for start, _ in self.lines(1 << 62))
        self.last = b""

    def facts(self) -> dict[str, object]:
        return {
            "arena_start": ARENA_START,
            "arena_pages": ARENA_PAGES,
            "heap_start": self.heap_start,
            "heap_base": self.heap_base,
            "stack_limit_pages": STACK_LIMIT_PAGES,
            "all_maps": b"\n".join(line for _, line in self.lines(1 << 64)),
        }

    def run(self, steps: list[tuple[object, ...]]) -> list[tuple[int, bytes | None]]:
        answers: list[tuple[int, bytes | None]] = []
        for i, (name, *arguments) in enumerate(steps):
            if name == "fork":
                return answers + self.fork(steps[i + 1 :])
            result = getattr(self, str(name))(*arguments)
            answers.append((result, self.seen()))
        return answers

    def fork(self, steps: list[tuple[object, ...]]) -> list[tuple[int, bytes | None]]:
        """Let a child do the other steps, and return its answers, the first for the fork itself."""
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(self.maps)
            self.maps = os.open("/proc/self/maps", os.O_RDONLY)
            first = (0, self.seen())
            with open(writer, "wb") as out:
                marshal.dump([first, *self.run(steps)], out)
            os._exit(0)
        os.close(writer)
        with open(reader, "rb") as answers:
            data = answers.read()
        os.waitpid(pid, 0)
        return marshal.loads(data)

    def reset(self) -> None:
        LIBC.munmap(ARENA_START, ARENA_PAGES * PAGE)
        LIBC.munmap(self.heap_base, HEAP_PAGES * PAGE)
        if brk(0) != self.heap_base:
            # The kernel shrinks a heap only where it finds some of it.
            LIBC.mmap(self.heap_base, PAGE, PROT_NONE, FIXED_PRIVATE_ANON, -1, 0)
            assert brk(self.heap_base) == self.heap_base
        self.last = b""

    def mmap(self, address: int, length: int, prot: int, flags: int, *source: int) -> int:
        file, pgoff = source
        fd = self.files[file] if file >= 0 else -1
        return self.placed(LIBC.mmap(address, length, prot, flags, fd, pgoff * PAGE), length)

    def mremap(self, address: int, old_length: int, length: int, flags: int, new_address: int) -> int:
        return self.placed(LIBC.mremap(address, old_length, length, flags, new_address), length)

    def placed(self, address: int | None, length: int) -> int:
        """Return the address of a mapping; one outside of what we own is unmapped again."""
        if address == FAILED:
            return -ctypes.get_errno()
        assert address is not None
        if not (ARENA_START <= address < self.arena_limit or self.heap_base <= address < self.heap_limit):
            LIBC.munmap(address, length)
        return address

    def hold(self, length: int) -> int:
        """Map where the kernel likes, and keep it."""
        address = LIBC.mmap(None, length, PROT_NONE, PRIVATE_ANON, -1, 0)
        return -ctypes.get_errno() if address == FAILED else address

    def munmap(self, address: int, length: int) -> int:
        return status(LIBC.munmap(address, length))

    def mprotect(self, address: int, length: int, prot: int) -> int:
        return status(LIBC.mprotect(address, length, prot))

    def madvise(self, address: int, length: int, advice: int) -> int:
        return status(LIBC.madvise(address, length, advice))

    def brk(self, address: int) -> int:
        return brk(address)

    def touch(self, address: int) -> int:
        """Let the kernel write one byte, so that a bad address is an error and no signal."""
        return status(LIBC.read(self.zero, address, 1))

    def seen(self) -> bytes | None:
        """Return the lines of arena and heap; None if they are as they were."""
        limit = max(self.heap_limit, self.arena_limit)
        owned = b"\n".join(
            line
            for start, line in self.lines(limit)
            if ARENA_START <= start < self.arena_limit or self.heap_start <= start < self.heap_limit
        )
        if owned == self.last:
            return None
        self.last = owned
        return owned

    def lines(self, limit: int) -> list[tuple[int, bytes]]:
        """Return the lines up to the first that starts at or above `limit`; a read gives some 4 KiB."""
        os.lseek(self.maps, 0, os.SEEK_SET)
        found: list[tuple[int, bytes]] = []
        while data := os.read(self.maps, 1 << 16):
            found += [(int(line[: line.index(b"-")], 16), line) for line in data.splitlines()]
            if found[-1][0] >= limit:
                break
        return found


def keep_malloc_off_the_heap() -> None:
    """Give malloc more than it will need, and let it neither give back nor ask for mappings of its own."""
    for option, value in ((M_TRIM_THRESHOLD, 1 << 30), (M_MMAP_THRESHOLD, 32 << 20), (M_TOP_PAD, 16 << 20)):
        if not LIBC.mallopt(option, value):
            raise OSError(errno.EINVAL, "mallopt")
    LIBC.free(LIBC.malloc(1 << 22))


def open_files(path: str) -> list[int]:
    """Return descriptors: a memfd, the same opened again, the same read-only, and a file of a file system."""
    memfd = os.memfd_create("mm_child")
    again = os.open(f"/proc/self/fd/{memfd}", os.O_RDWR)
    readonly = os.open(f"/proc/self/fd/{memfd}", os.O_RDONLY)
    plain = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    for fd in (memfd, plain):
        os.ftruncate(fd, FILE_PAGES * PAGE)
    return [memfd, again, readonly, plain]


def main(path: str, layout: str = "") -> None:
    if layout == "legacy" and not LIBC.personality(0xFFFFFFFF) & ADDR_COMPAT_LAYOUT:
        LIBC.personality(ADDR_COMPAT_LAYOUT)
        os.execv(sys.executable, [sys.executable, *sys.argv])
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    resource.setrlimit(resource.RLIMIT_STACK, (STACK_LIMIT_PAGES * PAGE, hard))
    process = Process(path)

    def say(message: object) -> None:
        data = marshal.dumps(message)
        sys.stdout.buffer.write(len(data).to_bytes(4, "little") + data)
        sys.stdout.buffer.flush()

    say(process.facts())
    while header := sys.stdin.buffer.read(4):
        steps = marshal.loads(sys.stdin.buffer.read(int.from_bytes(header, "little")))
        process.reset()
        say(process.run(steps))


if __name__ == "__main__":
    main(*sys.argv[1:])

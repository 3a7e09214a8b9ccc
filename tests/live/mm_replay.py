"""The child of `mm_child.py` asked, what it is asked to do, and the same done in the model.

`Kernel` records traces of what `Generator` makes up; `Model` starts as the child does and replays them.
"""

from __future__ import annotations

import errno
import marshal
import subprocess
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from kernelmodel.errors import NoMemoryError, SyscallError
from kernelmodel.mapping import Mapping
from kernelmodel.mm.address_space import AddressSpace
from kernelmodel.mm.types import Layout, MergeRules
from kernelmodel.vma import File

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernelmodel.ordered import MapFactory

CHILD = Path(__file__).with_name("mm_child.py")
PAGE = 4096
NR_STEPS = 50
READ, WRITE, EXEC = 1, 2, 4
SHARED, PRIVATE, FIXED, ANON, GROWSDOWN, NORESERVE, NOREPLACE = 1, 2, 0x10, 0x20, 0x100, 0x4000, 0x100000
MAYMOVE, TO, DONTUNMAP = 1, 2, 4
ADVICE = (10, 11, 18, 19)
PLAIN = 3
"""Number of the file that is no memfd."""
PERMS = {
    "".join(letters).encode(): sum(
        bit for letter, bit in zip(letters, (1, 2, 4, 0x80), strict=True) if letter in "rwxs"
    )
    for letters in product("r-", "w-", "x-", "sp")
}

Step = tuple[Any, ...]


class Line(NamedTuple):
    """A line of maps: bytes, the model's VM_* of the permissions, bytes, number of the file (0 for none)."""

    start: int
    end: int
    access: int
    offset: int
    inode: int


class Answer(NamedTuple):
    result: int
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Trace:
    seed: int
    steps: list[Step]
    answers: list[Answer]


class Kernel:
    """The child that does the steps."""

    def __init__(self, path: Path, *options: str) -> None:
        command = [sys.executable, str(CHILD), str(path), *options]
        # With malloc below everything, Python itself maps nothing while it works.
        env = {"PYTHONMALLOC": "malloc"}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        self.facts: dict[str, Any] = self._receive()
        self.facts["stacking"] = self._stacking()

    def send(self, steps: list[Step]) -> None:
        assert self.process.stdin is not None
        data = marshal.dumps(steps)
        self.process.stdin.write(len(data).to_bytes(4, "little") + data)
        self.process.stdin.flush()

    def answers(self) -> list[Answer]:
        lines: tuple[Line, ...] = ()
        answers = []
        for result, text in self._receive():
            lines = lines if text is None else tuple(map(parse, text.splitlines()))
            answers.append(Answer(result, lines))
        return answers

    def run(self, steps: list[Step]) -> list[Answer]:
        self.send(steps)
        return self.answers()

    def record(self, seeds: range) -> Iterator[Trace]:
        """Iterate traces; the child is always one sequence ahead."""
        sent: list[tuple[int, list[Step]]] = []
        for seed in seeds:
            steps = Generator(seed, self.facts).steps()
            self.send(steps)
            sent.append((seed, steps))
            if len(sent) == 2:
                yield Trace(*sent.pop(0), self.answers())
        for seed, steps in sent:
            yield Trace(seed, steps, self.answers())

    def end(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def _stacking(self) -> bool:
        """Tell whether the plain file lies in a file system like overlayfs: its mappings stay apart."""
        arena = self.facts["arena_start"]
        lines = self.run([("mmap", arena + i * PAGE, PAGE, READ, PRIVATE | FIXED, PLAIN, i) for i in (0, 1)])[
            -1
        ].lines
        return arena + PAGE in {line.start for line in lines}

    def _receive(self) -> Any:
        assert self.process.stdout is not None
        header = self.process.stdout.read(4)
        assert header, "the child ended without a word"
        return marshal.loads(self.process.stdout.read(int.from_bytes(header, "little")))


def parse(line: bytes) -> Line:
    bounds, perms, offset, _, inode, *_ = line.split(None, 5)
    start, end = bounds.split(b"-")
    return Line(int(start, 16), int(end, 16), PERMS[perms], int(offset, 16), int(inode))


class Generator:
    """Steps that meet each other: few pages, mappings that go and come back, neighbours that are alike.

    Pages 0 to 15 of the arena are home, 64 pages further on is where mremap carries things; stacks stand
    where the guard gap lets them grow; a part of all goes to the heap. Each seed has its own taste: two
    or three kinds of mappings and its own frequencies, or next to nothing would ever merge.
    """

    def __init__(self, seed: int, facts: dict[str, Any]) -> None:
        self.random = Random(seed)
        self.arena: int = facts["arena_start"]
        self.heap: int = facts["heap_base"]
        self.last = self.arena, 0
        self.stacks: list[int] = []
        self.undoing: list[Step] = []
        self.nr_pages = self.random.choice((8, 12, 16))
        self.prots = self.random.sample((READ | WRITE, READ, 0, READ | WRITE | EXEC, READ | EXEC), 2)
        self.anon_percent = self.random.choice((90, 60, 20))
        self.shared_percent = self.random.choice((0, 10, 40))
        self.mapped_pages: tuple[int, ...] = (1, 1, 2, 3, 4, 6, 8, 20)
        if self.chance(60):
            # Anonymous memory alone, nearly all of it writable: what its anon_vmas allow is all that matters.
            self.prots = [READ | WRITE, self.random.choice((READ | WRITE | EXEC, READ))]
            self.anon_percent, self.shared_percent = 100, 0
            self.mapped_pages = (1, 1, 1, 2, 2, 3)
        self.prots += [READ | WRITE] * 2
        self.files = self.random.sample(range(4), 2)
        self.bases = [70, *self.random.choices((0, 10, 40), k=2)]
        usual = {
            self.mmap: 18,
            self.munmap: 4,
            self.mprotect: 17,
            self.mremap: 16,
            self.touch: 22,
            self.brk: 5,
            self.madvise: 4,
            self.stack: 2,
            self.touch_stack: 4,
            self.fork: 1.2,
        }
        self.weights = {kind: weight * self.random.choice((0, 0.5, 1, 2)) for kind, weight in usual.items()}
        self.weights[self.mmap] = usual[self.mmap]

    def steps(self) -> list[Step]:
        kinds = self.random.choices(list(self.weights), list(self.weights.values()), k=NR_STEPS - 6)
        ground = ("mmap", self.arena, self.nr_pages * PAGE, READ | WRITE, PRIVATE | ANON | FIXED, -1, 0)
        return [ground] + [self.mmap() for _ in range(5)] + [self.undo() or kind() for kind in kinds]

    def undo(self) -> Step | None:
        """Now and then put back what was changed: things meet again that a change drove apart."""
        if not self.undoing or not self.chance(15):
            return None
        return self.undoing.pop(self.random.randrange(len(self.undoing)))

    def chance(self, percent: int) -> bool:
        return self.random.randrange(100) < percent

    def place(self) -> tuple[int, int]:
        """Return an address and its page, the same for all addresses that mremap carries onto one another."""
        if self.chance(60):
            base, page = self.last
            page = min(max(page + self.random.randint(-2, 2), 0), self.nr_pages)
        else:
            page = self.random.randrange(self.nr_pages)
            base = self.random.choices((self.arena, self.arena + 64 * PAGE, self.heap), self.bases)[0]
        self.last = base, page
        return base + page * PAGE, page

    def length(self, pages: tuple[int, ...] = (1, 1, 1, 1, 2, 2, 3, 5)) -> int:
        return self.random.choice(pages) * PAGE - self.random.choice((0, 0, 0, 1))

    def mmap(self) -> Step:
        address, page = self.place()
        length, prot = self.length(self.mapped_pages), self.random.choice(self.prots)
        flags = self.random.choices((FIXED, NOREPLACE, 0), (88, 7, 5))[0]
        flags |= (NORESERVE if self.chance(3) else 0) | (
            SHARED if self.chance(self.shared_percent) else PRIVATE
        )
        if self.chance(self.anon_percent):
            return "mmap", address, length, prot, flags | ANON, -1, 0
        pgoff = page if self.chance(80) else self.random.randrange(64)
        return "mmap", address, length, prot, flags, self.random.choice(self.files), pgoff

    def munmap(self) -> Step:
        return "munmap", self.place()[0], self.length()

    def mprotect(self) -> Step:
        address, length = self.place()[0], self.length()
        self.undoing.append(("mprotect", address, length, READ | WRITE))
        return "mprotect", address, length, self.random.choice(self.prots)

    def madvise(self) -> Step:
        return "madvise", self.place()[0], self.length(), self.random.choice(ADVICE)

    def mremap(self) -> Step:
        address, page = self.place()
        old = 0 if self.chance(5) else self.length()
        new = old if old and self.chance(65) else self.length()
        kinds = (MAYMOVE | TO, MAYMOVE | TO | DONTUNMAP, MAYMOVE | DONTUNMAP, MAYMOVE, 0)
        flags = self.random.choices(kinds, (60, 12, 3, 15, 10))[0]
        far = address - page * PAGE == self.arena + 64 * PAGE
        target = self.arena + (page + (0 if far else 64)) * PAGE if self.chance(75) else self.place()[0]
        if flags & DONTUNMAP and self.chance(50):
            target = address + (self.random.choice((-PAGE, PAGE)) if page else PAGE)
        if flags & TO:
            self.undoing.append(("mremap", target, new, new, MAYMOVE | TO, address))
        return "mremap", address, old, new, flags, target

    def touch(self) -> Step:
        return "touch", self.place()[0] + self.random.randrange(PAGE)

    def brk(self) -> Step:
        return "brk", self.heap + self.random.randrange(20) * PAGE + self.random.choice((0, 0, 17, PAGE - 1))

    def stack(self) -> Step:
        page = self.random.randrange(300, 1000)
        self.stacks.append(page)
        flags = PRIVATE | ANON | FIXED | GROWSDOWN
        return "mmap", self.arena + page * PAGE, self.length(), self.random.choice(self.prots), flags, -1, 0

    def touch_stack(self) -> Step:
        """Touch below a stack: near, or far enough that the guard gap or the limit may forbid it."""
        page = self.random.choice(self.stacks) if self.stacks else 500
        reach = self.random.choice((1, 2, 8, 64, 300, 600))
        return "touch", self.arena + max(page - self.random.randint(1, reach), 120) * PAGE

    def fork(self) -> Step:
        return ("fork",)


class Model:
    """An address space that starts as the child does, and does the same steps."""

    def __init__(self, factory: MapFactory, rules: MergeRules, facts: dict[str, Any]) -> None:
        stack_limit_bytes = facts["stack_limit_pages"] * PAGE
        layout = Layout(start_brk=facts["heap_start"], stack_limit_bytes=stack_limit_bytes)
        self.space = AddressSpace(factory, layout, rules)
        self.space.set_brk(facts["heap_base"])
        self.space.touch(facts["heap_base"] - 1)
        memfd, plain = Mapping("memfd"), Mapping("plain")
        backing = File(plain) if facts["stacking"] else None
        self.files = [File(memfd), File(memfd), File(memfd, writable=False), File(plain, backing=backing)]
        self.inodes: dict[Mapping, int] = {}
        arena = facts["arena_start"]
        self.owned = (
            (arena, arena + facts["arena_pages"] * PAGE),
            (facts["heap_base"], facts["heap_base"] + 256 * PAGE),
        )

    def owns(self, address: int) -> bool:
        return any(start <= address < end for start, end in self.owned)

    def do(self, step: Step) -> int:
        """Do a step and return its result as the kernel gives it."""
        try:
            return self._do(*step)
        except SyscallError as error:
            return -int(getattr(errno, error.code))
        except NoMemoryError:
            return -errno.ENOMEM

    def _do(self, name: str, *arguments: int) -> int:
        space = self.space
        if name == "mmap":
            address, length, prot, flags, index, pgoff = arguments
            file = self.files[index] if index >= 0 else None
            return self._placed(space.mmap(address, length, prot, flags, file=file, pgoff=pgoff), length)
        if name == "mremap":
            return self._placed(space.mremap(*arguments), arguments[2])
        if name == "brk":
            return space.set_brk(*arguments)
        if name == "fork":
            self.space = space.fork()
        else:
            getattr(space, name)(*arguments)
        return 0

    def _placed(self, address: int, length: int) -> int:
        """Unmap what the kernel would place elsewhere, as the child does."""
        if not self.owns(address):
            self.space.munmap(address, length)
        return address

    def agrees(self, answer: Answer, result: int) -> bool:
        """Tell whether result and VMAs are those of the kernel, and learn the inodes."""
        # Where the kernel puts what it may place freely is another test's question.
        elsewhere = (
            result > 0 and answer.result > 0 and not self.owns(result) and not self.owns(answer.result)
        )
        if result != answer.result and not elsewhere:
            return False
        vma = self.space.mm.vmas.first
        for start, end, access, offset, inode in answer.lines:
            if vma is None or vma.start != start or vma.end != end or vma.flags & 0x87 != access:
                return False
            if vma.file is None:
                if inode:
                    return False
            elif vma.pgoff * PAGE != offset or self._inode(vma.file.mapping, inode) != inode:
                return False
            vma = vma.next
        return vma is None

    def _inode(self, mapping: Mapping, shown: int) -> int:
        """Return the inode of a file: what was shown when it was first seen, and is no other's."""
        if mapping not in self.inodes and shown not in self.inodes.values():
            self.inodes[mapping] = shown
        return self.inodes.get(mapping, 0)

    def shown(self) -> str:
        return "\n".join(map(repr, self.space))


def replay(trace: Trace, model: Model) -> str | None:
    """Return what differs first, None if nothing does."""
    for number, (step, answer) in enumerate(zip(trace.steps, trace.answers, strict=True)):
        result = model.do(step)
        if not model.agrees(answer, result):
            kernel = "\n".join(
                f"{x.start:x}-{x.end:x} {x.access:02x} {x.offset:x} {x.inode}" for x in answer.lines
            )
            done = ", ".join(hex(x) if isinstance(x, int) else x for x in step)
            return (
                f"seed {trace.seed} step {number}: {done}\n"
                f"kernel: {answer.result:#x}\n{kernel}\nmodel: {result:#x}\n{model.shown()}"
            )
    return None

"""A real child moves its VMAs in every way there is: ``rmap`` names each cause, an entry for every page."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.live.conftest import Child
from vmprobe.analyses.rmap import rmap
from vmprobe.collect import Options, take
from vmprobe.tables import MemoryTables, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmprobe.analyses.rmap import Stale

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.usefixtures("root_only")]
PAGE = os.sysconf("SC_PAGE_SIZE")

MOVER = """
import ctypes, json, mmap, sys

LIBC = ctypes.CDLL(None, use_errno=True)
for name in ("mmap", "mremap"):
    getattr(LIBC, name).restype = ctypes.c_void_p
PAGE, NONE, RW = mmap.PAGESIZE, 0, 3
ANON, NORESERVE, FIXED, MAYMOVE_FIXED, NOHUGEPAGE = 0x22, 0x4000, 0x10, 3, 15
C = ctypes.c_size_t

def check(failed):
    if failed:
        raise OSError(ctypes.get_errno(), "refused")

def protect(start, pages, how):
    check(LIBC.mprotect(C(start), C(pages * PAGE), how))

def touch(start, pages):
    for page in range(start, start + pages * PAGE, PAGE):
        ctypes.c_uint64.from_address(page).value = page

def stack():
    with open("/proc/self/maps") as lines:
        return next(int(line.split("-")[0], 16) for line in lines if "[stack]" in line)

room = LIBC.mmap(None, C(400 * PAGE), NONE, ANON | NORESERVE, -1, C(0))
check(room == C(-1).value)
LIBC.madvise(C(room), C(400 * PAGE), NOHUGEPAGE)
place = {name: room + i * 40 * PAGE for i, name in enumerate(
    ("trim", "split", "merge", "move", "goal", "keep", "practice", "practice goal"), 1)}

def area(name, pages):
    protect(place[name], pages, RW)
    touch(place[name], pages)

def change(trim, split, merge, move, goal):
    if trim:
        check(LIBC.munmap(C(trim), C(3 * PAGE)))
    protect(split + 3 * PAGE, 4, 1)
    protect(merge + 2 * PAGE, 4, RW)
    moved = LIBC.mremap(C(move), C(7 * PAGE), C(7 * PAGE), MAYMOVE_FIXED, C(goal))
    check(moved != goal)

# What is done later is done once beforehand, so that the interpreter itself has all it needs.
area("practice", 20)
p = place["practice"]
change(None, p, p, p + 10 * PAGE, place["practice goal"])
spare = [[i] for i in range(100000)]
del spare
area("trim", 10), area("split", 9), area("merge", 9), area("move", 7), area("keep", 5)
protect(place["merge"] + 2 * PAGE, 4, 1)
touch(stack(), 8)

def say(**facts):
    sys.stdout.write(json.dumps(facts) + "\\n")
    sys.stdout.flush()

say(stack=stack(), **place)
for _ in sys.stdin:
    low = stack()
    touch(low - 6 * PAGE, 6)
    change(*(place[name] for name in ("trim", "split", "merge", "move", "goal")))
    say(stack=stack())
"""
"""Pages of every area hold their own first address."""

EXPECTED = {"trimmed head": 7, "split": 6, "merge": 7, "mremap": 7}
"""By hand: 10 pages less 3; 9 less the head of 3; 9 less the head of 2; all of 7. The stack is looked up."""


class Mover(Child):
    """The child that moves its VMAs."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", MOVER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={},
        )  # fmt: skip
        self.pid = self.process.pid
        self.facts: dict[str, Any] = self.next()

    def word_at(self, address: int) -> int:
        """Return the 64-bit word at an address of the child."""
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
            memory.seek(address)
            word: int = struct.unpack("=Q", memory.read(8))[0]
        return word


@pytest.fixture(scope="module")
def mover() -> Iterator[Mover]:
    child = Mover()
    yield child
    child.end()


@pytest.fixture(scope="module")
def both(mover: Mover) -> tuple[Snapshot, Snapshot, int]:
    """The child before and after, and where its stack starts now."""
    before = of(mover.pid)
    stack = mover.ask()["stack"]
    return before, of(mover.pid), stack


def of(pid: int) -> Snapshot:
    return take(Options(pids=(pid,), frames=False))


def stale(before: Snapshot, after: Snapshot) -> Stale:
    found = rmap(after, since=before).stale
    assert found is not None
    return found


def stack_pages(snapshot: Snapshot) -> int:
    """Return how many pages the stack has, counted in the table."""
    rows = snapshot.table("vmas").rows("vma", "name")
    stack = next(vma for vma, name in rows if name == "[stack]")
    entries = snapshot.table("mappings").rows("vma", "nr_pages", "exclusive")
    return sum(nr for vma, nr, exclusive in entries if vma == stack and exclusive)


def causes(found: Stale) -> dict[str, int]:
    return {row.cause: row.entries for row in found.by_cause}


def test_every_cause_has_its_pages(both: tuple[Snapshot, Snapshot, int]) -> None:
    before, after, _ = both
    found = stale(before, after)
    assert causes(found) == EXPECTED | {"stack growth": stack_pages(before)}
    assert stack_pages(before) >= 8
    assert {row.processes for row in found.by_cause} == {1}
    assert {row.reason: row.entries for row in found.not_followed} == {"unmapped": 3}
    assert found.recorded == found.right + found.entries + 3
    assert found.right > 100


def test_the_linear_offset_is_right_for_all(both: tuple[Snapshot, Snapshot, int]) -> None:
    before, after, _ = both
    answer = rmap(after, since=before)
    assert answer.stale is not None
    assert answer.stale.linear_right == answer.stale.entries
    assert answer.stale.linear_by_rule == EXPECTED["mremap"]
    assert [row.stale for row in answer.maps] == [answer.stale.entries, 0, 0]


def test_examples_lead_to_the_page_that_was_meant(both: tuple[Snapshot, Snapshot, int], mover: Mover) -> None:
    """Pages hold their first address: the memory of the child is the witness."""
    before, after, stack = both
    examples = {row.cause: row.example for row in stale(before, after).by_cause}
    for cause, place in (
        ("trimmed head", "trim"), ("split", "split"), ("merge", "merge"), ("mremap", "move"),
    ):  # fmt: skip
        example = examples[cause]
        assert example.pid == mover.pid
        meant = example.old_start + example.recorded_offset
        assert mover.facts[place] <= meant < mover.facts[place] + 10 * PAGE
        assert mover.word_at(example.new_start + example.right_offset) == meant
        if cause != "mremap":
            assert example.new_start + example.recorded_offset != meant
    grown = examples["stack growth"]
    assert (grown.old_start, grown.new_start) == (mover.facts["stack"], stack)
    assert grown.right_offset - grown.recorded_offset == grown.old_start - grown.new_start == 6 * PAGE


def with_vma(snapshot: Snapshot, start: int, column: str, value: int) -> Snapshot:
    """Return the snapshot with another value in the VMA that starts at `start`."""
    table = snapshot.table("vmas")
    values = table.column(column).copy()
    values[np.flatnonzero(table.column("start") == start)] = value
    tables = {name: snapshot.table(name) for name in snapshot.tables()}
    tables["vmas"] = replace(table, columns={**table.columns, column: values})
    return Snapshot(snapshot.manifest, MemoryTables(tables))


def test_planted_faults_are_noticed(both: tuple[Snapshot, Snapshot, int], mover: Mover) -> None:
    before, after, stack = both
    whole = causes(stale(before, after))
    for start, value, cause, nr in (
        (stack, mover.facts["stack"], "stack growth", 0),  # the stack has not grown
        (mover.facts["keep"], mover.facts["keep"] - PAGE, "merge", whole["merge"] + 5),
        (mover.facts["trim"] + 3 * PAGE, mover.facts["trim"], "trimmed head", 0),
        (mover.facts["split"] + 3 * PAGE, mover.facts["split"], "split", 2),
    ):
        found = causes(stale(before, with_vma(after, start, "start", value)))
        assert found.get(cause, 0) == nr, cause
        assert found != whole


def test_without_motion_nothing_is_stale(both: tuple[Snapshot, Snapshot, int], mover: Mover) -> None:
    _, after, _ = both
    found = stale(after, of(mover.pid))
    assert (found.entries, found.by_cause, found.not_followed) == (0, (), ())

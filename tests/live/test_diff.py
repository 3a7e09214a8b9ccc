"""A child takes huge pages and ends: ``diff`` names it, for the blocks that its own pagemap says it has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.live.conftest import Child
from vmprobe.analyses.diff import diff
from vmprobe.cli.main import run
from vmprobe.collect import Options, take

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from vmprobe.analyses.diff_answer import Diff
    from vmprobe.analyses.diff_frames import OwnerRow
    from vmprobe.tables import Snapshot

pytestmark = [
    pytest.mark.live, pytest.mark.root, pytest.mark.slow, pytest.mark.usefixtures("root_only"),
]  # fmt: skip
PAGE = os.sysconf("SC_PAGE_SIZE")
BUDDY = 10
"""``include/uapi/linux/kernel-page-flags.h``"""
NR_BYTES = 256 << 20
FEWEST = 8
"""Blocks that the child must have taken whole for the test to tell anything."""

HOG = f"""
import ctypes, json, mmap, sys

memory = mmap.mmap(-1, {NR_BYTES + (2 << 20)}, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
start = -(-ctypes.addressof(ctypes.c_char.from_buffer(memory)) // (2 << 20)) * (2 << 20)

def say(**facts):
    sys.stdout.write(json.dumps(facts) + "\\n")
    sys.stdout.flush()

say(start=start)
for _ in sys.stdin:
    # Large pages where there are any: they come out of blocks that are free as a whole.
    ctypes.CDLL(None).madvise(ctypes.c_size_t(start), ctypes.c_size_t({NR_BYTES}), 14)
    ctypes.memset(start, 1, {NR_BYTES})
    say(held=True)
"""


class Hog(Child):
    """The child that takes memory when it is asked to."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", HOG],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={},
        )  # fmt: skip
        self.pid = self.process.pid
        self.facts: dict[str, Any] = self.next()

    def frames(self) -> NDArray[np.int64]:
        """Return the frames of its memory, as its own pagemap has them."""
        with open(f"/proc/{self.pid}/pagemap", "rb") as file:
            file.seek(self.facts["start"] // PAGE * 8)
            words = np.frombuffer(file.read(NR_BYTES // PAGE * 8), np.uint64)
        present = words[(words >> np.uint64(63)) != 0]
        return (present & np.uint64((1 << 55) - 1)).astype(np.int64)


def free_blocks(snapshot: Snapshot, order: int) -> set[int]:
    """Return the blocks of which every frame is in the buddy allocator by its flag word."""
    table = snapshot.table("frames")
    pfn, words = table.column("pfn").astype(np.int64), table.column("flags").astype(np.uint64)
    blocks, nr = np.unique(
        pfn[((words >> np.uint64(BUDDY)) & np.uint64(1)) != 0] >> order, return_counts=True
    )
    return set(blocks[nr == 1 << order].tolist())


class Looks:
    """Three snapshots: before, while the child holds memory, and after it ended."""

    def __init__(self, hog: Hog) -> None:
        self.before = take(Options())
        self.order: int = self.before.manifest["pageblock_order"]
        if self.order != 9:
            pytest.skip(f"pageblocks have the order {self.order} here, and the child takes blocks of order 9")
        hog.ask()
        self.pid = hog.pid
        frames = hog.frames()
        self.during = take(Options())
        # Those that it has whole, and that nobody moved while the snapshot was taken.
        pages = Counter((np.intersect1d(frames, hog.frames()) >> 9).tolist())
        whole = {block for block, nr in pages.items() if nr == 1 << 9}
        self.taken = whole & free_blocks(self.before, 9)
        hog.end()
        self.after = take(Options())
        self.left = whole & free_blocks(self.after, 9)
        if min(len(self.taken), len(self.left)) < FEWEST:
            pytest.skip(f"of {NR_BYTES >> 20} MiB only {len(self.left)} free blocks were taken whole")


@pytest.fixture(scope="module")
def looks() -> Iterator[Looks]:
    hog = Hog()
    try:
        yield Looks(hog)
    finally:
        hog.end()


def row_of(answer: Diff, turn: str, pid: int) -> OwnerRow | None:
    assert answer.frames is not None
    rows = getattr(answer.frames, turn).owners
    return next((row for row in rows if row.pid == pid), None)


def test_who_took_huge_pages_and_who_left(looks: Looks) -> None:
    took = diff(looks.before, looks.during, top=None)
    row = row_of(took, "broken", looks.pid)
    assert row is not None, "the child is not named"
    assert row.kind == "process"
    assert len(looks.taken) <= row.alone_pageblocks <= row.alone_pageblocks + row.shared_pageblocks
    # It has a little memory besides: its own interpreter's.
    assert row.pages <= (NR_BYTES >> 20 << 8) + 8192
    came = [each for each in (took.processes.rows if took.processes else ()) if each.pid == looks.pid]
    assert [each.change for each in came] == ["grew"]
    assert came[0].change_bytes is not None
    assert came[0].change_bytes >= NR_BYTES * 0.99

    gone = diff(looks.during, looks.after, top=None)
    row = row_of(gone, "freed", looks.pid)
    assert row is not None, "the child is not named as who left"
    assert row.alone_pageblocks >= len(looks.left)
    went = [each.change for each in (gone.processes.rows if gone.processes else ()) if each.pid == looks.pid]
    assert went == ["went"]


def test_without_its_page_tables_the_child_is_not_named(looks: Looks) -> None:
    """The planted fault: the test above would notice."""
    nameless: Snapshot = looks.during.released("mappings")
    answer = diff(looks.before, nameless, top=None)
    assert row_of(answer, "broken", looks.pid) is None
    assert answer.frames is not None
    rows = [row for row in answer.frames.broken.owners if row.kind == "anonymous"]
    assert sum(row.alone_pageblocks for row in rows) >= len(looks.taken)


def test_the_later_one_is_taken_now(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "old.vmsnap")
    assert run(["snapshot", "--no-frames", "-o", path]) == 0
    capsys.readouterr()
    assert run(["diff", path, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["new"]["path"] is None
    assert answer["same_boot"] is True
    # The earlier one has no frames, so that none were read of the later one.
    assert answer["new"]["frames"] is False
    assert answer["processes"] is not None
    assert answer["events"]

"""Looks at a host whose files are made up: what is new in them, what stays, and what refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.synthetic import frames, snapshot
from vmprobe.collect.again import Looks
from vmprobe.errors import InputError, PrivilegeError
from vmprobe.sources.meter import Meter
from vmprobe.sources.procfs import Tree

if TYPE_CHECKING:
    from pathlib import Path

    from vmprobe.tables import Snapshot

ZONEINFO = """Node 0, zone   Normal
  pages free     {free}
        boost    0
        min      4
        low      5
        high     6
        spanned  4096
        present  4096
        managed  4000
        cma      0
        protection: (0, 0)
  pagesets
    cpu: 0
              count:    {pcp}
              high:     14
              batch:    1
  node_unreclaimable:  0
  start_pfn:           0
"""
ZEROS = " 0" * 10


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    write(tmp_path, free=9, pcp=3, flags=7, counts=1)
    return tmp_path


def write(proc: Path, *, free: int, pcp: int, flags: int, counts: int) -> None:
    (proc / "zoneinfo").write_text(ZONEINFO.format(free=free, pcp=pcp))
    (proc / "buddyinfo").write_text(f"Node 0, zone   Normal {free}{ZEROS} \n")
    np.full(4096, flags, np.uint64).tofile(proc / "kpageflags")
    np.full(4096, counts, np.uint64).tofile(proc / "kpagecount")


def looks(proc: Path) -> Looks:
    sys = proc / "sys"
    sys.mkdir(exist_ok=True)
    return Looks(whole(), Tree(str(proc), Meter()), Tree(str(sys), Meter()))


def whole() -> Snapshot:
    assert len(frames([((), 4096)])) == 4096
    return snapshot()


def of(found: Snapshot) -> tuple[set[int], int, int]:
    """Return the flag words, free pages in the free lists, and pages on per-CPU lists."""
    words = set(found.table("frames").column("flags").tolist())
    ((nr_free, *_), *_) = found.table("free_areas").rows("nr_free")
    ((pcp,),) = found.table("zones").rows("pcp_pages")
    return words, nr_free, pcp


def test_each_look_sees_what_is_there_then(proc: Path) -> None:
    with looks(proc) as made:
        before = made.before()
        write(proc, free=5, pcp=1, flags=8, counts=2)
        after = made.after()
    assert of(before) == ({7}, 9, 3)
    assert set(before.table("frames").column("mapcount").tolist()) == {1}
    assert of(after) == ({8}, 5, 1)
    # Its counts would be older than its flags.
    assert not after.table("frames").has("mapcount")
    assert before.manifest["volatility"]["free_pages_before"] == 9
    assert after.manifest["volatility"]["free_pages_after"] == 5
    # The rest is of the whole snapshot.
    assert before.table("tasks") is whole().table("tasks") or len(before.table("tasks")) > 0
    assert before.manifest["host"] == whole().manifest["host"]


def test_a_rehearsal_leaves_nothing_behind(proc: Path) -> None:
    with looks(proc) as made:
        made.rehearse()
        write(proc, free=5, pcp=1, flags=8, counts=2)
        before = made.before()
    assert of(before) == ({8}, 5, 1)
    assert set(before.table("frames").column("mapcount").tolist()) == {2}
    assert before.manifest["volatility"]["free_pages_before"] == 5


def test_counts_that_were_torn_and_files_that_end(proc: Path) -> None:
    np.full(4096, (1 << 64) - 1, np.uint64).tofile(proc / "kpagecount")
    np.full(4000, 7, np.uint64).tofile(proc / "kpageflags")
    with looks(proc) as made:
        found = made.before().table("frames")
    assert set(found.column("mapcount").tolist()) == {(1 << 32) - 1}
    assert np.count_nonzero(found.column("flags")) == 4000


def test_what_is_not_there_or_may_not_be_read(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (proc / "kpagecount").unlink()
    with pytest.raises(InputError, match="kpagecount: No such file"):
        looks(proc)
    monkeypatch.setattr(Tree, "open", _refuse)
    with pytest.raises(PrivilegeError, match="kpageflags: needs root"):
        looks(proc)


def _refuse(_tree: Tree, _name: str) -> int:
    raise PermissionError(13, "Permission denied")

"""Pinned frames on a made-up host: found where fdinfo tells them, counted where it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from kernelmodel.sharing.unmapped import IO_URING
from tests.bridge.test_model import mappings, vmas
from tests.synthetic import PAGE, frames, rows, snapshot
from vmprobe.bridge.pins import outstanding_pins, pinned_frames
from vmprobe.errors import SnapshotError

if TYPE_CHECKING:
    from vmprobe.tables import Snapshot, Table

ANON = ("UPTODATE", "LRU", "MMAP", "ANON", "SWAPBACKED")
HEAD, TAIL = (*ANON, "COMPOUND_HEAD", "THP"), (*ANON, "COMPOUND_TAIL", "THP")
SMALL = "UserBufs: 2\n0: 0xa010/8192\n1: 0x20000/4096"
"""Three pages of buffers, of which the first begins inside a page: 10, 11, 12 and 32."""
LARGE = "UserBufs: 3\n0: 0x40000/65536\n1: <none>\n2: 0x40000/4096"
"""A folio of 16 pages, and its first page once more."""


def tasks(*processes: tuple[int, int | None, int | None]) -> Table:
    """Processes from (pid, mm, VmPin)."""
    return rows("tasks", "pid mm vm_pin_bytes frozen", *((*process, False) for process in processes))


def fds(*files: tuple[int, str | None], target: str = IO_URING) -> Table:
    """Open rings from (pid, info)."""
    return rows("fds", "pid fd target info", *((pid, 5, target, info) for pid, info in files))


def counts(acquired: int | None, released: int | None) -> Table:
    made = (("acquired", acquired), ("released", released))
    told = [("vmstat", "", f"nr_foll_pin_{name}", nr) for name, nr in made if nr is not None]
    return rows("counters", "source scope name value", *told)


def host(**replaced: Any) -> Snapshot:
    made = {
        "frames": frames([(ANON, 100), (HEAD, 1), (TAIL, 15), (ANON, 140)]),
        "tasks": tasks((70, 1, 4 * PAGE), (71, 2, 0)),
        "fds": fds((70, SMALL), (71, SMALL)),
        "vmas": vmas((1, 0, 200, "rd"), (2, 0, 200, "rd")),
        "mappings": mappings(
            (1, 0, 10, 2, "present", 50),
            (1, 0, 12, 1, "present", 20),
            (1, 0, 32, 1, "present", 21),
            (1, 0, 64, 16, "present", 100),
            (2, 1, 10, 30, "present", 150),
        ),
        "counters": counts(1000, 994),
    }
    return snapshot(**(made | replaced))


def test_every_page_of_a_buffer_is_found_and_one_that_inherited_the_ring_has_none() -> None:
    found = pinned_frames(host())
    assert found.pfn.dtype == np.int64
    assert found.pfn.tolist() == [20, 21, 50, 51]
    assert (found.nr_outstanding, found.nr_unlocated) == (6, 2)


def test_a_large_folio_accounts_for_one_pin_of_each_buffer() -> None:
    found = pinned_frames(host(fds=fds((70, LARGE)), counters=counts(10, 0)))
    assert found.pfn.tolist() == list(range(100, 116))
    assert found.nr_unlocated == 8


def test_two_descriptors_of_one_ring_are_one() -> None:
    twice = pinned_frames(host(fds=fds((70, SMALL), (70, SMALL)), counters=counts(8, 0)))
    assert (twice.pfn.tolist(), twice.nr_unlocated) == ([20, 21, 50, 51], 4)
    shared = host(tasks=tasks((70, 1, 4 * PAGE), (71, 1, 4 * PAGE)), counters=counts(8, 0))
    assert pinned_frames(shared).nr_unlocated == 4


def test_pages_that_are_not_there_are_not_located() -> None:
    gone = host(mappings=mappings((1, 0, 12, 1, "present", 20), (1, 0, 32, 1, "present", 4000)))
    assert (pinned_frames(gone).pfn.tolist(), pinned_frames(gone).nr_unlocated) == ([20], 5)


@pytest.mark.parametrize(
    ("acquired", "released", "outstanding", "unlocated"),
    [(None, 3, None, None), (3, None, None, None), (3, 9, 0, 0), (4, 0, 4, 0), (5, 0, 5, 1)],
)
def test_what_is_not_counted_stays_unknown(
    acquired: int | None, released: int | None, outstanding: int | None, unlocated: int | None
) -> None:
    made = host(counters=counts(acquired, released))
    assert outstanding_pins(made) == outstanding
    found = pinned_frames(made)
    assert (len(found.pfn), found.nr_outstanding, found.nr_unlocated) == (4, outstanding, unlocated)


@pytest.mark.parametrize(
    "replaced",
    [
        {"fds": fds((70, None))},
        {"fds": fds((70, SMALL), target="/dev/null")},
        {"tasks": tasks((70, 1, 0))},
        {"tasks": tasks((70, None, 4 * PAGE))},
    ],
)
def test_nothing_is_located_without_a_ring_or_pins(replaced: dict[str, Table]) -> None:
    found = pinned_frames(host(**replaced))
    assert (found.pfn.tolist(), found.nr_outstanding, found.nr_unlocated) == ([], 6, 6)


def test_a_process_whose_pins_were_not_counted_may_have_some() -> None:
    assert len(pinned_frames(host(tasks=tasks((70, 1, None)))).pfn) == 4


@pytest.mark.parametrize("table", ["fds", "mappings", "vmas"])
def test_without_a_table_all_pins_are_somewhere(table: str) -> None:
    made = {name: host().table(name) for name in host().tables() if name != table}
    found = pinned_frames(snapshot(without=(table,), **made))
    assert (len(found.pfn), found.nr_unlocated) == (0, 6)


def test_buffers_without_frames_are_refused() -> None:
    made = {name: host().table(name) for name in host().tables() if name != "frames"}
    with pytest.raises(SnapshotError, match="no page frames"):
        pinned_frames(snapshot(without=("frames",), **made))

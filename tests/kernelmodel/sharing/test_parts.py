"""The part that one process has of a mechanism, where frames alone do not tell it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from kernelmodel.host import Unseen
from kernelmodel.pageflags import mask
from kernelmodel.sharing.facts import OpenFile, SysvSegment
from kernelmodel.sharing.mechanism import Mechanism
from kernelmodel.sharing.survey import of_process, survey
from tests.kernelmodel.sharing.plants import ANON, HEAD, PAGE, SHMEM, TAIL, Plants, control

if TYPE_CHECKING:
    from kernelmodel.sharing.finding import Finding

M = Mechanism
Part = tuple[int | None, int | None, tuple[int, ...]]


def parts(host: Plants, mechanism: Mechanism) -> dict[int, Part | None]:
    """Return frames, entries and processes of each process's part."""
    facts = host.facts()
    answer = survey(facts)

    def of(pid: int) -> Part | None:
        found = [part for part in of_process(answer, pid) if part.mechanism == mechanism]
        assert len(found) <= 1
        return figures(found[0]) if found else None

    return {pid: of(pid) for pid in (10, 20, 30)}


def figures(part: Finding) -> Part:
    part.validate()
    assert part.nr_bytes == (part.nr_frames or 0) * PAGE
    return part.nr_frames, part.nr_entries, part.pids


def test_swap_slots_of_two_pairs_are_kept_apart() -> None:
    host = control()
    areas = [host.area(mm, 12) for mm in range(3)]
    for at, slot in enumerate((100, 101, 102, 103, 900, 901)):
        host.swapped[0, areas[0].start + at] = (0, slot)
    for at, slot in enumerate((102, 103, 104)):
        host.swapped[1, areas[1].start + at] = (0, slot)
    for at, slot in enumerate((900, 500, 500)):  # one slot twice in one process
        host.swapped[2, areas[2].start + at] = (0, slot)
    assert parts(host, M.SWAP_SLOT) == {
        10: (3, 3, (10, 20, 30)),
        20: (2, 2, (10, 20)),
        30: (2, 3, (10, 30)),
    }


def test_shared_memory_in_swap_is_that_of_ones_own_files() -> None:
    host = control()
    for mm, inode, nr in ((0, 3, 5), (1, 3, 5), (1, 4, 2)):
        name = "/dev/zero (deleted)"
        host.area(mm, 9, name=name, dev="00:01", inode=inode, shared=True, swap_bytes=nr * PAGE)
    host.segments.append(SysvSegment(65, 9 * PAGE, 1, 0, 7 * PAGE))
    host.area(2, 9, name="/SYSV00000000 (deleted)", dev="00:01", inode=65, shared=True, swap_bytes=7 * PAGE)
    host.segments.append(SysvSegment(66, 9 * PAGE, 0, 0, 3 * PAGE))  # nobody's
    assert parts(host, M.SHMEM_SWAPPED) == {
        10: (5, None, (10, 20)),
        20: (7, None, (10, 20)),
        30: (7, None, (30,)),
    }
    (whole,) = [f for f in survey(host.facts()).findings if f.mechanism == M.SHMEM_SWAPPED]
    assert (whole.nr_frames, whole.pids) == (5 + 2 + 7 + 3, (10, 20, 30))


def test_files_held_are_those_that_one_holds() -> None:
    host = control()
    host.frames(6, SHMEM & ~mask("MMAP"))
    for pid, inode, nr in ((10, 98, 4), (20, 98, 4), (20, 99, 2)):
        size = nr * PAGE
        host.files.append(OpenFile(pid, 5, "/memfd:y (deleted)", "00:01", inode, "tmpfs", size, size))
    assert parts(host, M.FD_ONLY) == {10: (4, None, (10, 20)), 20: (6, None, (10, 20)), 30: None}


def test_pages_that_a_folio_keeps_are_those_of_ones_own_folios() -> None:
    host = control()
    for mms, nr_mapped in (((0, 1), 2), ((1,), 3)):
        pfns = host.frames(4, ANON | TAIL)
        host.words[pfns[0]] = ANON | HEAD
        for mm in mms:
            host.map(host.area(mm, 4), pfns[:nr_mapped])
    assert parts(host, M.PARTIAL_FOLIO) == {10: (2, 0, (10, 20)), 20: (3, 0, (10, 20)), 30: None}


@pytest.mark.parametrize("nr_frames", [2, 9])
def test_pins_that_no_buffer_tells_are_counted_by_process(nr_frames: int) -> None:
    host = control()
    area, pfns = host.area(0, 2), host.frames(2, ANON)
    host.map(area, pfns)
    host.processes[0] = replace(host.processes[0], vm_pin_bytes=2 * PAGE)
    info = f"UserBufs: 1\n0: {area.start * PAGE:#x}/{2 * PAGE}"
    host.files.append(OpenFile(10, 4, "anon_inode:[io_uring]", info=info))
    host.processes[1] = replace(host.processes[1], vm_pin_bytes=3 * PAGE)
    host.processes[2] = replace(host.processes[2], vm_pin_bytes=PAGE)
    host.frames(nr_frames, ANON)
    assert parts(host, M.PINNED) == {10: (2, 2, (10,)), 20: (3, None, (20,)), 30: (1, None, (30,))}


@pytest.mark.parametrize(
    ("unseen", "explained"),
    [
        (Unseen(0, 0), {}),
        (Unseen(0, 0, nr_ended=1), {"exiting-mm": 1}),
        (Unseen(1, 9, nr_ended=1), {"hidden-mappers": 1}),
    ],
)
def test_what_has_ended_may_still_map(unseen: Unseen, explained: dict[str, int]) -> None:
    host = control()
    host.counts[host.frames(1, ANON)[0]] = 1
    host.told["unseen"] = unseen
    ledger = survey(host.facts()).ledger
    named = {name: nr for name, nr in ledger.explained.items() if name not in {"zero-page", "vdso"}}
    assert (named, ledger.nr_unexplained) == (explained, 0 if explained else 1)
    assert ledger.hidden_at_most == (9 if unseen.nr_processes else None)

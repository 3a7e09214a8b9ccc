"""Hosts that look like one with a mechanism, and have none beyond the control."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from kernelmodel.pageflags import mask
from kernelmodel.sharing.facts import OpenFile, Process, SysvSegment
from tests.kernelmodel.sharing.plants import (
    ANON,
    DRIVER,
    FILE,
    HEAD,
    PAGE,
    SHMEM,
    TAIL,
    Plants,
    put,
)

if TYPE_CHECKING:
    from collections.abc import Callable

MISSES: list[Callable[[Plants], None]] = []


def miss(function: Callable[[Plants], None]) -> Callable[[Plants], None]:
    """Register a host in which nothing beyond the control is to be found, though it looks near."""
    MISSES.append(function)
    return function


@miss
def flag_that_every_anonymous_page_has(host: Plants) -> None:
    host.told["ksm_trusted"] = False
    put(host, 0, 2, ANON | mask("KSM"))


@miss
def merged_pages_that_changed_meanwhile(host: Plants) -> None:
    host.unstable |= set(put(host, 0, 2, ANON | mask("KSM")))


@miss
def driver_pages_in_no_file(host: Plants) -> None:
    put(host, 0, 2, DRIVER, flags=None)


@miss
def an_empty_segment(host: Plants) -> None:
    host.segments.append(SysvSegment(66, PAGE, 0, 0, 0))


@miss
def swap_of_a_private_memfd_is_in_its_entries(host: Plants) -> None:
    area = host.area(0, 4, name="/memfd:x (deleted)", dev="00:01", inode=3, swap_bytes=2 * PAGE)
    host.swapped |= {(0, area.start + i): (0, 100 + i) for i in range(2)}


@miss
def anonymous_frames_that_are_mapped_without_being_counted(host: Plants) -> None:
    host.uncounted |= set(put(host, 0, 2, ANON))


@miss
def two_processes_are_not_one_twice(host: Plants) -> None:
    pfns = put(host, 0, 2, SHMEM, name="/memfd:x (deleted)", dev="00:01", inode=99, shared=True)
    host.map(host.area(1, 2, name="/memfd:x (deleted)", dev="00:01", inode=99, shared=True), pfns)


@miss
def deleted_between_two_looks(host: Plants) -> None:
    pfns = put(host, 0, 2, FILE, name="/srv/a", dev="fe:00", inode=70)
    host.map(host.area(1, 2, name="/srv/a (deleted)", dev="fe:00", inode=70), pfns)


@miss
def anonymous_copies_have_no_path(host: Plants) -> None:
    pfns = put(host, 0, 2, ANON, name="/srv/a", dev="fe:00", inode=70)
    host.map(host.area(1, 2, name="/srv/b", dev="fe:00", inode=71), pfns)


@miss
def files_that_changed_meanwhile(host: Plants) -> None:
    pfns = put(host, 0, 2, FILE, name="/srv/a", dev="fe:00", inode=70)
    host.map(host.area(1, 2, name="/srv/b", dev="fe:00", inode=71), pfns)
    host.unstable |= set(pfns)


@miss
def each_its_own_slot(host: Plants) -> None:
    for mm in (0, 1):
        area = host.area(mm, 4, swap_bytes=2 * PAGE)
        host.swapped |= {(mm, area.start + i): (0, 100 + 2 * mm + i) for i in range(2)}


@miss
def swap_of_private_memory_is_in_its_entries(host: Plants) -> None:
    area = host.area(0, 4, name="/srv/db", dev="fe:00", inode=70, swap_bytes=2 * PAGE)
    host.swapped |= {(0, area.start + i): (0, 100 + i) for i in range(2)}
    host.area(1, 4, name="/srv/db", dev="fe:00", inode=70, swap_bytes=2 * PAGE)  # it moved in between


@miss
def open_and_mapped(host: Plants) -> None:
    put(host, 0, 2, SHMEM, name="/memfd:x (deleted)", dev="00:01", inode=99, shared=True)
    host.files.append(OpenFile(10, 5, "/memfd:x (deleted)", "00:01", 99, "tmpfs", 2 * PAGE, 2 * PAGE))


@miss
def an_empty_file_and_a_file_on_disk(host: Plants) -> None:
    host.files.append(OpenFile(10, 5, "/memfd:x (deleted)", "00:01", 99, "tmpfs", 0, 0))
    host.files.append(OpenFile(10, 6, "/srv/a", "fe:00", 70, "ext4"))


@miss
def held_by_whom_nothing_is_known(host: Plants) -> None:
    host.processes.append(Process(40, 1, None))
    host.files.append(OpenFile(40, 5, "/memfd:x (deleted)", "00:01", 99, "tmpfs", PAGE, PAGE))


@miss
def an_attached_segment(host: Plants) -> None:
    host.segments.append(SysvSegment(65, 4 * PAGE, 2, 3 * PAGE, 0))


@miss
def buffers_of_a_process_without_pins(host: Plants) -> None:
    area = host.area(1, 2)
    host.map(area, host.frames(2, ANON))
    info = f"UserBufs: 1\n0: {area.start * PAGE:#x}/{PAGE}"
    host.files.append(OpenFile(20, 4, "anon_inode:[io_uring]", info=info))


@miss
def memory_that_is_locked_by_hand(host: Plants) -> None:
    host.processes[1] = replace(host.processes[1], vm_lck_bytes=8 * PAGE)


@miss
def pipes_that_are_empty(host: Plants) -> None:
    host.files += [OpenFile(20, 4, "pipe:[77]", None, 77), OpenFile(30, 4, "pipe:[77]", None, 77)]


@miss
def an_event_without_a_ring(host: Plants) -> None:
    host.files.append(OpenFile(20, 4, "anon_inode:[perf_event]"))


@miss
def huge_pages_that_are_counted(host: Plants) -> None:
    pages = host.frames(4, mask("HUGE", "MMAP"))
    for mm in (0, 2):
        host.map(host.area(mm, 4, name="/anon_hugepage (deleted)", dev="00:0f", inode=9, shared=True), pages)


@miss
def a_whole_huge_page(host: Plants) -> None:
    pfns = put(host, 0, 4, ANON | TAIL)
    host.words[pfns[0]] = ANON | HEAD


@miss
def frames_that_changed_while_they_were_read(host: Plants) -> None:
    held = host.frames(2, ANON) + host.frames(2, ANON & ~mask("LRU"))
    cached = host.frames(1, mask("LRU", "SWAPBACKED", "SWAPCACHE"))
    pfns = put(host, 0, 1, ANON)
    host.map(host.area(0, 1), pfns)
    host.counts |= {pfns[0]: 9}
    host.unstable |= {*held, *cached, *pfns}


@miss
def a_memory_error(host: Plants) -> None:
    (pfn,) = host.frames(1, mask("HWPOISON"))
    host.moving = [(0, pfn, 1, 24)]


@miss
def a_surplus_that_nobody_explains(host: Plants) -> None:
    pfns = put(host, 0, 1, ANON)
    host.counts |= {pfns[0]: 2}


@miss
def driver_pages_where_flags_say_no(host: Plants) -> None:
    put(host, 0, 2, DRIVER, name="/dev/x", inode=4)


@miss
def counters_at_zero(host: Plants) -> None:
    host.told["ksm_trusted"] = False
    host.processes[0] = replace(host.processes[0], ksm_merging_pages=0, ksm_zero_pages=0, vm_pin_bytes=0)

"""Hosts with mechanisms that stand in frames, page tables and VMAs; each returns what to find."""

from __future__ import annotations

from dataclasses import replace

from kernelmodel.pageflags import mask
from kernelmodel.sharing.facts import Process
from tests.kernelmodel.sharing.plants import (
    ANON,
    DRIVER,
    FILE,
    LIKELY,
    POSSIBLE,
    PROVED,
    ZERO,
    Expected,
    M,
    Plants,
    plant,
    put,
)


@plant
def huge_zero_page(host: Plants) -> list[Expected]:
    zero = put(host, 1, 8, ZERO | mask("THP"))
    host.uncounted |= set(zero)
    return [(M.HUGE_ZERO_PAGE, PROVED, 8, 8, (20,), zero)]


@plant
def vfork(host: Plants) -> list[Expected]:
    host.processes[0] = replace(host.processes[0], mm_evidence="kcmp")
    host.processes.append(Process(11, 10, 0, "kcmp", cgroup="/a"))
    pfns = sorted({pfn for (mm, _), pfn in host.entries.items() if mm == 0})
    return [(M.SHARED_MM, PROVED, 12, 12, (10, 11), pfns)]


@plant
def shared_mm_by_frames(host: Plants) -> list[Expected]:
    host.processes.append(Process(31, 30, 2, "exclusive-frames", cgroup="/a"))
    pfns = sorted({pfn for (mm, _), pfn in host.entries.items() if mm == 2})
    return [(M.SHARED_MM, LIKELY, 12, 12, (30, 31), pfns)]


@plant
def shared_table_of_huge_pages(host: Plants) -> list[Expected]:
    pages = host.frames(4, mask("HUGE", "MMAP"))
    host.words[pages[0]] |= mask("COMPOUND_HEAD")
    for mm in (0, 2):
        host.map(host.area(mm, 4, name="/anon_hugepage (deleted)", dev="00:0f", inode=9, shared=True), pages)
    host.counts |= dict.fromkeys(pages, 1)
    return [(M.HUGETLB_PMD_SHARING, PROVED, 4, 8, (10, 30), pages)]


@plant
def device_memory(host: Plants) -> list[Expected]:
    for mm in (0, 1):
        host.area(mm, 6, name="/dev/mem", dev="00:06", inode=4, pgoff=mm * 3, flags=frozenset({"pf", "io"}))
    return [(M.PFNMAP, PROVED, None, None, (10, 20), None)]


@plant
def device_memory_without_flags(host: Plants) -> list[Expected]:
    host.area(2, 2, name="/sys/devices/pci0000:00/0000:00:02.0/resource0", inode=4, dev="00:15", flags=None)
    return [(M.PFNMAP, LIKELY, None, None, (30,), None)]


@plant
def uncounted_entries_of_a_driver(host: Plants) -> list[Expected]:
    pfns = put(host, 0, 2, mask("RESERVED"), name="/dev/x", inode=4, flags=frozenset({"pf"}))
    host.uncounted |= set(pfns)
    return [(M.PFNMAP, PROVED, 2, 2, (10,), pfns)]


@plant
def packet_ring(host: Plants) -> list[Expected]:
    pfns = put(host, 1, 3, DRIVER, name="socket:[88]", dev="00:08", inode=88, flags=frozenset({"mm"}))
    return [(M.MIXEDMAP, PROVED, 3, 3, (20,), pfns)]


@plant
def packet_ring_without_flags(host: Plants) -> list[Expected]:
    pfns = put(host, 1, 3, DRIVER, name="socket:[88]", dev="00:08", inode=88, flags=None)
    return [(M.MIXEDMAP, LIKELY, 3, 3, (20,), pfns)]


@plant
def persistent_memory(host: Plants) -> list[Expected]:
    host.map(host.area(0, 4, name="/pmem/f", dev="103:01", inode=5), [5000, 5001, 5002])
    return [(M.DAX, LIKELY, None, 3, (10,), None)]


@plant
def nobody_knows_where(host: Plants) -> list[Expected]:
    host.map(host.area(0, 2), [5000])
    return [(M.NO_FRAME, PROVED, None, 1, (10,), None)]


@plant
def merged(host: Plants) -> list[Expected]:
    (page,) = host.frames(1, ANON | mask("KSM"))
    for mm in (0, 1):
        host.map(host.area(mm, 1), [page])
    return [(M.KSM, PROVED, 1, 2, (10, 20), [page])]


@plant
def merged_as_many_as_mergeable_memory_shares(host: Plants) -> list[Expected]:
    host.told |= {"ksm_trusted": False, "ksm_pages_shared": 2}
    for at, pid in ((0, 10), (1, 20)):
        host.processes[at] = replace(host.processes[at], ksm_merging_pages=2)
        assert host.processes[at].pid == pid
    pfns = host.frames(3, ANON | mask("KSM"))
    mergeable = frozenset({"rd", "wr", "mg"})
    host.map(host.area(0, 3, flags=mergeable), pfns)
    host.map(host.area(1, 2, flags=mergeable), pfns[:2])
    return [(M.KSM, LIKELY, 2, 4, (10, 20), pfns[:2])]


@plant
def zero_pages_in_mergeable_memory(host: Plants) -> list[Expected]:
    zero = [pfn for pfn, word in host.words.items() if word == ZERO]
    host.map(host.area(1, 3, flags=frozenset({"rd", "wr", "mg"})), zero, at=1)
    host.processes.append(Process(40, 1, 3))
    put(host, 3, 2, ANON, flags=frozenset({"rd", "wr", "mg"}))  # mergeable, and nothing was zero
    return [(M.KSM_ZERO, POSSIBLE, 1, None, (20,), zero)]


@plant
def persistent_memory_among_frames(host: Plants) -> list[Expected]:
    pfns = host.frames(2, mask("NOPAGE"))
    host.uncounted |= set(pfns)
    host.map(host.area(1, 2, name="/pmem/file", dev="103:0", inode=13, shared=True), pfns)
    return [(M.DAX, LIKELY, 2, 2, (20,), pfns)]


@plant
def merged_by_the_counters_alone(host: Plants) -> list[Expected]:
    host.told |= {"ksm_trusted": False, "ksm_pages_shared": 6}
    host.processes[1] = replace(host.processes[1], ksm_merging_pages=9)
    put(host, 0, 2, ANON | mask("KSM"))
    return [(M.KSM, PROVED, 6, 9, (20,), None)]


@plant
def merged_by_the_counters_of_one_address_space(host: Plants) -> list[Expected]:
    host.told |= {"ksm_trusted": False, "ksm_pages_shared": 6}
    host.processes[1] = replace(host.processes[1], ksm_merging_pages=9, mm_evidence="kcmp")
    host.processes.append(Process(21, 20, 1, "kcmp", ksm_merging_pages=9))
    pfns = sorted({pfn for (mm, _), pfn in host.entries.items() if mm == 1})
    return [
        (M.KSM, PROVED, 6, 9, (20, 21), None),
        (M.SHARED_MM, PROVED, 12, 12, (20, 21), pfns),
    ]


@plant
def merged_zeros(host: Plants) -> list[Expected]:
    host.processes[0] = replace(host.processes[0], ksm_zero_pages=40)
    host.processes[2] = replace(host.processes[2], ksm_zero_pages=2)
    zero = [pfn for pfn, word in host.words.items() if word == ZERO]
    return [(M.KSM_ZERO, PROVED, 1, 42, (10, 30), zero)]


@plant
def slots_shared_after_fork(host: Plants) -> list[Expected]:
    parent, child = host.area(0, 8), host.area(1, 8)
    host.swapped |= {(0, parent.start + i): (0, 100 + i) for i in range(6)}
    host.swapped |= {(1, child.start + i): (0, 104 + i) for i in range(4)}
    other = host.area(2, 8)
    host.swapped |= {(2, other.start): (1, 104)}  # another area's slot of that number
    return [(M.SWAP_SLOT, PROVED, 2, 4, (10, 20), None)]


@plant
def back_from_swap(host: Plants) -> list[Expected]:
    pfns = host.frames(2, mask("UPTODATE", "LRU", "SWAPBACKED", "SWAPCACHE"))
    return [(M.SWAP_CACHE, PROVED, 2, 0, (), pfns)]


@plant
def on_the_move(host: Plants) -> list[Expected]:
    pfns = host.frames(2, ANON & ~mask("MMAP") | mask("LOCKED"))
    host.words |= dict.fromkeys(pfns, mask("LOCKED", "UPTODATE", "SWAPBACKED", "LRU", "ANON", "SWAPCACHE"))
    host.moving = [(0, pfns[0], 2, 30), (1, pfns[1], 1, 29)]
    return [
        (M.MIGRATION_ENTRY, PROVED, 2, 3, (10, 20), pfns),
        (M.SWAP_CACHE, PROVED, 2, 0, (), pfns),
    ]


@plant
def on_the_move_perhaps(host: Plants) -> list[Expected]:
    (pfn,) = put(host, 0, 1, ANON)
    host.moving = [(1, pfn, 1, 29)]
    return [(M.MIGRATION_ENTRY, LIKELY, 1, 1, (20,), [pfn])]


@plant
def one_file_by_two_names(host: Plants) -> list[Expected]:
    pfns = put(host, 0, 4, FILE, name="/srv/a", dev="fe:00", inode=70)
    host.map(host.area(1, 2, name="/merged/a", dev="00:2a", inode=9), pfns[2:])
    return [(M.SAME_FILE_OTHER_PATH, PROVED, 2, 4, (10, 20), pfns[2:])]


@plant
def one_file_linked_twice(host: Plants) -> list[Expected]:
    pfns = put(host, 0, 2, FILE, name="/srv/a", dev="fe:00", inode=70)
    host.map(host.area(0, 2, name="/srv/b", dev="fe:00", inode=70), pfns)
    return [
        (M.MAPPED_TWICE, PROVED, 2, 4, (10,), pfns),
        (M.SAME_FILE_OTHER_PATH, PROVED, 2, 4, (10,), pfns),
    ]

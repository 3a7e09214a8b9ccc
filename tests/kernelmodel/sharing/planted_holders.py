"""Hosts with mechanisms that stand in open files, counters and who is unseen; each returns what to find."""

from __future__ import annotations

from dataclasses import replace

from kernelmodel.host import Unseen
from kernelmodel.pageflags import mask
from kernelmodel.sharing.facts import OpenFile, Process, SysvSegment
from tests.kernelmodel.sharing.plants import (
    ANON,
    DRIVER,
    HEAD,
    LIKELY,
    PAGE,
    POSSIBLE,
    PROVED,
    SHMEM,
    TAIL,
    Expected,
    M,
    Plants,
    plant,
    put,
)


@plant
def memfd_passed_and_unmapped(host: Plants) -> list[Expected]:
    host.frames(4, SHMEM & ~mask("MMAP"))
    for pid in (20, 30):
        host.files.append(OpenFile(pid, 5, "/memfd:y (deleted)", "00:01", 98, "tmpfs", 4 * PAGE, 4 * PAGE))
    return [(M.FD_ONLY, PROVED, 4, None, (20, 30), None)]


@plant
def memfd_that_one_maps(host: Plants) -> list[Expected]:
    pfns = host.frames(4, SHMEM)
    host.map(host.area(0, 4, name="/memfd:x (deleted)", dev="00:01", inode=99, shared=True), pfns)
    for pid in (10, 30):
        host.files.append(OpenFile(pid, 5, "/memfd:x (deleted)", "00:01", 99, "tmpfs", 4 * PAGE, 4 * PAGE))
    return [(M.FD_ONLY, PROVED, 4, None, (30,), None)]


@plant
def memfd_without_a_device(host: Plants) -> list[Expected]:
    host.area(0, 4, name="/memfd:x (deleted)", dev="00:01", inode=99, shared=True)
    for pid, name in ((10, "x"), (20, "y")):
        target = f"/memfd:{name} (deleted)"
        host.files.append(OpenFile(pid, 5, target, None, 99, "tmpfs", 4 * PAGE, 2 * PAGE))
    return [(M.FD_ONLY, PROVED, 2, None, (20,), None)]


@plant
def huge_memfd(host: Plants) -> list[Expected]:
    host.frames(3, SHMEM & ~mask("MMAP"))
    host.files.append(OpenFile(10, 5, "/memfd:h (deleted)", "00:0f", 4, "hugetlbfs", 512 * PAGE, 512 * PAGE))
    return [
        (M.FD_ONLY, PROVED, 512, None, (10,), None),
        (M.PAGE_CACHE_UNMAPPED, PROVED, 3, 0, (), None),
    ]


@plant
def tmpfs_files_that_nobody_maps(host: Plants) -> list[Expected]:
    host.frames(5, SHMEM & ~mask("MMAP"))
    host.files.append(OpenFile(10, 5, "/run/x", "00:1a", 4, "tmpfs", 2 * PAGE, 2 * PAGE))
    return [
        (M.FD_ONLY, PROVED, 2, None, (10,), None),
        (M.PAGE_CACHE_UNMAPPED, LIKELY, 3, 0, (), None),
    ]


@plant
def segment_without_attachment(host: Plants) -> list[Expected]:
    host.frames(3, SHMEM & ~mask("MMAP"))
    host.segments += [SysvSegment(65, 4 * PAGE, 0, 3 * PAGE, 0), SysvSegment(66, PAGE, 0, 0, 0)]
    return [(M.SYSV_UNATTACHED, PROVED, 3, 0, (), None)]


@plant
def segment_in_swap(host: Plants) -> list[Expected]:
    host.segments.append(SysvSegment(65, 9 * PAGE, 1, 0, 7 * PAGE))
    host.area(1, 9, name="/SYSV00000000 (deleted)", dev="00:01", inode=65, shared=True, swap_bytes=7 * PAGE)
    return [(M.SHMEM_SWAPPED, PROVED, 7, None, (20,), None)]


@plant
def shared_memory_in_swap(host: Plants) -> list[Expected]:
    for mm in (0, 1):
        host.area(mm, 9, name="/dev/zero (deleted)", dev="00:01", inode=3, shared=True, swap_bytes=5 * PAGE)
    return [(M.SHMEM_SWAPPED, PROVED, 5, None, (10, 20), None)]


@plant
def shared_memory_swapped_while_it_was_read(host: Plants) -> list[Expected]:
    for mm, nr in ((0, 7), (1, 5)):
        host.area(mm, 9, name="/dev/zero (deleted)", dev="00:01", inode=3, shared=True, swap_bytes=nr * PAGE)
    return [(M.SHMEM_SWAPPED, PROVED, 7, None, (10, 20), None)]


@plant
def one_file_held_by_two_links(host: Plants) -> list[Expected]:
    for pid, name in ((20, "/run/a"), (30, "/run/a (deleted)")):
        host.files.append(OpenFile(pid, 5, name, "00:1a", 98, "tmpfs", 4 * PAGE, 4 * PAGE))
    return [(M.FD_ONLY, PROVED, 4, None, (20, 30), None)]


@plant
def pins_of_one_address_space(host: Plants) -> list[Expected]:
    host.processes[0] = replace(host.processes[0], vm_pin_bytes=2 * PAGE, mm_evidence="kcmp")
    host.processes.append(Process(11, 10, 0, "kcmp", vm_pin_bytes=2 * PAGE))
    pfns = sorted({pfn for (mm, _), pfn in host.entries.items() if mm == 0})
    return [
        (M.PINNED, PROVED, 2, None, (10, 11), None),
        (M.SHARED_MM, PROVED, 12, 12, (10, 11), pfns),
    ]


@plant
def a_whole_huge_page_in_a_pipe(host: Plants) -> list[Expected]:
    pfns = host.frames(4, ANON | TAIL)
    host.words[pfns[0]] = ANON | HEAD
    return [(M.PIPE_BUFFER, POSSIBLE, 4, 0, (), pfns)]


@plant
def registered_buffers(host: Plants) -> list[Expected]:
    host.processes[0] = replace(host.processes[0], vm_pin_bytes=3 * PAGE)
    area = host.area(0, 4)
    pfns = host.frames(4, ANON)
    host.map(area, pfns)
    info = f"UserBufs: 2\n0: {area.start * PAGE:#x}/{2 * PAGE}\n1: {(area.start + 3) * PAGE:#x}/100"
    host.files.append(OpenFile(10, 4, "anon_inode:[io_uring]", info=info))
    return [(M.PINNED, PROVED, 3, 3, (10,), [pfns[0], pfns[1], pfns[3]])]


@plant
def registered_part_of_a_huge_page(host: Plants) -> list[Expected]:
    host.processes[0] = replace(host.processes[0], vm_pin_bytes=4 * PAGE)
    area, pfns = host.area(0, 4), host.frames(4, ANON | TAIL)
    host.words[pfns[0]] = ANON | HEAD
    host.map(area, pfns)
    info = f"UserBufs: 1\n0: {area.start * PAGE:#x}/{PAGE}"
    host.files.append(OpenFile(10, 4, "anon_inode:[io_uring]", info=info))
    return [(M.PINNED, PROVED, 1, 1, (10,), pfns[:1])]


@plant
def pinned_and_unmapped(host: Plants) -> list[Expected]:
    host.processes[0] = replace(host.processes[0], vm_pin_bytes=3 * PAGE)
    pfns = host.frames(2, ANON)
    return [
        (M.PINNED, LIKELY, 2, 0, (10,), pfns),
        (M.PINNED, PROVED, 1, None, (10,), None),
    ]


@plant
def pinned_among_others(host: Plants) -> list[Expected]:
    host.processes[0] = replace(host.processes[0], vm_pin_bytes=PAGE)
    pfns = host.frames(2, ANON)
    return [
        (M.PINNED, LIKELY, 1, 0, (10,), None),
        (M.PIPE_BUFFER, POSSIBLE, 2, 0, (), pfns),
    ]


@plant
def device_driven_by_a_process(host: Plants) -> list[Expected]:
    host.processes[1] = replace(host.processes[1], vm_lck_bytes=8 * PAGE)
    host.files.append(OpenFile(20, 4, "/dev/vfio/12"))
    return [(M.PINNED, LIKELY, 8, None, (20,), None)]


@plant
def pages_in_a_pipe(host: Plants) -> list[Expected]:
    near, far = host.frames(2, ANON), host.frames(1, ANON)
    host.charged = {near[0]: 501, near[1]: 501, far[0]: 502}
    host.files += [OpenFile(20, 4, "pipe:[77]", None, 77), OpenFile(30, 4, "pipe:[77]", None, 77)]
    return [
        (M.PIPE_BUFFER, LIKELY, 2, 0, (20, 30), near),
        (M.PIPE_BUFFER, POSSIBLE, 1, 0, (), far),
    ]


@plant
def batched(host: Plants) -> list[Expected]:
    pfns = host.frames(3, ANON & ~mask("LRU"))
    return [(M.LRU_BATCH, LIKELY, 3, 0, (), pfns)]


@plant
def guest(host: Plants) -> list[Expected]:
    area = host.area(1, 4096)
    pfns = host.frames(3, ANON)
    host.map(area, pfns)
    host.files.append(OpenFile(20, 4, "anon_inode:kvm-vm"))
    return [(M.KVM_GUEST, LIKELY, 3, 3, (20,), pfns)]


@plant
def watched_memory(host: Plants) -> list[Expected]:
    pfns = put(host, 0, 2, ANON, flags=frozenset({"rd", "um"}))
    host.files.append(OpenFile(30, 4, "anon_inode:[userfaultfd]"))
    return [(M.USERFAULTFD, PROVED, 2, 2, (10, 30), pfns)]


@plant
def watcher_of_nothing_seen(host: Plants) -> list[Expected]:
    host.files.append(OpenFile(30, 4, "anon_inode:[userfaultfd]"))
    return [(M.USERFAULTFD, POSSIBLE, None, None, (30,), None)]


@plant
def watcher_without_flags(host: Plants) -> list[Expected]:
    host.area(0, 1, flags=None)
    host.files.append(OpenFile(30, 4, "anon_inode:[userfaultfd]"))
    return [(M.USERFAULTFD, LIKELY, None, None, (30,), None)]


@plant
def bpf_map(host: Plants) -> list[Expected]:
    pfns = put(host, 0, 2, DRIVER, name="anon_inode:bpf-map", dev="00:0e", inode=1, flags=frozenset({"mm"}))
    host.files.append(OpenFile(30, 4, "anon_inode:bpf-map", info="map_id: 3\nmemlock: 8192"))
    return [(M.BPF_MAP, PROVED, 2, 2, (10, 30), pfns)]


@plant
def dma_buf(host: Plants) -> list[Expected]:
    host.area(0, 2, name="/dmabuf:cam", dev="00:0b", inode=6, flags=frozenset({"pf"}))
    host.files.append(OpenFile(20, 4, "/dmabuf:cam", None, 6, "dmabuf", info="exp_name: x\nsize: 8192"))
    return [(M.DMA_BUF, PROVED, None, None, (10, 20), None)]


@plant
def perf_ring(host: Plants) -> list[Expected]:
    host.area(0, 9, name="anon_inode:[perf_event]", dev="00:0e", inode=1, flags=frozenset({"pf"}))
    return [(M.PERF_RING, PROVED, None, None, (10,), None)]


@plant
def perf_ring_that_is_counted(host: Plants) -> list[Expected]:
    pfns = put(host, 0, 2, DRIVER, name="anon_inode:[perf_event]", dev="00:0e", inode=1)
    return [(M.PERF_RING, PROVED, 2, 2, (10,), pfns)]


@plant
def averaged(host: Plants) -> list[Expected]:
    host.told["averaged"] = True
    pfns = put(host, 0, 2, ANON | TAIL)
    host.words[pfns[0]] = ANON | HEAD
    host.counts[pfns[1]] = 3
    return [(M.LARGE_FOLIO_AVERAGE, PROVED, 1, 1, (10,), pfns[1:])]


@plant
def partly_unmapped(host: Plants) -> list[Expected]:
    pfns = host.frames(4, ANON | TAIL)
    host.words[pfns[0]] = ANON | HEAD
    host.map(host.area(0, 4), pfns[:1])
    host.map(host.area(1, 4), pfns[2:3])
    return [(M.PARTIAL_FOLIO, PROVED, 2, 0, (10, 20), [pfns[1], pfns[3]])]


@plant
def partly_unmapped_without_flags_on_tails(host: Plants) -> list[Expected]:
    pfns = host.frames(4, mask("COMPOUND_TAIL", "THP"))
    host.words[pfns[0]] = ANON | HEAD
    host.map(host.area(0, 4), pfns[:3])
    return [(M.PARTIAL_FOLIO, PROVED, 1, 0, (10,), pfns[3:])]


@plant
def twice_in_one_process(host: Plants) -> list[Expected]:
    pfns = put(host, 0, 3, SHMEM, name="/memfd:x (deleted)", dev="00:01", inode=99, shared=True)
    host.map(host.area(0, 3, name="/memfd:x (deleted)", dev="00:01", inode=99, shared=True), pfns[1:])
    host.map(host.area(1, 3, name="/memfd:x (deleted)", dev="00:01", inode=99, shared=True), pfns)
    return [(M.MAPPED_TWICE, PROVED, 2, 6, (10,), pfns[1:])]


@plant
def hidden(host: Plants) -> list[Expected]:
    pfns = put(host, 0, 2, ANON)
    host.counts |= {pfns[0]: 4}
    host.told["unseen"] = Unseen(1, 50)
    return [(M.HIDDEN_MAPPERS, PROVED, 1, 3, (10,), pfns[:1])]


@plant
def hidden_perhaps(host: Plants) -> list[Expected]:
    pfns = put(host, 0, 1, ANON)
    host.counts |= {pfns[0]: 2}
    host.told["unseen"] = Unseen(3, None, 2)
    return [(M.HIDDEN_MAPPERS, LIKELY, 1, 1, (10,), pfns)]


@plant
def exiting(host: Plants) -> list[Expected]:
    pfns = put(host, 0, 1, ANON)
    host.counts |= {pfns[0]: 2}
    host.told["unseen"] = Unseen(2, None, 2)
    return [(M.EXITING_MM, POSSIBLE, 1, 1, (10,), pfns)]


@plant
def secret(host: Plants) -> list[Expected]:
    word = mask("MMAP", "UPTODATE", "UNEVICTABLE")
    pfns = put(host, 0, 2, word, name="/secretmem (deleted)", dev="00:10", inode=2, shared=True)
    return [(M.SECRETMEM, PROVED, 2, 2, (10,), pfns)]


@plant
def compressed(host: Plants) -> list[Expected]:
    host.told["zspages"] = 2
    pfns = host.frames(2, mask("MMAP"))
    host.counts |= dict.fromkeys(pfns, 77)
    return [(M.ZSMALLOC, LIKELY, 2, 0, (), pfns)]

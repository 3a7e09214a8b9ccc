"""All workloads, and the mechanisms that none makes."""

from __future__ import annotations

from typing import Final

from tests.live.workloads import anonymous, devices, files, pins, pools, processes, swap
from tests.live.workloads.made import Scope, Workload

_HOST, _ACCOUNTS = Scope.HOST, Scope.ACCOUNTS

WORKLOADS: Final = {
    each.name: each
    for each in (
        Workload("zero-page", "zero-page", anonymous.zero_page),
        Workload("huge-zero-page", "huge-zero-page", anonymous.huge_zero_page),
        Workload("clone-vm", "shared-mm", processes.shared_mm),
        Workload("vfork", "shared-mm", processes.vfork),
        Workload("fork-cow", "", anonymous.fork_cow, _ACCOUNTS),
        Workload("guard-pages", "", anonymous.guard_pages, _ACCOUNTS),
        Workload("hugetlb", "hugetlb-pmd-sharing", pools.pmd_sharing),
        Workload("vvar", "vdso", devices.data_of_vdso),
        Workload("dev-mem", "pfnmap", devices.pfnmap_memory),
        Workload("packet-ring", "mixedmap", devices.packet_ring),
        Workload("vdso", "vdso", devices.vdso),
        Workload("ksm", "ksm", pools.ksm),
        Workload("ksm-zero", "ksm-zero", pools.ksm_zero),
        Workload("swap-slot", "swap-slot", swap.swap_slot),
        Workload("swap-cache", "swap-cache", swap.swap_cache, _HOST),
        Workload("shmem-swapped", "shmem-swapped", swap.shmem_swapped),
        Workload("page-cache", "page-cache-unmapped", files.page_cache, _HOST),
        Workload("dax-file", "dax", files.dax),
        Workload("two-links", "same-file-other-path", files.other_path),
        Workload("memfd-passed", "fd-only", files.fd_only),
        Workload("sysv", "sysv-unattached", files.sysv_unattached, _HOST),
        Workload("io-uring", "pinned", pins.pinned),
        Workload("io-uring-unmapped", "pinned", pins.pinned_unmapped, _HOST),
        Workload("pipe", "pipe-buffer", pins.pipe_buffer, _HOST),
        Workload("kvm", "kvm-guest", devices.kvm_guest),
        Workload("userfaultfd", "userfaultfd", pins.userfaultfd),
        Workload("bpf-array", "bpf-map", devices.bpf_map),
        Workload("udmabuf", "dma-buf", devices.dma_buf),
        Workload("perf-ring", "perf-ring", devices.perf_ring),
        Workload("half-huge-page", "partial-folio", anonymous.partial_folio),
        Workload("mremap-0", "mapped-twice", anonymous.mapped_twice),
        Workload("pid-namespace", "hidden-mappers", processes.hidden_mappers),
        Workload("ended-and-held", "exiting-mm", processes.exiting_mm, _HOST),
        Workload("secretmem", "secretmem", files.secretmem),
        Workload("lru-batch", "lru-batch", anonymous.lru_batch, _HOST, alone=True),
    )
}

NOT_MADE: Final = {
    "migration-entry": "an entry is in flight for microseconds, and cannot be held",
    "large-folio-average": "needs a kernel with CONFIG_NO_PAGE_MAPCOUNT, and none of these has it",
}
"""Mechanisms without a workload, and why."""

"""What a snapshot's tables hold: names, types, nullability, largest size.

This is the one definition. The collector fills it, the store checks it in both directions, `vmprobe sql`
shows it as views, and the documentation is generated from it. Column types are DuckDB's names.

Absent is never zero: a column that could not be read is null in every row, and the manifest says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FORMAT_NAME: Final = "vmprobe-snapshot"
FORMAT_MAJOR: Final = 1
FORMAT_MINOR: Final = 1

MANIFEST: Final = "manifest.json"
SUFFIX: Final = ".vmsnap"

PART_ROWS: Final = 16_000_000
"""A table with more rows than this is a folder of part files (DESIGN.md section 3)."""


@dataclass(frozen=True)
class Column:
    """One column: its name, DuckDB type, whether a single row may be null, and its meaning with the unit."""

    name: str
    type: str
    nullable: bool
    about: str


@dataclass(frozen=True)
class TableSchema:
    """One table: columns in order, what a row is, and the most rows that any host can honestly have."""

    name: str
    row: str
    columns: tuple[Column, ...]
    max_rows: int

    def column(self, name: str) -> Column | None:
        """Return the column called `name`, or None for one that this version does not know."""
        return next((c for c in self.columns if c.name == name), None)


def _table(name: str, row: str, max_rows: int, *columns: tuple[str, str, str]) -> TableSchema:
    """Make a table; a type that ends in ``?`` may be null row by row."""
    made = tuple(Column(c, t.rstrip("?"), t.endswith("?"), about) for c, t, about in columns)
    return TableSchema(name, row, made, max_rows)


_ALL: Final = (
    _table(
        "frames", "physical page frame", 1 << 36,
        ("pfn", "UBIGINT", "page frame number"),
        ("flags", "UBIGINT?", "the 64-bit word of /proc/kpageflags"),
        ("mapcount", "UINTEGER?", "/proc/kpagecount: user page-table entries that map this page"),
        ("memcg", "UBIGINT?", "/proc/kpagecgroup: inode of the memory cgroup charged, 0 = none"),
        ("unstable", "BOOLEAN", "the frame or a mapping of it changed while the snapshot was taken"),
    ),
    _table(
        "zones", "zone", 1 << 16,
        ("node", "UINTEGER", "NUMA node"),
        ("zone", "VARCHAR", "DMA, DMA32, Normal, Movable, ..."),
        ("start_pfn", "UBIGINT?", "first page frame; null for an empty zone"),
        ("spanned_pages", "UBIGINT", "frames from the first to the last, holes included"),
        ("present_pages", "UBIGINT", "frames with memory behind them"),
        ("managed_pages", "UBIGINT", "frames given to the buddy allocator"),
        ("cma_pages", "UBIGINT?", "frames of CMA areas"),
        ("nr_free", "UBIGINT", "free pages, those on per-CPU lists not counted"),
        ("wmark_min", "UBIGINT", "pages, boost included"),
        ("wmark_low", "UBIGINT", "pages, boost included"),
        ("wmark_high", "UBIGINT", "pages, boost included"),
        ("wmark_promo", "UBIGINT?", "pages, boost included"),
        ("boost", "UBIGINT?", "temporary watermark boost in pages"),
        ("pcp_pages", "UBIGINT?", "pages on per-CPU lists, all CPUs together"),
        ("lowmem_reserve", "UBIGINT[]", "pages kept from allocations meant for a higher zone, per zone type"),
    ),
    _table(
        "free_areas", "node, zone and order", 1 << 20,
        ("node", "UINTEGER", "NUMA node"),
        ("zone", "VARCHAR", "zone name"),
        ("order", "UTINYINT", "log2 of the block's pages"),
        ("nr_free", "UBIGINT", "free blocks of this order before the frames were read"),
        ("nr_free_after", "UBIGINT?", "and after"),
    ),
    _table(
        "free_areas_by_type", "node, zone, migratetype and order", 1 << 22,
        ("node", "UINTEGER", "NUMA node"),
        ("zone", "VARCHAR", "zone name"),
        ("migratetype", "VARCHAR", "as the kernel spells it"),
        ("order", "UTINYINT", "log2 of the block's pages"),
        ("nr_free", "UBIGINT", "free blocks on the list; a lower bound where capped"),
        ("capped", "BOOLEAN", "the kernel stopped counting (it printed >100000)"),
    ),
    _table(
        "pageblocks_by_type", "node, zone and migratetype", 1 << 20,
        ("node", "UINTEGER", "NUMA node"),
        ("zone", "VARCHAR", "zone name"),
        ("migratetype", "VARCHAR", "as the kernel spells it"),
        ("nr_pageblocks", "UBIGINT", "pageblocks of that type"),
    ),
    _table(
        "counters", "source, scope and name", 1 << 20,
        ("source", "VARCHAR", "vmstat, meminfo, stat, loadavg, zoneinfo, ksm, thp, hugepages or sysctl"),
        ("scope", "VARCHAR", "'' for the host, else 'node N' or 'node N zone Z' or a sysfs folder"),
        ("name", "VARCHAR", "the kernel's name"),
        ("value", "BIGINT?", "before the frames were read"),
        ("value_after", "BIGINT?", "and after; null where it is read once"),
        ("unit", "VARCHAR?", "kB where the kernel prints it"),
        ("text", "VARCHAR?", "what was printed, where it is not a number"),
    ),
    _table(
        "tasks", "process", 1 << 26,
        ("pid", "UINTEGER", "thread group id, in the PID namespace of the /proc that was read"),
        ("ppid", "UINTEGER?", "parent"),
        ("start_time", "UBIGINT?", "clock ticks after boot"),
        ("comm", "VARCHAR?", "name of the leader"),
        ("uid", "UINTEGER?", "real user id"),
        ("cgroup", "VARCHAR?", "path in the memory hierarchy, joins cgroups.path"),
        ("mm", "UINTEGER?", "address-space id; processes that share one have the same"),
        ("mm_evidence", "VARCHAR?", "how a shared mm was proved: kcmp or exclusive-frames"),
        ("nr_threads", "UINTEGER?", "live threads"),
        ("rss_pages", "UBIGINT?", "resident pages as /proc/PID/stat prints them"),
        ("kernel_thread", "BOOLEAN?", "has no address space of its own"),
        ("frozen", "BOOLEAN", "was stopped while its memory was read"),
        ("state", "VARCHAR?", "R, S, D, Z, T, t, X, I"),
        ("error", "VARCHAR?", "why its memory is missing"),
        ("vm_lck_bytes", "UBIGINT?", "VmLck: locked, in which vfio also counts what it pins"),
        ("vm_pin_bytes", "UBIGINT?", "VmPin: pinned for long by io_uring, RDMA and the like"),
        ("hugetlb_bytes", "UBIGINT?", "HugetlbPages: counted where the page was faulted in"),
        ("ksm_merging_pages", "UBIGINT?", "pages that KSM merged with others"),
        ("ksm_zero_pages", "UBIGINT?", "entries that KSM made the zero page"),
    ),
    _table(
        "vmas", "VMA", 1 << 30,
        ("vma", "UINTEGER", "row number, unique in the snapshot"),
        ("mm", "UINTEGER", "address space"),
        ("start", "UBIGINT", "first address in bytes"),
        ("end", "UBIGINT", "first address behind it"),
        ("perms", "VARCHAR", "rwx and s or p"),
        ("vm_flags", "VARCHAR?", "two-letter codes of smaps, space separated"),
        ("pgoff", "UBIGINT", "offset in the file in pages; 0 for anonymous memory (not exported)"),
        ("dev", "VARCHAR", "major:minor in hex"),
        ("inode", "UBIGINT", "0 for anonymous memory"),
        ("name", "VARCHAR", "path or [label]; empty for anonymous memory"),
        ("rss_bytes", "UBIGINT?", "the kernel's Rss"),
        ("pss_bytes", "UBIGINT?", "the kernel's Pss"),
        ("swap_bytes", "UBIGINT?", "the kernel's Swap"),
    ),
    _table(
        "mappings", "run of page-table entries that continue one another", 1 << 34,
        ("mm", "UINTEGER", "address space"),
        ("vma", "UINTEGER?", "row in vmas; null where no VMA of the list covers the entry"),
        ("vpn", "UBIGINT", "first virtual page number"),
        ("nr_pages", "UINTEGER", "entries in the run"),
        ("kind", "VARCHAR", "present, swap, frame-entry, guard, uffd-wp, poisoned or marker"),
        ("pfn", "UBIGINT?", "first frame (present and frame-entry); null when the kernel hides it"),
        ("swap_type", "UTINYINT?", "swap area, or the pseudo type of a frame-entry"),
        ("swap_offset", "UBIGINT?", "first slot (swap); null when the kernel hides it"),
        ("exclusive", "BOOLEAN", "pagemap bit 56: mapped exactly once; not the same as private"),
        ("file", "BOOLEAN", "pagemap bit 61: file or shared anonymous"),
        ("soft_dirty", "BOOLEAN", "pagemap bit 55"),
        ("uffd_wp", "BOOLEAN", "pagemap bit 57"),
        ("unstable", "BOOLEAN", "an entry of the run differed in the second pass"),
    ),
    _table(
        "cgroups", "memory cgroup", 1 << 24,
        ("inode", "UBIGINT", "as in frames.memcg"),
        ("path", "VARCHAR", "below the memory hierarchy's mount, / is its root"),
    ),
    _table(
        "resources", "range of /proc/iomem", 1 << 20,
        ("depth", "UTINYINT", "nesting, 0 is outermost"),
        ("start", "UBIGINT", "first physical address in bytes"),
        ("last", "UBIGINT", "last physical address, included"),
        ("name", "VARCHAR", "System RAM, Reserved, Kernel code, ..."),
    ),
    _table(
        "swap_areas", "line of /proc/swaps", 1 << 10,
        ("path", "VARCHAR", "device or file"),
        ("kind", "VARCHAR", "partition or file"),
        ("size_bytes", "UBIGINT", "usable size"),
        ("used_bytes", "UBIGINT", "in use"),
        ("priority", "INTEGER", "as printed"),
    ),
    _table(
        "fds", "open file of a process that is memory, or leads to it", 1 << 32,
        ("pid", "UINTEGER", "process, as in tasks"),
        ("fd", "UINTEGER", "descriptor"),
        ("target", "VARCHAR", "the text of its link"),
        ("dev", "VARCHAR?", "major:minor in hex, as in vmas; null where no mount tells"),
        ("inode", "UBIGINT?", "as in vmas; null for what shares one inode (anon_inode)"),
        ("fstype", "VARCHAR?", "kind of file system; null where no mount tells"),
        ("size_bytes", "UBIGINT?", "length, of a file that is memory"),
        ("allocated_bytes", "UBIGINT?", "allocated, what is swapped included, of a file that is memory"),
        ("info", "VARCHAR?", "lines of fdinfo that tell of memory, `Name: value`"),
    ),
    _table(
        "sysv_shm", "System V shared memory segment of the reader's IPC namespace", 1 << 22,
        ("shmid", "UBIGINT", "its id: the inode of its VMAs"),
        ("key", "BIGINT?", "of ftok, 0 is private; its VMAs are named after it"),
        ("size_bytes", "UBIGINT", "as it was asked for"),
        ("nr_attached", "UBIGINT", "attachments, those of every process"),
        ("rss_bytes", "UBIGINT?", "in memory"),
        ("swap_bytes", "UBIGINT?", "in swap"),
        ("uid", "UINTEGER", "owner"),
        ("creator_pid", "UINTEGER", "process that made it"),
        ("last_pid", "UINTEGER", "process that attached or detached last, 0 = none"),
    ),
)  # fmt: skip

TABLES: Final[dict[str, TableSchema]] = {t.name: t for t in _ALL}
"""Every table of this format version by name."""

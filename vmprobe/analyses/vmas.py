"""``vmprobe vmas``: the VMAs of a process or of the host, and what finding one of them costs.

A look-up is an address that has a present entry; without page tables every VMA is looked up once.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vmprobe.analyses.evidence import demand_tables, why_missing
from vmprobe.analyses.process import address_space, owners
from vmprobe.analyses.show import MissingPart
from vmprobe.bridge.vmas import AVL_MIN_MAP_COUNT, LIST, NAMES, pages_by_vma, tree_cost

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vmprobe.bridge.vmas import TreeCost
    from vmprobe.tables import Snapshot

QUANTILES: Final = (0, 25, 50, 75, 90, 99, 100)
"""In percent."""
LARGEST_GAPS: Final = 5


@dataclass(frozen=True)
class TreeRow:
    """One way to find a VMA, over one address space or many.

    Parameters
    ----------
    tree
        ``list``, ``avl``, ``rbtree``, ``maple`` or ``sortedarray``.
    depth_max
        Nodes on the longest way from a root; of a list, its length.
    comparisons_per_lookup, visits_per_lookup
        Means, rounded to hundredths; None without look-ups.
    bytes
        Memory for all.
    """

    tree: str
    depth_max: int
    comparisons_per_lookup: float | None
    visits_per_lookup: float | None
    bytes: int


@dataclass(frozen=True)
class BucketRow:
    """Address spaces with `first` to `last` VMAs."""

    first: int
    last: int
    address_spaces: int
    trees: tuple[TreeRow, ...]


@dataclass(frozen=True)
class Distribution:
    """VMAs in an address space.

    Parameters
    ----------
    quantiles
        ``p0`` to ``p100``: number that so many percent of the address spaces do not exceed.
    largest_pid, largest_comm, largest_vmas
        The address space with most.
    trees_in_1998
        Address spaces for which Linux 2.2 would have made a tree.
    buckets
        Costs by number, in powers of two.
    """

    quantiles: dict[str, int]
    largest_pid: int | None
    largest_comm: str | None
    largest_vmas: int
    trees_in_1998: int
    buckets: tuple[BucketRow, ...]


@dataclass(frozen=True)
class ProcessRow:
    """An address space under its lowest pid; None where no process of it is listed."""

    pid: int | None
    comm: str | None
    processes: int
    vmas: int
    lookups: int
    comparisons_per_lookup: dict[str, float | None]


@dataclass(frozen=True)
class Vmas:
    """The answer for a host.

    Parameters
    ----------
    address_spaces, vmas
        How many there are.
    lookups
        Addresses looked up.
    worth_it
        Whether the red-black tree needs fewer comparisons than the list, on average; None without look-ups.
    distribution
        None without an address space.
    trees
        Over all address spaces.
    processes
        By VMAs, descending.
    missing
        Why look-ups are not page-table entries.
    """

    address_spaces: int
    vmas: int
    lookups: int
    worth_it: bool | None
    distribution: Distribution | None
    trees: tuple[TreeRow, ...]
    processes: tuple[ProcessRow, ...]
    missing: tuple[MissingPart, ...]


@dataclass(frozen=True)
class VmaRow:
    """A VMA; None where not read. `gap_before_bytes` is None for the first one."""

    start: int
    end: int
    gap_before_bytes: int | None
    perms: str
    pgoff: int
    dev: str
    inode: int
    name: str
    present_pages: int | None
    swap_pages: int | None
    rss_bytes: int | None
    pss_bytes: int | None
    swap_bytes: int | None


@dataclass(frozen=True)
class GapRow:
    """A hole between two VMAs."""

    start: int
    end: int
    bytes: int
    below: str
    above: str


@dataclass(frozen=True)
class Gaps:
    """Holes between the first VMA and the last: how many, together, and the largest."""

    count: int
    bytes: int
    largest: tuple[GapRow, ...]


@dataclass(frozen=True)
class ProcessVmas:
    """The answer for one process; `processes` share its address space."""

    pid: int
    comm: str | None
    processes: int
    lookups: int
    worth_it: bool | None
    vmas: tuple[VmaRow, ...]
    gaps: Gaps
    trees: tuple[TreeRow, ...]
    missing: tuple[MissingPart, ...]


@dataclass(frozen=True)
class _Spaces:
    """VMAs of all address spaces in order; `bound[i]` to `bound[i + 1]` are those of `mms[i]`."""

    mms: NDArray[np.int64]
    bound: NDArray[np.int64]
    start: NDArray[np.uint64]
    end: NDArray[np.uint64]
    nr_lookups: NDArray[np.int64]

    def costs(self, index: int) -> dict[str, TreeCost]:
        """Return what each tree costs over one address space."""
        rows = slice(int(self.bound[index]), int(self.bound[index + 1]))
        return {
            name: tree_cost(name, self.start[rows], self.end[rows], self.nr_lookups[rows]) for name in NAMES
        }


def vmas(snapshot: Snapshot) -> Vmas:
    """Return how many VMAs address spaces have, and what a look-up costs in each tree.

    Raises
    ------
    SnapshotError
        The snapshot has no VMAs.
    """
    demand_tables(snapshot, "vmas")
    spaces = _spaces(snapshot)
    counts = np.diff(spaces.bound)
    per_space = [spaces.costs(index) for index in range(len(spaces.mms))]
    lookups = np.add.reduceat(spaces.nr_lookups, spaces.bound[:-1]) if len(counts) else counts
    listed = owners(snapshot)
    processes = []
    for mm, nr, nr_lookups, costs in zip(
        spaces.mms.tolist(), counts.tolist(), lookups.tolist(), per_space, strict=True
    ):
        pids = listed.get(mm, [])
        pid, comm = pids[0] if pids else (None, None)
        means = {name: _mean(cost.nr_comparisons, nr_lookups) for name, cost in costs.items()}
        processes.append(ProcessRow(pid, comm, len(pids), nr, nr_lookups, means))
    processes.sort(key=lambda row: (-row.vmas, row.pid or 0))
    trees = _rows(per_space, int(lookups.sum()))
    return Vmas(
        address_spaces=len(counts),
        vmas=int(counts.sum()),
        lookups=int(lookups.sum()),
        worth_it=_worth_it(trees),
        distribution=_distribution(processes, counts, lookups, per_space) if len(counts) else None,
        trees=trees,
        processes=tuple(processes),
        missing=_missing(snapshot),
    )


def process_vmas(snapshot: Snapshot, pid: int) -> ProcessVmas:
    """Return the VMAs of a process, the holes between them, and what a look-up costs in each tree.

    Raises
    ------
    SnapshotError
        The snapshot has no VMAs.
    UsageError
        It has no such process, or that is a kernel thread.
    InputError
        The maps of the process could not be read.
    """
    demand_tables(snapshot, "vmas")
    comm, mm = address_space(snapshot, pid)
    spaces = _spaces(snapshot, mm)
    rows = _vma_rows(snapshot, mm)
    nr_lookups = int(spaces.nr_lookups.sum())
    trees = _rows([spaces.costs(0)], nr_lookups)
    return ProcessVmas(
        pid=pid,
        comm=comm,
        processes=len(owners(snapshot)[mm]),
        lookups=nr_lookups,
        worth_it=_worth_it(trees),
        vmas=rows,
        gaps=_gaps(rows),
        trees=trees,
        missing=_missing(snapshot),
    )


def _spaces(snapshot: Snapshot, only: int | None = None) -> _Spaces:
    """Return every address space that has a VMA, or one in any case."""
    table = snapshot.table("vmas", ("mm", "start", "end"))
    mm, start = table.column("mm").astype(np.int64), table.column("start")
    present = pages_by_vma(snapshot, "present")
    nr_lookups = np.ones(len(mm), np.int64) if present is None else present
    order = np.lexsort((start, mm))
    if only is not None:
        order = order[mm[order] == only]
    mms, first = np.unique(mm[order], return_index=True) if only is None else (np.array([only]), np.zeros(1))
    bound = np.append(first, len(order)).astype(np.int64)
    return _Spaces(mms, bound, start[order], table.column("end")[order], nr_lookups[order])


def _mean(total: int, nr: int) -> float | None:
    return round(total / nr, 2) if nr else None


def _rows(costs: list[dict[str, TreeCost]], nr_lookups: int) -> tuple[TreeRow, ...]:
    """Add up the costs over address spaces."""
    return tuple(
        TreeRow(
            name,
            max((cost[name].depth for cost in costs), default=0),
            _mean(sum(cost[name].nr_comparisons for cost in costs), nr_lookups),
            _mean(sum(cost[name].nr_visits for cost in costs), nr_lookups),
            sum(cost[name].nr_bytes for cost in costs),
        )
        for name in NAMES
    )


def _worth_it(trees: tuple[TreeRow, ...]) -> bool | None:
    mean = {row.tree: row.comparisons_per_lookup for row in trees}
    in_list, in_tree = mean[LIST], mean["rbtree"]
    return None if in_list is None or in_tree is None else in_tree < in_list


def _distribution(
    processes: list[ProcessRow],
    counts: NDArray[np.int64],
    lookups: NDArray[np.int64],
    per_space: list[dict[str, TreeCost]],
) -> Distribution:
    levels = np.percentile(counts, QUANTILES, method="inverted_cdf")
    buckets = []
    power = np.array([int(nr).bit_length() for nr in counts])
    for bits in np.unique(power).tolist():
        chosen = np.flatnonzero(power == bits)
        rows = _rows([per_space[index] for index in chosen], int(lookups[chosen].sum()))
        buckets.append(BucketRow(1 << (bits - 1), (1 << bits) - 1, len(chosen), rows))
    largest = processes[0]
    return Distribution(
        {f"p{percent}": int(level) for percent, level in zip(QUANTILES, levels, strict=True)},
        largest.pid,
        largest.comm,
        largest.vmas,
        int(np.count_nonzero(counts >= AVL_MIN_MAP_COUNT)),
        tuple(buckets),
    )


def _missing(snapshot: Snapshot) -> tuple[MissingPart, ...]:
    if snapshot.has("mappings"):
        return ()
    return (MissingPart("mappings", why_missing(snapshot, "mappings", "pagemap")),)


def _vma_rows(snapshot: Snapshot, mm: int) -> tuple[VmaRow, ...]:
    names = (
        "mm", "start", "end",
        "perms", "pgoff", "dev", "inode", "name",
        "rss_bytes", "pss_bytes", "swap_bytes",
    )  # fmt: skip
    pages = [pages_by_vma(snapshot, kind) for kind in ("present", "swap")]
    rows: list[VmaRow] = []
    before: int | None = None
    for index, (owner, start, end, *about) in enumerate(snapshot.table("vmas").rows(*names)):
        if owner != mm:
            continue
        found: list[Any] = [None if nr is None else int(nr[index]) for nr in pages]
        gap = None if before is None else start - before
        rows.append(VmaRow(start, end, gap, *about[:5], *found, *about[5:]))
        before = end
    return tuple(rows)


def _gaps(rows: tuple[VmaRow, ...]) -> Gaps:
    found = [
        GapRow(below.end, above.start, above.gap_before_bytes, _label(below), _label(above))
        for below, above in pairwise(rows)
        if above.gap_before_bytes is not None and above.gap_before_bytes > 0
    ]
    found.sort(key=lambda gap: -gap.bytes)
    return Gaps(len(found), sum(gap.bytes for gap in found), tuple(found[:LARGEST_GAPS]))


def _label(row: VmaRow) -> str:
    return row.name or "anonymous"

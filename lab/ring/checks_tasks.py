"""Stopped processes: resident, anonymous and swapped pages, NUMA nodes, swap slots, cgroups."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel.pageflags import mask
from lab.errors import DiffersError
from lab.ring.check import Check, equal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from lab.ring.visit import Round, Visit

ANON, ZERO = np.uint64(mask("ANON")), np.uint64(mask("ZERO_PAGE"))
HUGE, RESERVED = np.uint64(mask("HUGE")), np.uint64(mask("RESERVED"))
TAIL = np.uint64(mask("COMPOUND_TAIL"))


class Entries:
    """The page-table entries of one process, one by one.

    Parameters
    ----------
    taken
        The round.
    pid
        A process that was stopped.
    """

    def __init__(self, taken: Round, pid: int) -> None:
        table = taken.snapshot.table("mappings")
        mine = table.column("mm") == taken.mm_of(pid)
        kinds = table.column("kind")
        present, swap = mine & (kinds == "present"), mine & (kinds == "swap")
        self.vpn, self.pfn = (
            _expanded(table.column(name), table.column("nr_pages"), present) for name in ("vpn", "pfn")
        )
        self.swap_vpn = _expanded(table.column("vpn"), table.column("nr_pages"), swap)
        self.swap_offset = _expanded(table.column("swap_offset"), table.column("nr_pages"), swap)
        self.swap_area = np.repeat(table.column("swap_type")[swap], table.column("nr_pages")[swap])
        frames = taken.snapshot.table("frames")
        rows = np.searchsorted(frames.column("pfn"), self.pfn)
        self.flags = frames.column("flags")[rows]
        self.memcg = frames.column("memcg")[rows]
        self.mapcount = frames.column("mapcount")[rows]

    def lacking(self, *bits: np.uint64) -> NDArray[np.bool_]:
        """Return which present entries hold a frame without any of these bits."""
        any_of = np.uint64(sum(int(bit) for bit in bits))
        chosen: NDArray[np.bool_] = (self.flags & any_of) == 0
        return chosen


def _expanded(
    first: NDArray[np.uint64], nr_pages: NDArray[np.uint32], chosen: NDArray[np.bool_]
) -> NDArray[np.uint64]:
    """Return the numbers that runs count up through."""
    counts = nr_pages[chosen].astype(np.int64)
    starts = first[chosen].astype(np.uint64)
    within = np.arange(counts.sum(), dtype=np.uint64) - np.repeat(
        (np.cumsum(counts) - counts).astype(np.uint64), counts
    )
    numbers: NDArray[np.uint64] = np.repeat(starts, counts) + within
    return numbers


def rollup_pages(text: str, name: str) -> int:
    """Return a line of smaps_rollup in pages of 4 KiB."""
    found = re.search(rf"^{name}: +(\d+) kB$", text, re.MULTILINE)
    assert found is not None, name
    return int(found[1]) // 4


def _texts(visit: Visit, taken: Round, name: str) -> Iterator[tuple[int, str]]:
    for pid in visit.facts["pids"]:
        text = taken.task_text(pid, name)
        if text is not None:
            yield pid, text


def compare_resident(visit: Visit, taken: Round) -> str:
    """Compare resident, anonymous and swapped pages of each stopped process."""
    total, nr = 0, 0
    for pid, text in _texts(visit, taken, "smaps_rollup"):
        entries = Entries(taken, pid)
        resident = int(np.count_nonzero(entries.lacking(ZERO, HUGE)))
        equal(resident, rollup_pages(text, "Rss"), f"resident pages of process {pid} (smaps_rollup)")
        anon = int(np.count_nonzero(~entries.lacking(ANON) & entries.lacking(HUGE)))
        equal(anon, rollup_pages(text, "Anonymous"), f"anonymous pages of process {pid}")
        equal(len(entries.swap_vpn), rollup_pages(text, "Swap"), f"swapped pages of process {pid}")
        total, nr = total + resident, nr + 1
    return f"{total:,} pages of {nr} processes"


def plant_resident(visit: Visit, taken: Round) -> Round:
    """Plant a run of entries that was not seen."""
    return taken.without_row("mappings", _a_row(visit, taken, "present"))


def _a_row(visit: Visit, taken: Round, kind: str) -> int:
    """Return a row of the mappings of a stopped process, anonymous where present."""
    table = taken.snapshot.table("mappings")
    chosen = np.isin(table.column("mm"), [taken.mm_of(pid) for pid in visit.facts["pids"]])
    chosen &= table.column("kind") == kind
    if kind == "present":
        chosen &= ~table.column("file") & (table.column("exclusive"))
    return int(np.flatnonzero(chosen)[-1])


def compare_statm(visit: Visit, taken: Round) -> str:
    """Compare the resident pages of each stopped process with statm."""
    total, nr = 0, 0
    for pid, text in _texts(visit, taken, "statm"):
        resident = int(np.count_nonzero(Entries(taken, pid).lacking(ZERO, HUGE)))
        equal(resident, int(text.split()[1]), f"resident pages of process {pid} (statm)")
        total, nr = total + resident, nr + 1
    return f"{total:,} pages of {nr} processes"


def compare_nodes(visit: Visit, taken: Round) -> str:
    """Compare the pages of every VMA by NUMA node."""
    zones = [
        row
        for row in taken.snapshot.table("zones").rows("start_pfn", "spanned_pages", "node")
        if row[0] is not None
    ]
    seen: dict[int, int] = {}
    nr_vmas = 0
    for pid, text in _texts(visit, taken, "numa_maps"):
        entries = Entries(taken, pid)
        counted = entries.lacking(ZERO, RESERVED)
        vpn, pfn = entries.vpn[counted], entries.pfn[counted]
        node = np.full(len(pfn), -1)
        for start, spanned, number in zones:
            node[(pfn >= start) & (pfn < start + spanned)] = number
        maps = taken.task_text(pid, "maps")
        assert maps is not None
        ends = {
            int(a, 16): int(b, 16) for a, b in re.findall(r"^([0-9a-f]+)-([0-9a-f]+) ", maps, re.MULTILINE)
        }
        for line in text.splitlines():
            start = int(line.split()[0], 16)
            inside = (vpn >= start >> 12) & (vpn < ends[start] >> 12)
            size = re.search(r"kernelpagesize_kB=(\d+)", line)
            scale = int(size[1]) // 4 if size else 1
            expected = {int(n): int(nr) * scale for n, nr in re.findall(r" N(\d+)=(\d+)", line)}
            numbers, counts = np.unique(node[inside], return_counts=True)
            equal(
                dict(zip(numbers.tolist(), counts.tolist(), strict=True)),
                expected,
                f"nodes of {pid} at {start:#x}",
            )
            nr_vmas += 1
            for number, nr in expected.items():
                seen[number] = seen.get(number, 0) + nr
    if sorted(seen) != list(range(visit.shape.nodes)):
        raise DiffersError(f"pages on nodes {sorted(seen)}, and the guest has {visit.shape.nodes}")
    shares = ", ".join(f"N{number} {nr:,}" for number, nr in sorted(seen.items()))
    return f"{shares} pages in {nr_vmas} VMAs"


def plant_nodes(_visit: Visit, taken: Round) -> Round:
    """Plant zones on another node."""
    node = taken.snapshot.table("zones").column("node")
    return taken.changed("zones", "node", slice(None), node + 1)


def no_numa(visit: Visit) -> str | None:
    """Return why there is no numa_maps."""
    texts = (taken.task_text(pid, "numa_maps") for taken in visit.rounds for pid in visit.facts["pids"])
    return None if all(texts) else "the kernel has no numa_maps"


def compare_swap(visit: Visit, taken: Round) -> str:
    """Compare each swap entry with the page that lies at its area and offset."""
    lies = {(area, offset): text for area, offset, text in visit.facts["stamps"]}
    nr = 0
    areas: set[int] = set()
    for truth in visit.truths("swapped"):
        entries = Entries(taken, truth["pid"])
        for vpn, area, offset in zip(
            entries.swap_vpn.tolist(), entries.swap_area.tolist(), entries.swap_offset.tolist(), strict=True
        ):
            words = lies.get((area, offset), "nothing").split()
            equal(
                [truth["pid"], vpn],
                [int(word) for word in words[1:3]],
                f"page at area {area} offset {offset}",
            )
            nr, areas = nr + 1, areas | {area}
    equal(sorted(areas), list(range(len(visit.shape.swap))), "areas in use")
    return f"{nr:,} pages found in {len(areas)} areas"


def plant_swap(visit: Visit, taken: Round) -> Round:
    """Plant an offset that is one off."""
    row = _a_row(visit, taken, "swap")
    offset = taken.snapshot.table("mappings").column("swap_offset")[row]
    return taken.changed("mappings", "swap_offset", row, offset + 1)


def no_swap(visit: Visit) -> str | None:
    """Return why nothing is swapped."""
    return None if visit.shape.swap else "no swap in this guest"


def compare_cgroups(visit: Visit, taken: Round) -> str:
    """Compare what anonymous pages are charged to with the cgroup that the processes live in."""
    inode = visit.facts["cgroup_inode"]
    paths = dict(taken.snapshot.table("cgroups").rows("inode", "path"))
    equal(paths.get(inode), "/lab", f"path of cgroup inode {inode}")
    nr = 0
    for pid in visit.facts["pids"]:
        entries = Entries(taken, pid)
        # Up to 6.1 the kernel prints 0 for the tails of a large folio: only the head is charged.
        own = ~entries.lacking(ANON) & entries.lacking(HUGE, TAIL)
        equal(set(entries.memcg[own].tolist()), {inode}, f"cgroups that the pages of {pid} are charged to")
        nr += int(np.count_nonzero(own))
    return f"{nr:,} pages charged to /lab"


def plant_cgroups(visit: Visit, taken: Round) -> Round:
    """Plant one page that is charged elsewhere."""
    row = _a_row(visit, taken, "present")
    pfn = taken.snapshot.table("mappings").column("pfn")[row]
    return taken.changed("frames", "memcg", taken.frame_row(pfn), 1)


CHECKS: Final = (
    Check("resident, anonymous, swapped", "smaps_rollup", compare_resident, plant_resident),
    Check("resident", "statm", compare_statm, plant_resident),
    Check("pages by node", "numa_maps", compare_nodes, plant_nodes, no_numa),
    Check("swap area and offset", "the page that lies there", compare_swap, plant_swap, no_swap),
    Check("memory cgroups", "cgroup inode", compare_cgroups, plant_cgroups),
)
"""Rows of the table about processes."""

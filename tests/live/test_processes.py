"""One process at a time on the live kernel: what vmprobe finds, what the child did, what the kernel sums."""

from __future__ import annotations

import os
import re
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from vmprobe.analyses.show import show
from vmprobe.collect import Options, take
from vmprobe.collect.sharing import group_by_kcmp
from vmprobe.sources.pagemap import PagemapScanner

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmprobe.tables import Snapshot

pytestmark = pytest.mark.live
PAGE = os.sysconf("SC_PAGE_SIZE")


def of(pid: int, **choices: Any) -> Snapshot:
    return take(Options(pids=(pid,), **{"frames": False, **choices}))


def pages(snapshot: Snapshot, start: int, end: int) -> dict[int, str]:
    """Return address and kind of every entry in a range."""
    found = {}
    for vpn, nr, kind in snapshot.table("mappings").rows("vpn", "nr_pages", "kind"):
        for address in range(vpn * PAGE, (vpn + nr) * PAGE, PAGE):
            if start <= address < end:
                found[address] = kind
    return found


def test_a_sparse_tebibyte(start: Callable[..., Any]) -> None:
    child = start("sparse")
    facts = child.facts
    snapshot = of(child.pid)
    found = pages(snapshot, facts["start"], facts["end"])
    expected = dict.fromkeys(facts["touched"], "present")
    if facts["guard"] is not None:
        expected[facts["guard"]] = "guard"
    assert found == expected
    assert "swap" not in found.values()
    if snapshot.manifest["scan_ioctl"]["supported"]:
        costs = {s["name"]: s for s in snapshot.manifest["sources"]}
        # 2 GiB of words stand for the reservation: reading a thousandth of them would be a scan of holes.
        assert costs["pagemap"]["bytes"] < 2 << 20


def test_without_the_ioctl_the_same_is_found(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    child = start("quiet")
    first = child.facts["start"]
    with_scan = pages(of(child.pid), 0, 1 << 63)
    monkeypatch.setattr(PagemapScanner, "populated", lambda *_: None)
    assert pages(of(child.pid), 0, 1 << 63) == with_scan
    assert [a for a, kind in with_scan.items() if first <= a < first + 48 * PAGE and kind == "present"] == [
        first + i * PAGE for i in (*range(32), *range(40, 48))
    ]


def test_resident_pages_are_what_smaps_rollup_sums(start: Callable[..., Any], root_only: None) -> None:
    """Rss counts every present page but the zero page; hugetlb and PFN maps are not there in this child."""
    child = start("quiet")
    snapshot = of(child.pid, frames=True)
    flags = snapshot.table("frames").column("flags")
    zero = {int(pfn) for pfn in (flags >> 24 & 1).nonzero()[0]}
    resident, only_read = 0, set()
    for kind, vpn, pfn, nr in snapshot.table("mappings").rows("kind", "vpn", "pfn", "nr_pages"):
        if kind == "present":
            empty = [i for i in range(nr) if pfn + i in zero]
            resident += nr - len(empty)
            only_read |= {(vpn + i) * PAGE for i in empty}
    rollup = Path(f"/proc/{child.pid}/smaps_rollup").read_text()
    rss_kib = int(re.search(r"^Rss: +(\d+) kB$", rollup, re.MULTILINE)[1])  # type: ignore[index]
    assert resident * PAGE == rss_kib * 1024
    processes = show(snapshot).processes
    assert processes is not None
    assert processes.largest[0].resident_bytes == rss_kib * 1024
    assert only_read >= {child.facts["start"] + i * PAGE for i in range(40, 48)}


def test_smaps_sums_are_the_kernels(start: Callable[..., Any]) -> None:
    child = start("quiet")
    table = of(child.pid, smaps=True).table("vmas")
    rollup = Path(f"/proc/{child.pid}/smaps_rollup").read_text()
    rss_kib = int(re.search(r"^Rss: +(\d+) kB$", rollup, re.MULTILINE)[1])  # type: ignore[index]
    assert table.column("rss_bytes").sum() == rss_kib * 1024
    assert any("rd" in flags.split() for flags in table.column("vm_flags"))


def test_address_spaces_are_counted_once(start: Callable[..., Any]) -> None:
    child = start("shared_mm")
    family = (child.pid, child.facts["cloned"], child.facts["forked"])
    rows = {
        pid: (mm, evidence)
        for pid, mm, evidence in take(Options(pids=family, frames=False))
        .table("tasks")
        .rows("pid", "mm", "mm_evidence")
    }
    assert rows[family[0]] == rows[family[1]]
    assert rows[family[0]][1] == "kcmp"
    assert rows[family[2]][0] != rows[family[0]][0]


def test_without_kcmp_evidence_tells_sharers_from_a_fork(
    start: Callable[..., Any], root_only: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = start("shared_mm")
    family = (child.pid, child.facts["cloned"], child.facts["forked"])

    def refused(_a: int, _b: int) -> int:
        raise PermissionError(1, "refused")

    monkeypatch.setattr("vmprobe.collect.walks.group_by_kcmp", lambda tasks: group_by_kcmp(tasks, refused))
    table = take(Options(pids=family, frames=False)).table("tasks")
    mm = dict(table.rows("pid", "mm"))
    assert mm[family[0]] == mm[family[1]] != mm[family[2]]
    assert {e for (e,) in table.rows("mm_evidence")} == {"exclusive-frames", None}


def test_a_zombie_leader_is_read_through_a_live_thread(start: Callable[..., Any]) -> None:
    child = start("zombie_leader")
    assert Path(f"/proc/{child.pid}/maps").read_bytes() == b""
    snapshot = of(child.pid)
    assert list(snapshot.table("tasks").rows("state", "error")) == [("Z", None)]
    first = child.facts["start"]
    assert list(pages(snapshot, first, first + 4 * PAGE).values()) == ["present"] * 4


def test_kernel_threads_are_listed_and_not_walked(root_only: None) -> None:
    table = take(Options(frames=False)).table("tasks")
    threads = [(mm, error) for kernel, mm, error in table.rows("kernel_thread", "mm", "error") if kernel]
    assert threads
    assert set(threads) == {(None, None)}


def test_lists_of_vmas_are_whole_while_they_change(start: Callable[..., Any]) -> None:
    child = start("churn")
    for _ in range(30):
        snapshot = of(child.pid)
        rows = list(snapshot.table("vmas").rows("start", "end"))
        assert all(end > first for first, end in rows)
        assert all(a[1] <= b[0] for a, b in pairwise(rows)), "in order and disjoint"


def test_our_own_process_can_be_read() -> None:
    assert len(of(os.getpid()).table("mappings")) > 0


def test_regions_after_a_stale_walk_end_are_not_repeated() -> None:
    """The kernel's walk_end is stale when one call needs several of its batches: 2,000 regions show it."""
    import ctypes
    import mmap

    area = mmap.mmap(-1, PAGE * 4000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    area.madvise(mmap.MADV_NOHUGEPAGE)
    for i in range(0, 4000, 2):
        area[i * PAGE] = 1
    base = ctypes.addressof(ctypes.c_char.from_buffer(area))
    fd = os.open("/proc/self/pagemap", os.O_RDONLY)
    try:
        runs = PagemapScanner().populated(fd, base, base + PAGE * 4000, PAGE)
    finally:
        os.close(fd)
    if runs is None:
        pytest.skip("this kernel has no PAGEMAP_SCAN (before 6.7)")
    assert runs == [(base // PAGE + i, base // PAGE + i + 1) for i in range(0, 4000, 2)]

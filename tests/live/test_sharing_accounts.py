"""The accounts of forks of ours against what the kernel adds up of them, to the kilobyte."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from kernelmodel.sharing.accounting import PSS_SHIFT, Accounts, account, counted_entries
from kernelmodel.sharing.facts import SwapRuns
from kernelmodel.sharing.groups import group_costs
from kernelmodel.sharing.runs import coverage, row_runs
from kernelmodel.sharing.survival import image, survival
from vmprobe.bridge.model import frames, page_tables
from vmprobe.collect import Options, take
from vmprobe.formats import kpagecount, smaps_rollup

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernelmodel.memmap import MemMap
    from kernelmodel.page_tables import PageTables
    from kernelmodel.sharing.runs import Reach
    from vmprobe.tables import Snapshot

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.usefixtures("root_only")]
PAGE = os.sysconf("SC_PAGE_SIZE")
PROGRAM = Path(__file__).with_name("sharing_family.py")
ATTEMPTS = 100
"""Libraries are shared with the whole host: each program that comes or goes changes what their pages cost."""


@contextmanager
def family(nr_children: int, folder: Path) -> Iterator[tuple[list[int], int]]:
    """Hold a parent and its forks still while they are looked at: numbers, and where the small area is."""
    command = [sys.executable, "-I", str(PROGRAM), str(nr_children), str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={}) as process:
        assert process.stdout is not None
        facts = json.loads(process.stdout.readline())
        pids: list[int] = facts["pids"]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            while any(state(pid) != "T" for pid in pids):
                time.sleep(0.01)
            yield pids, facts["small"]
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@dataclass
class Seen:
    """What was seen of a family: the model's arrays, the kernel's sums of each process, parent first."""

    frames: MemMap
    tables: PageTables
    swap: SwapRuns
    mms: dict[int, int]
    sums: dict[int, dict[str, int]]
    small: int
    """Address of the private area of small pages."""

    @property
    def entries(self) -> Reach:
        return counted_entries(self.frames, self.tables)

    @property
    def accounts(self) -> Accounts:
        made = account(self.frames, self.entries, self.swap, max(self.mms.values()) + 1, PAGE)
        made.validate()
        return made


def look(pids: list[int], small: int) -> Seen:
    """Look until no count of a page of theirs changes around the kernel's own sums."""
    for attempt in range(ATTEMPTS):
        # They hold still, but the kernel may move their pages: now and then their page tables are read again.
        if attempt % 10 == 0:
            snapshot = take(Options(trees=(pids[0],)))
            tables, memmap = page_tables(snapshot), frames(snapshot)
            assert tables is not None
            rows = row_runs(memmap, tables.pfn, tables.nr_pages)
            found = coverage(rows.start, rows.end, len(memmap))
            mapped = memmap.runs(found > 0).tolist()
        before = counts(mapped)
        sums = {pid: Path(f"/proc/{pid}/smaps_rollup").read_bytes() for pid in pids}
        if counts(mapped) != before:
            continue
        counted = np.zeros(len(memmap), np.uint32)
        counted[found > 0] = kpagecount.decode(b"".join(before))
        if (counted[(found > 0) & ~memmap.having("ZERO_PAGE")] > 0).all():
            of_pid = dict(snapshot.table("tasks").rows("pid", "mm"))
            mms = {pid: of_pid[pid] for pid in pids}
            fields = {pid: smaps_rollup.parse(data).fields for pid, data in sums.items()}
            return Seen(replace(memmap, mapcount=counted), tables, swap_runs(snapshot), mms, fields, small)
    pytest.fail(f"programs came and went in each of {ATTEMPTS} looks")


def counts(mapped: list[list[int]]) -> list[bytes]:
    """Return the kernel's counts of ranges of frames as they are now."""
    with open("/proc/kpagecount", "rb", buffering=0) as file:
        return [os.pread(file.fileno(), (end - start) * 8, start * 8) for start, end in mapped]


def swap_runs(snapshot: Snapshot) -> SwapRuns:
    """Return the swapped entries as the model takes them."""
    table = snapshot.table("mappings")
    chosen = np.flatnonzero(table.equals("kind", "swap"))
    columns = ("mm", "swap_type", "swap_offset", "nr_pages")
    mm, area, offset, nr_pages = (table.column(name)[chosen].astype(np.int64) for name in columns)
    return SwapRuns(mm, area, offset, nr_pages, np.full(len(chosen), -1, np.int64))


def kilobytes(accounts: Accounts, mm: int) -> dict[str, int]:
    """Return the figures as smaps_rollup prints them."""
    return {
        "Rss": int(accounts.rss_pages[mm]) * PAGE // 1024,
        "Pss": int(accounts.pss_units[mm]) >> PSS_SHIFT + 10,
        "Private": int(accounts.uss_pages[mm]) * PAGE // 1024,
        "Swap": int(accounts.swap_pages[mm]) * PAGE // 1024,
        "SwapPss": int(accounts.swap_pss_units[mm]) >> PSS_SHIFT + 10,
    }


def printed(fields: dict[str, int]) -> dict[str, int]:
    figures = {name: fields[name] for name in ("Rss", "Pss", "Swap", "SwapPss")}
    return figures | {"Private": fields["Private_Clean"] + fields["Private_Dirty"]}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    if os.geteuid():
        pytest.skip("needs root: frame numbers and frame words are for root alone")
    with family(40, tmp_path_factory.mktemp("family")) as (pids, small):
        yield look(pids, small)


def test_forty_forks_have_what_the_kernel_says(seen: Seen) -> None:
    accounts = seen.accounts
    assert len(seen.mms) == 41
    ours = {pid: kilobytes(accounts, mm) for pid, mm in seen.mms.items()}
    assert ours == {pid: printed(seen.sums[pid]) for pid in seen.mms}


def test_one_count_more_would_be_noticed(seen: Seen) -> None:
    """A page that one process alone maps is said to have another mapper."""
    assert seen.frames.mapcount is not None
    single = np.flatnonzero(seen.frames.mapcount == 1)
    planted = seen.frames.mapcount.copy()
    planted[single[0]] += 1
    accounts = replace(seen, frames=replace(seen.frames, mapcount=planted)).accounts
    ours = {pid: kilobytes(accounts, mm) for pid, mm in seen.mms.items()}
    wrong = [pid for pid, fields in seen.sums.items() if ours[pid] != printed(fields)]
    assert len(wrong) == 1


def test_the_family_and_those_outside_pay_for_its_frames(seen: Seen) -> None:
    nr_mms = max(seen.mms.values()) + 1
    of_family = np.full(nr_mms, -1)
    of_family[list(seen.mms.values())] = 0
    costs = group_costs(
        seen.frames,
        seen.entries,
        seen.swap,
        of_family,
        np.ones(nr_mms, np.bool_),
        nr_groups=1,
        page_size=PAGE,
    )
    costs.validate()
    assert costs.pss_units[0] == seen.accounts.pss_units.sum()
    assert costs.pss_units[0] + costs.others_units[0] == costs.distinct_pages[0] * PAGE << PSS_SHIFT
    # What the parent wrote and what its forks wrote again comes back: at least the small and huge areas.
    written = 512 + 4 * 512 + 128 + sum(number * 11 % 512 + 3 for number in range(40))
    assert written <= costs.freed_pages[0] < costs.distinct_pages[0]
    # The interpreter's own pages have users outside: this test runs in it.
    assert 0 < costs.hidden_pages[0] <= costs.shared_pages[0]


def test_huge_pages_are_among_them(seen: Seen) -> None:
    if not any(fields["AnonHugePages"] for fields in seen.sums.values()):
        pytest.skip("no transparent huge page was to be had on this host")
    huge = seen.frames.having("ANON", "THP")
    rows = row_runs(seen.frames, seen.tables.pfn, seen.tables.nr_pages)
    assert any(huge[start:end].all() for start, end in zip(rows.start, rows.end, strict=True))


def test_swap_slots_are_among_them(seen: Seen) -> None:
    if not any(fields["Swap"] for fields in seen.sums.values()):
        pytest.skip("nothing was swapped out: this host has no swap space")
    assert any(fields["SwapPss"] < fields["Swap"] for fields in seen.sums.values())


def test_each_fork_still_shares_what_it_did_not_write(seen: Seen) -> None:
    """And a page that a fork has written once more is one that it lost."""
    own = seen.frames.having("ANON")[seen.frames.rows(seen.tables.pfn)]
    parent, *workers = (image(seen.tables, mm, chosen=own) for mm in seen.mms.values())
    start = np.array([seen.small // PAGE])
    for number, worker in enumerate(workers):
        between = survival((parent, workers[0]), (parent, worker), start, start + 512, seconds=60)
        between.validate()
        assert between.image_pages.tolist() == [512]
        assert between.old_pages.tolist() == [512]
        assert between.new_pages.tolist() == [512 - number * 11 % 512]
        assert between.lost_per_minute == number * 11 % 512
        assert between.dropped_pages.tolist() == [0]

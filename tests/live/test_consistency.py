"""The model of this host against its kernel: free blocks by order, reverse entries of every frame."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from kernelmodel.consistency import check
from kernelmodel.consistency.buddy import EXACT, WITHIN_DRIFT
from kernelmodel.consistency.counts import Reason, check_counts
from lab.errors import UnavailableError
from lab.plants import PLANTS, Plant
from lab.workloads import hold
from vmprobe.bridge.model import host_model
from vmprobe.collect import Options, take

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kernelmodel.consistency.buddy import ZoneBlocks
    from kernelmodel.host import HostModel
    from vmprobe.tables import Snapshot

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.usefixtures("root_only")]
PAGE = os.sysconf("SC_PAGE_SIZE")
SPECS = ("forks children=3 pages=512 share=0.5", "pagecache bytes=4M", "holes pages=256")


def children(pid: int) -> list[int]:
    own = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(p for child in own for p in children(int(child)))]


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    """Stop processes of our own for as long as they are looked at."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        while any(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T" for pid in pids):
            time.sleep(0.01)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def frozen() -> Iterator[tuple[list[dict[str, Any]], list[int], Snapshot]]:
    """Children that fork, copy on write, share memory and files, have huge pages: stopped and looked at."""
    if os.geteuid():
        pytest.skip("needs root: frame numbers and frame words are for root alone")
    with ExitStack() as stack:
        truths = stack.enter_context(hold(*SPECS, seed=7))
        try:
            truths += stack.enter_context(hold("huge bytes=8M", seed=7))
        except UnavailableError as error:
            pytest.skip(str(error))
        pids = [pid for truth in truths for pid in children(truth["pid"])]
        with stopped(pids):
            snapshot = take(Options())
            # Ours stand still, others do not: now and then one of those maps and unmaps between two looks.
            for _ in range(2):
                if kinds(host_model(snapshot, averaged=False)):
                    snapshot = take(Options())
            yield truths, pids, snapshot


def test_reverse_entries_equal_the_kernels_counts_on_every_frame_of_ours(
    frozen: tuple[list[dict[str, Any]], list[int], Snapshot],
) -> None:
    truths, pids, snapshot = frozen
    model = host_model(snapshot, averaged=False)
    checked, reasons, violations = check_counts(model)
    assert checked is not None
    assert violations == []
    assert checked.nr_unexplained == 0
    assert model.tables is not None
    mms = {mm for pid, mm in snapshot.table("tasks").rows("pid", "mm") if pid in pids}
    assert len(mms) == len(pids)
    own = np.isin(model.tables.vmas.mm[model.tables.vma], list(mms))
    areas = {(a["start"] // PAGE, a["start"] // PAGE + a["nr_pages"]) for t in truths for a in t["areas"]}
    inside = np.zeros(len(own), np.bool_)
    for start, end in areas:
        inside |= (model.tables.vpn >= start) & (model.tables.vpn < end)
    # Frames of the areas that only our children map: nobody hidden can explain anything there.
    chosen = np.flatnonzero(own & inside)
    pfn = np.concatenate(
        [
            np.arange(model.tables.pfn[row], model.tables.pfn[row] + model.tables.nr_pages[row])
            for row in chosen
        ]
    )
    rows = model.frames.rows(np.unique(pfn))
    found = {Reason(code): int(nr) for code, nr in enumerate(np.bincount(reasons[rows])) if nr}
    assert set(found) == {Reason.MATCH}, found
    assert model.frames.mapcount is not None
    shared = int(np.count_nonzero(model.frames.mapcount[rows] >= 4))
    # Pages that a parent and three children share: some left by copy on write, the area, the file.
    assert shared >= 64 + 64
    assert found[Reason.MATCH] >= 512 + 3 * 256 + 2048


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_each_planted_fault_is_found_and_named(
    frozen: tuple[list[dict[str, Any]], list[int], Snapshot], plant: Plant
) -> None:
    model = host_model(frozen[2], averaged=False)
    assert kinds(model) == set()
    for place in (0, 12_345, 987_654):
        found = kinds(plant.do(model, place))
        assert plant.named <= found <= plant.named | plant.beside


def kinds(model: HostModel) -> set[str]:
    return {violation.kind for violation in check(model).violations}


def violated(zones: Iterable[ZoneBlocks]) -> list[ZoneBlocks]:
    """Return the zones whose free blocks no drift explains; equal is all that will do where nothing moved."""
    return [
        zone
        for zone in zones
        if zone.status not in ({EXACT} if zone.drift == (0,) * len(zone.rebuilt) else {EXACT, WITHIN_DRIFT})
    ]


def looked_at_now() -> HostModel:
    return host_model(take(Options(pids=(os.getpid(),))), averaged=False)


def test_free_blocks_are_buddyinfos_on_twenty_snapshots() -> None:
    """Equal at every order where neither buddyinfo nor a frame changed meanwhile, else within the drift.

    Blocks that someone takes and gives back between the two readings of buddyinfo leave no trace in either,
    and others on this host may do that: such a picture is taken anew, once. Twenty have two of them at most.
    """
    statuses, nr_again = [], 0
    for _ in range(20):
        zones = check(looked_at_now()).zones
        if violated(zones):
            nr_again += 1
            zones = check(looked_at_now()).zones
        assert violated(zones) == []
        statuses += [zone.status for zone in zones]
    assert nr_again <= 2
    assert statuses.count(EXACT) > len(statuses) // 4, "hardly anything was comparable"

"""Tables in, model out: what is missing stays missing, and nothing is counted that was not seen."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from kernelmodel.consistency import check
from tests.synthetic import MANIFEST, PAGE, rows, snapshot
from vmprobe.bridge.check import check_address_spaces
from vmprobe.bridge.model import frames, host_model, page_tables, unseen, zones
from vmprobe.errors import SnapshotError
from vmprobe.schema import TABLES
from vmprobe.tables import Table

VMA_NAMES = "vma mm start end perms vm_flags pgoff dev inode name"
MAPPING_NAMES = "mm vma vpn nr_pages kind pfn exclusive file soft_dirty uffd_wp unstable"


def vmas(*spans: tuple[int, int, int, str]) -> Table:
    """VMAs from (mm, first page, end page, flags)."""
    made = [
        (i, mm, start * PAGE, end * PAGE, "rw-p", flags, 0, "0:0", 0, "")
        for i, (mm, start, end, flags) in enumerate(spans)
    ]
    return rows("vmas", VMA_NAMES, *made)


def mappings(*runs: tuple[int, int | None, int, int, str, int | None]) -> Table:
    """Runs from (mm, vma, vpn, pages, kind, pfn)."""
    return rows("mappings", MAPPING_NAMES, *(run + (False,) * 5 for run in runs))


def test_page_tables_hold_present_entries_alone() -> None:
    made = page_tables(
        snapshot(
            vmas=vmas((1, 10, 20, "rd wr"), (1, 30, 40, "rd pf io"), (2, 5, 9, "rd")),
            mappings=mappings(
                (1, 0, 12, 3, "present", 100),
                (1, 0, 16, 2, "swap", None),
                (1, 1, 30, 1, "present", 7),
                (2, 2, 5, 2, "frame-entry", 50),
                (2, 2, 8, 1, "present", 100),
            ),
        )
    )
    assert made is not None
    made.validate()
    found = zip(made.vma.tolist(), made.vpn.tolist(), made.pfn.tolist(), made.nr_pages.tolist(), strict=True)
    assert list(found) == [(0, 12, 100, 3), (1, 30, 7, 1), (2, 8, 100, 1)]
    assert made.vmas.pfnmap is not None
    assert made.vmas.pfnmap.tolist() == [False, True, False]
    assert made.lookup(np.array([1, 1, 2]), np.array([14, 15, 8])).tolist() == [102, -1, 100]


def test_entries_outside_every_vma_get_a_stand_in_of_their_address_space() -> None:
    made = page_tables(
        snapshot(
            vmas=vmas((1, 10, 20, ""), (2, 10, 20, "")),
            mappings=mappings(
                (1, 0, 12, 1, "present", 1), (1, None, 90, 1, "present", 2), (2, None, 3, 1, "present", 3)
            ),
        )
    )
    assert made is not None
    made.validate()
    assert made.vmas.listed.tolist() == [True, True, False, False]
    assert made.vmas.mm[made.vma].tolist() == [1, 1, 2]
    assert made.vma.tolist() == [0, 2, 3]


def test_runs_are_put_in_order() -> None:
    made = page_tables(
        snapshot(
            vmas=vmas((1, 10, 20, ""), (2, 10, 20, "")),
            mappings=mappings((2, 1, 12, 1, "present", 1), (1, 0, 12, 1, "present", 2)),
        )
    )
    assert made is not None
    made.validate()
    assert made.pfn.tolist() == [2, 1]


def test_without_frame_numbers_or_vmas_there_are_no_page_tables() -> None:
    whole = mappings((1, 0, 12, 1, "present", 1))
    hidden = Table(
        TABLES["mappings"], {n: c for n, c in whole.columns.items() if n != "pfn"}, len(whole), whole.valid
    )
    assert page_tables(snapshot(vmas=vmas((1, 10, 20, "")), mappings=hidden)) is None
    assert page_tables(snapshot(mappings=whole)) is None, "the made-up host has no VMAs"
    assert page_tables(snapshot(vmas=vmas((1, 10, 20, "")), without=("mappings",))) is None


def frame_table(**valid: list[bool]) -> Table:
    columns = {
        "pfn": np.arange(3, dtype=np.uint64),
        "flags": np.array([7, 8, 9], np.uint64),
        "mapcount": np.array([1, 2, 3], np.uint32),
        "unstable": np.array([True, False, False]),
    }
    return Table(TABLES["frames"], columns, 3, {n: np.array(ok, np.bool_) for n, ok in valid.items()})


def test_what_could_not_be_read_of_a_frame_is_not_zero() -> None:
    whole = frames(snapshot(frames=frame_table()))
    assert (whole.words.tolist(), whole.known) == ([7, 8, 9], None)
    assert whole.unstable.tolist() == [True, False, False]
    partly = frames(snapshot(frames=frame_table(flags=[True, False, True], mapcount=[True, True, False])))
    assert partly.known is not None
    assert partly.known.tolist() == [True, False, True]
    assert partly.words.tolist() == [7, 0, 9]
    # A count that was not read contradicts nothing.
    assert partly.unstable.tolist() == [True, False, True]


def test_frames_that_are_not_there_are_an_error_of_the_snapshot() -> None:
    no_flags = Table(TABLES["frames"], {"pfn": np.arange(3, dtype=np.uint64)}, 3)
    for lacking in (snapshot(without=("frames",)), snapshot(frames=no_flags)):
        with pytest.raises(SnapshotError, match="it has no page frames"):
            frames(lacking)
    with pytest.raises(SnapshotError, match="frame_ranges cover 4 frames, table frames has 3"):
        frames(snapshot(frames=frame_table(), manifest={"frame_ranges": [[0, 4]]}))


def test_zones_have_the_kernels_counts_and_what_keeps_buddies_apart() -> None:
    by_type = rows(
        "pageblocks_by_type",
        "node zone migratetype nr_pageblocks",
        (0, "DMA", "Movable", 2),
        (0, "DMA", "HighAtomic", 1),
        (0, "DMA", "CMA", 3),
    )
    first, second = zones(snapshot(pageblocks_by_type=by_type))
    assert (first.start_pfn, first.end_pfn, first.nr_pageblocks_apart) == (0, 1024, 4)
    assert first.nr_free_before == first.nr_free_after == (3, 2, 1, 3, 2, 1, 3, 2, 1, 3, 2)
    assert second.nr_free_after is not None
    assert second.nr_free_after[:3] == (3000, 1999, 998)
    assert [z.nr_free_before for z in zones(snapshot(without=("free_areas",)))] == [None, None]


def test_without_buddyinfo_pagetypeinfo_or_zones_the_rest_is_modelled() -> None:
    whole = frame_table()
    unread = {"max_order": None, "pageblock_order": None}
    model = host_model(snapshot(frames=whole, manifest=unread, without=("free_areas",)), averaged=False)
    assert [free.nr_orders for free in model.free] == [11, 11]
    assert [zone.status for zone in check(model).zones] == [None, None]
    assert host_model(snapshot(frames=whole, without=("zones",)), averaged=False).zones == ()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # Two processes have an error, and the kernel did not say of one how large it is.
        ({}, (4, None)),
        ({"processes_appeared": 0}, (2, None)),
        ({"processes_appeared": 0, "forks": 5}, (7, None)),
    ],
)
def test_who_may_map_without_being_seen(changes: dict[str, Any], expected: tuple[int, int | None]) -> None:
    manifest = copy.deepcopy(MANIFEST)
    found = unseen(snapshot(manifest={"volatility": manifest["volatility"] | changes}))
    assert (found.nr_processes, found.resident_at_most) == expected


def test_a_bound_counts_what_stat_leaves_out() -> None:
    tasks = rows(
        "tasks",
        "pid kernel_thread rss_pages frozen error",
        (1, False, 40, False, "Permission denied"),
        (2, True, 0, False, "has no memory"),
        (3, False, 7, False, None),
    )
    still = {"volatility": {"processes_appeared": 0}}
    found = unseen(snapshot(tasks=tasks, manifest=still))
    # lib/percpu_counter.c: 32 pages on each of two CPUs, for each of three counters.
    assert (found.nr_processes, found.resident_at_most) == (1, 40 + 3 * 2 * 32)


def test_who_is_unseen_is_told_by_how_long_it_was_there() -> None:
    tasks = rows(
        "tasks",
        "pid kernel_thread rss_pages nr_threads state frozen error",
        (1, False, 40, 3, "S", False, "Permission denied"),
        (2, False, None, None, None, False, "vanished while it was read"),
        (3, False, 0, 1, "Z", False, "has ended (zombie): it has no memory"),
        (4, False, 7, 1, "S", False, None),
    )
    counters = rows("counters", "source scope name value value_after", ("loadavg", "", "nr_threads", 9, 8))
    still = {"volatility": {"processes_appeared": 0}}
    found = unseen(snapshot(tasks=tasks, counters=counters, manifest=still))
    assert (found.nr_processes, found.nr_short_lived, found.nr_ended) == (2, 1, 1)
    # The fewest of both looks, beyond three threads, one of what vanished and one each of the others.
    assert found.nr_hidden_threads == 8 - (3 + 1 + 1 + 1)
    assert found.lasting
    assert unseen(snapshot(tasks=tasks, manifest=still, without=("counters",))).nr_hidden_threads is None


def test_a_choice_of_processes_leaves_unknown_how_many_are_unseen() -> None:
    found = unseen(snapshot(manifest={"options": MANIFEST["options"] | {"pids": [70]}}))
    assert (found.nr_processes, found.resident_at_most) == (None, None)


def test_the_model_of_a_snapshot_is_checked_against_its_counts() -> None:
    made = frame_table()
    told = snapshot(
        frames=made,
        vmas=vmas((1, 10, 20, "")),
        mappings=mappings((1, 0, 12, 1, "present", 1)),
        manifest={"volatility": {"processes_appeared": 0}},
        tasks=rows("tasks", "pid mm frozen", (70, 1, False)),
    )
    found = check(host_model(told, averaged=False)).counts
    assert found is not None
    # pfn 0 is unstable, 1 has one entry and two are counted, 2 has none and three are counted.
    assert (found.nr_mapped, found.nr_match, found.nr_unstable, found.nr_unexplained) == (3, 0, 1, 2)


def test_vmas_alone_can_be_checked() -> None:
    assert check_address_spaces(snapshot(vmas=vmas((1, 10, 20, ""), (1, 20, 30, "")))) == []
    overlapping = check_address_spaces(snapshot(vmas=vmas((1, 10, 21, ""), (1, 20, 30, ""))))
    assert [violation.kind for violation in overlapping] == ["vmas-overlap"]

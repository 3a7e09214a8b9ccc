"""`vmprobe frag` as a function: figures, what is missing and why, and how it reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.bridge.test_blockers import host, pin
from tests.oracles import vmstat as oracle
from tests.synthetic import frames, rows, snapshot
from vmprobe.analyses.frag import frag
from vmprobe.analyses.frag_layout import layout
from vmprobe.analyses.parts import Facts, Grid, Note
from vmprobe.errors import SnapshotError
from vmprobe.store import load

if TYPE_CHECKING:
    from vmprobe.analyses.frag_answer import Frag
    from vmprobe.tables import Table

SNAPSHOTS = Path(__file__).parents[2] / "fixtures" / "snapshots"
FIXTURES = sorted(SNAPSHOTS.glob("*.vmsnap"))


def lists(*nr_free: int, zone: str = "DMA32", node: int = 0) -> Table:
    """The free lists of one zone."""
    values = ((node, zone, order, nr, nr) for order, nr in enumerate(nr_free))
    return rows("free_areas", "node zone order nr_free nr_free_after", *values)


def told(answer: Frag) -> str:
    """Everything that the text says, one thing a line."""
    said: list[str] = []
    for part in layout(answer).parts:
        said.append(part.title)
        if isinstance(part, Note):
            said += part.lines
        elif isinstance(part, Facts):
            said += [f"{fact.label}: {fact.value}" for fact in part.facts]
        elif isinstance(part, Grid):
            said += [" ".join(str(value) for value in row) for row in part.rows]
    return "\n".join(said)


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=pytest.mark.slow if p.stem.startswith("6.1-") else ()) for p in FIXTURES],
    ids=lambda path: path.stem,
)
def test_what_guests_were_photographed_with_adds_up(path: Path) -> None:
    made = load(path)
    answer = frag(made)
    sizes = {
        (node, zone): (start, spanned, present)
        for node, zone, start, spanned, present in made.table("zones").rows(
            "node", "zone", "start_pfn", "spanned_pages", "present_pages"
        )
        if present
    }
    assert [(zone.node, zone.zone) for zone in answer.zones] == list(sizes)
    scored: dict[int, list[tuple[int, list[int]]]] = {}
    for zone in answer.zones:
        start, spanned, present = sizes[zone.node, zone.zone]
        assert zone.free_blocks is not None
        nr_free = list(zone.free_blocks)
        scored.setdefault(zone.node, []).append((present, nr_free))
        orders = range(len(nr_free))
        assert zone.unusable_permille == tuple(oracle.unusable_free_index(nr_free, o) for o in orders)
        assert zone.fragmentation_permille == tuple(oracle.fragmentation_index(nr_free, o) for o in orders)
        assert zone.extfrag_percent == tuple(oracle.extfrag_for_order(nr_free, o) for o in orders)
        # That one was taken while a program in the guest was at work.
        agree = {"exact", "within_drift"} if path.stem.endswith("-compacting") else {"exact"}
        assert zone.frames_agree in agree
        assert zone.frames_agree != "exact" or zone.rebuilt_free_blocks == zone.free_blocks
        assert zone.pageblocks is not None
        assert sum(zone.pageblocks.values()) == ((start + spanned - 1) >> 9) - (start >> 9) + 1
    assert [node.score_percent for node in answer.nodes or ()] == [
        oracle.score_node(zones, 9) for zones in scored.values()
    ]
    assert answer.held is not None
    assert answer.blockers is not None
    assert max(row.pageblocks for row in answer.blockers) <= answer.held.held_pageblocks
    assert answer.held.held_pageblocks <= sum(row.pageblocks for row in answer.blockers)
    figures = [(row.free_pages, row.after_pages, row.at_most_pages) for row in answer.contiguity]
    for now, after, at_most in figures:
        assert now is not None
        assert after is not None
        assert at_most is not None
        assert now <= after <= at_most
    for column in zip(*figures, strict=True):
        assert list(column) == sorted(column, reverse=True)  # type: ignore[type-var]
    assert {row.part for row in answer.missing} <= {"pins"}


def test_huge_pages_are_held_by_who_maps_them_and_by_the_pool() -> None:
    answer = frag(load(SNAPSHOTS / "6.12-huge-pages.vmsnap"))
    owners = {(row.kind, row.owner): row for row in answer.owners or ()}
    mapped, pool = owners["process", "python3"], owners["kernel", "huge pages that no process maps"]
    assert mapped.pages + pool.pages == 32 * 512
    assert mapped.full_pageblocks + pool.full_pageblocks == 32


def test_contiguity_is_what_was_added_up_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """1862 pages are free; one pageblock has nothing that stays, and with a pin in another no second one."""
    pin(monkeypatch, 2100)
    answer = frag(host(free_areas=lists(1862, *[0] * 10)))
    two = answer.contiguity[0]
    assert (two.order, two.free_pages, two.permille_of_free) == (9, 0, 0)
    assert (two.after_pages, two.permille_of_total, two.at_most_pages) == (512, 125, 512)
    pin(monkeypatch)
    assert frag(host(free_areas=lists(1862, *[0] * 10))).contiguity[0].after_pages == 1024
    # No more than what is free beyond the lowest watermark, which is 8.
    assert frag(host(free_areas=lists(1031, *[0] * 10))).contiguity[0].after_pages == 512
    assert frag(host(free_areas=lists(1032, *[0] * 10))).contiguity[0].after_pages == 1024
    assert "3 pins are not located" in told(answer)


def test_runs_that_exceed_the_largest_block_are_counted_in_the_frames() -> None:
    """32 MiB are eight blocks of the largest order side by side, at a multiple of their size."""
    ram = rows("resources", "depth start last name", (0, 0, 32768 * 4096 - 1, "System RAM"))
    names = "node zone start_pfn spanned_pages present_pages managed_pages nr_free wmark_min pcp_pages"
    zones = rows("zones", names, (0, "DMA32", 0, 32768, 32768, 32768, 24576, 0, 0))

    def answer(*runs: tuple[str, int]) -> Any:
        made = frames([((flag,), nr) for flag, nr in runs])
        found = frag(
            snapshot(
                without=("free_areas",),
                frames=made,
                zones=zones,
                resources=ram,
                free_areas=lists(*[0] * 10, 24),
            )
        )
        row = found.contiguity[2]
        return row.order, row.free_pages, row.permille_of_free, row.permille_of_total

    # 24 MiB, 8 aligned MiB of slab and two aligned windows.
    assert answer(("BUDDY", 8192), ("SLAB", 8192), ("BUDDY", 16384)) == (13, 24576, 1000, 750)
    assert answer(("SLAB", 1024), ("BUDDY", 24576), ("SLAB", 7168)) == (13, 16384, 666, 500)


def test_blocks_across_two_zones_are_nobodys_and_absent_ones_are_apart() -> None:
    """Zones that meet in the middle of a pageblock, and the last two pageblocks without memory."""
    names = "node zone start_pfn spanned_pages present_pages managed_pages nr_free wmark_min pcp_pages"
    zones = rows(
        "zones",
        names,
        (0, "DMA32", 0, 1280, 1280, 1280, 1280, 0, 0),
        (0, "Normal", 1280, 2816, 1792, 1792, 1792, 0, 0),
    )
    ram = rows("resources", "depth start last name", (0, 0, 3072 * 4096 - 1, "System RAM"))
    made = frames([(("BUDDY",), 3072), ((), 1024)])
    answer = frag(snapshot(without=("free_areas",), frames=made, zones=zones, resources=ram))
    assert [
        zone.pageblocks and (zone.pageblocks["free"], zone.pageblocks["absent"]) for zone in answer.zones
    ] == [
        (3, 0),
        (4, 2),
    ]
    assert [zone.pageblocks and zone.pageblocks["unmovable"] for zone in answer.zones] == [0, 0]
    # Of six that are free in whole, five lie in one zone.
    assert answer.contiguity[0].free_pages == 5 * 512
    assert answer.held is not None
    assert (answer.held.pageblocks, answer.held.held_pageblocks) == (5, 0)


def test_free_lists_answer_without_frames() -> None:
    answer = frag(snapshot(without=("frames",)))
    assert [zone.free_pages for zone in answer.zones] == [4387, 4387000]
    assert answer.zones[0].unusable_permille is not None
    assert answer.score_percent == 17
    assert (answer.blockers, answer.owners, answer.held) == (None, None, None)
    assert {zone.pageblocks for zone in answer.zones} == {None}
    assert [row.free_pages is None for row in answer.contiguity] == [False, False, True, True]
    assert {row.after_pages for row in answer.contiguity} == {None}
    reasons = {row.part: row.reason for row in answer.missing}
    assert reasons["pageblocks, blockers, what compaction could give"].startswith("not in this snapshot")
    assert "Who holds pageblocks" not in told(answer)


def test_frames_answer_without_free_lists() -> None:
    answer = frag(host())
    (zone,) = answer.zones
    assert (zone.free_pages, zone.free_blocks, zone.unusable_permille, zone.frames_agree) == (None,) * 4
    assert zone.rebuilt_free_blocks is not None
    assert sum(nr << order for order, nr in enumerate(zone.rebuilt_free_blocks)) == 1862
    assert (answer.nodes, answer.score_percent) == (None, None)
    assert answer.contiguity[0].after_pages == 1024
    assert answer.contiguity[0].permille_of_free is None
    reasons = {row.part: row.reason for row in answer.missing}
    assert {"free lists", "score"} <= set(reasons)


def test_zones_without_sizes_have_no_score_and_say_why() -> None:
    answer = frag(snapshot(without=("zones", "frames")))
    assert answer.score_percent is None
    assert {zone.pcp_pages for zone in answer.zones} == {None}
    assert {"sizes of zones", "score"} <= {row.part for row in answer.missing}
    assert {row.permille_of_total for row in answer.contiguity} == {None}


def test_frames_that_disagree_are_told() -> None:
    answer = frag(snapshot())
    assert {zone.frames_agree for zone in answer.zones} == {"violated"}
    assert "DIFFER" in told(answer)


def test_nothing_to_go_by_is_an_error() -> None:
    with pytest.raises(SnapshotError, match="neither free lists nor frames"):
        frag(snapshot(without=("frames", "free_areas")))


def test_owners_that_are_left_out_are_counted() -> None:
    whole, first = frag(host()), frag(host(), top=2)
    assert whole.owners is not None
    assert first.owners == whole.owners[:2]
    assert (whole.owners_left_out, first.owners_left_out) == (0, len(whole.owners) - 2)
    assert f"{len(whole.owners) - 2} more owners" in told(first)


@pytest.mark.parametrize(
    ("proactiveness", "marks", "text"),
    [
        (20, (80, 90), "starts above 90, stops at 80"),
        (0, (100, 100), "compacts nothing unasked"),
        (90, (None, None), "kernels differ at a proactiveness of 90"),
    ],
)
def test_marks_of_kcompactd(proactiveness: int, marks: tuple[int | None, int | None], text: str) -> None:
    setting = ("sysctl", "vm", "compaction_proactiveness", proactiveness)
    answer = frag(snapshot(counters=rows("counters", "source scope name value", setting)))
    assert answer.kcompactd is not None
    assert (answer.kcompactd.low_percent, answer.kcompactd.high_percent) == marks
    assert text in told(answer)


def test_every_node_has_a_score_and_the_highest_is_that_of_the_host() -> None:
    names = "node zone start_pfn spanned_pages present_pages managed_pages nr_free wmark_min pcp_pages"
    zones = rows(
        "zones",
        names,
        (0, "DMA32", 0, 4096, 4096, 4000, 10, 8, 8),
        (1, "Normal", 4096, 4096, 4096, 4000, 10, 8, 8),
    )
    values = [(0, "DMA32", order, 4, 4) for order in range(11)]
    values += [(1, "Normal", order, 100 if order == 0 else 0, 0) for order in range(11)]
    free_areas = rows("free_areas", "node zone order nr_free nr_free_after", *values)
    answer = frag(snapshot(without=("frames",), zones=zones, free_areas=free_areas))
    scores = {node.node: node.score_percent for node in answer.nodes or ()}
    # 511 of 2047 pages are 24 percent, and 4096 * 24 / 4097 is 23.
    assert scores == {0: 23, 1: 99}
    assert answer.score_percent == 99

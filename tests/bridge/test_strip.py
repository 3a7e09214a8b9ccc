"""Strips against a slow obvious twin, against frag and blockers, and by hand."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelmodel.holder import NR_TAGS
from kernelmodel.pageclass import PageClass, classify
from kernelmodel.pageflags import mask
from lab.fixtures import FOLDER
from tests.bridge.test_blockers import host as blocked_host
from tests.bridge.test_blockers import pin
from tests.bridge.test_model import mappings, vmas
from tests.oracles.strip import Block, Frame, block_at, kind
from tests.synthetic import rows, snapshot
from vmprobe.bridge import strip_owners
from vmprobe.bridge.blockers import BlockerRow, blockers
from vmprobe.bridge.frag_frames import framed
from vmprobe.bridge.memmap import charged
from vmprobe.bridge.page_kinds import KIND_OF
from vmprobe.bridge.strip import (
    CONTENTS,
    PAGE_KIND_VERDICTS,
    PAGE_KINDS,
    MapOwner,
    Strips,
    ZonePages,
    page_kinds,
    strips,
)
from vmprobe.schema import TABLES
from vmprobe.store import load
from vmprobe.tables import Snapshot, Table

if TYPE_CHECKING:
    from collections import Counter

    from vmprobe.bridge.standing import Standing

QUICK = ("6.12-quiet", "6.12-two-nodes")
NAMES = sorted(path.name.removesuffix(".vmsnap") for path in FOLDER.glob("*.vmsnap"))
EACH = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NAMES]


@cache
def fixture(name: str) -> Snapshot:
    return load(FOLDER / f"{name}.vmsnap")


@cache
def made_of(name: str) -> tuple[Strips, tuple[ZonePages, ...]]:
    taken = fixture(name)
    made = strips(taken, 9)
    return made, page_kinds(taken, found=made.found)


def frames_of(found: Standing, taken: Snapshot, order: int, every: int = 1) -> dict[int, Frame]:
    """The frames of every so many-th pageblock by their numbers."""
    memmap = found.memmap
    pfns = memmap.pfns(np.arange(len(memmap)))
    asked = np.flatnonzero((pfns >> order) % every == 0)
    spaces: dict[int, set[int]] = {}
    if found.tables is not None:
        tables = found.tables
        each = (tables.vmas.mm[tables.vma], tables.pfn, tables.nr_pages)
        for mm, pfn, nr in zip(*(column.tolist() for column in each), strict=True):
            for at in range(pfn, pfn + nr):
                if not (at >> order) % every:
                    spaces.setdefault(at, set()).add(mm)
    columns = (pfns[asked], found.tags[asked], memmap.by_word(classify)[asked], charged(taken, asked))
    listed = zip(*(column.tolist() for column in columns), strict=True)
    return {pfn: Frame(tag, of, paid, frozenset(spaces.get(pfn, ()))) for pfn, tag, of, paid in listed}


def most(counted: Counter[Any]) -> set[Any]:
    """Those of whom nobody has more."""
    return {who for who, nr in counted.items() if nr == max(counted.values())}


def told(owner: MapOwner | None, taken: Snapshot) -> Any:
    """What the oracle may call an owner; names are looked at elsewhere."""
    if owner is None:
        return None
    if owner.pid is not None or owner.kind in {"process", "pinned"}:
        mm = dict(taken.table("tasks").rows("pid", "mm")).get(owner.pid, -1)
        return owner.kind, mm
    if owner.owner is not None and owner.owner.startswith("/"):
        inodes = {path: inode for inode, path in taken.table("cgroups").rows("inode", "path")}
        return owner.kind, inodes[owner.owner]
    return owner.kind, 0


HELD_AS = {"SLAB": "slab"}


def known_as(who: tuple[str, int]) -> tuple[str, int]:
    """What the oracle's owner is called in an answer."""
    name, which = who
    if who == ("pinned", 0):
        return name, -1  # used by nobody who is known
    if name.isupper():
        return HELD_AS.get(name, "kernel"), 0
    return name, which


def compare(made: Strips, pages: tuple[ZonePages, ...], taken: Snapshot, order: int, every: int = 1) -> None:
    """Every figure of every so many-th pageblock."""
    host = frames_of(made.found, taken, order, every)
    for zone, strip, kinds in zip(made.found.zones, made.zones, pages, strict=True):
        first = zone.start_pfn >> order
        assert (strip.node, strip.zone) == (zone.node, zone.zone) == (kinds.node, kinds.zone)
        assert strip.first_pfn == kinds.first_pfn == first << order
        assert len(strip) == len(kinds.kinds) >> order == -(-zone.end_pfn >> order) - first
        for at in range(-first % every, len(strip), every):
            block = block_at(host, strip.first_pfn + (at << order), order)
            assert CONTENTS[strip.content[at]] == block.content
            assert (strip.free[at], strip.stays[at], strip.unknown[at], strip.absent[at]) == (
                block.free,
                block.stays,
                block.unknown,
                block.absent,
            )
            named = [PAGE_KINDS[each] for each in kinds.kinds[at << order : at + 1 << order].tolist()]
            assert named == block.kinds
            compare_owners(made, taken, block, int(strip.owner[at]), int(strip.user[at]))


def compare_owners(made: Strips, taken: Snapshot, block: Block, owner: int, user: int) -> None:
    holds = {known_as(who) for who in most(block.holds)}
    assert (owner < 0) == (not holds)
    assert owner < 0 or told(made.owners[owner], taken) in holds
    uses = {known_as(who) for who in most(block.uses)}
    assert (user < 0) == (not uses)
    assert user < 0 or told(made.owners[user], taken) in uses


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_strips_of_a_snapshot_are_those_of_the_slow_twin(name: str) -> None:
    compare(*made_of(name), fixture(name), 9, every=5)


@pytest.mark.parametrize("name", EACH)
def test_pageblocks_are_those_that_frag_counts(name: str) -> None:
    taken = fixture(name)
    counted = framed(taken, 9).zones
    for strip in made_of(name)[0].zones:
        nr = np.bincount(strip.content, minlength=len(CONTENTS)).tolist()
        assert dict(zip(CONTENTS, nr, strict=True)) == counted[strip.node, strip.zone].contents
        assert counted[strip.node, strip.zone].unknown_pages == int(strip.unknown.sum())


@pytest.mark.parametrize("name", EACH)
def test_pages_that_stay_are_those_of_blockers(name: str) -> None:
    """Of pageblocks with memory behind every page, as blockers are told of."""
    taken = fixture(name)
    found = blockers(taken, 9)
    made, kinds = made_of(name)
    stays = unknown = held = trapped = nr = 0
    for zone, strip, pages in zip(made.found.zones, made.zones, kinds, strict=True):
        first = strip.first_pfn + 512 * np.arange(len(strip))
        whole = (pages.kinds.reshape(-1, 512) != PAGE_KINDS.index("hole")).all(axis=1)
        whole &= (first >= zone.start_pfn) & (first + 512 <= zone.end_pfn)
        holding = whole & (strip.stays + strip.unknown > 0)
        stays += int(strip.stays[whole].sum())
        unknown += int(strip.unknown[whole].sum())
        held += int(holding.sum())
        trapped += int(strip.free[holding].sum())
        nr += int(whole.sum())

    def pages_of(rows_of: tuple[BlockerRow, ...], *, not_known: bool) -> int:
        return sum(row.pages for row in rows_of if (row.kind == "unknown") == not_known)

    assert (nr, held, trapped) == (found.pageblocks, found.held_pageblocks, found.trapped_free_pages)
    assert stays == pages_of(found.kinds, not_known=False)
    assert unknown == pages_of(found.kinds, not_known=True)


WORDS = [
    ("BUDDY",), ("LRU", "UPTODATE", "MMAP", "ANON", "SWAPBACKED"), ("LRU", "UPTODATE"), ("SLAB",), (),
    ("PGTABLE",), ("HUGE", "MMAP"), ("RESERVED",), ("LRU", "SWAPBACKED", "UPTODATE", "UNEVICTABLE"),
    ("LRU", "UPTODATE", "MMAP", "ANON", "SWAPBACKED", "COMPOUND_HEAD"), ("COMPOUND_TAIL",),
    ("OFFLINE", "UPTODATE"), ("MMAP",), ("HWPOISON",), ("NOPAGE",),
]  # fmt: skip
ORDER = 3
NR_FRAMES = 96

LAYOUTS = st.fixed_dictionaries(
    {
        # Runs, so that there are pageblocks with nothing but holes, free or unknown frames.
        "runs": st.lists(
            st.tuples(st.sampled_from(WORDS), st.sampled_from((1, 2, 8, 20))), min_size=1, max_size=NR_FRAMES
        ),
        "allowed": st.sampled_from((None, 0, 1)),
        "memcg": st.lists(st.sampled_from((0, 0, 7, 9)), min_size=NR_FRAMES, max_size=NR_FRAMES),
        # Frames are missing between the ranges, and neither begins at a pageblock.
        "gap": st.integers(0, 21),
        "zones": st.sampled_from(
            ([(0, "DMA32", 0, 140)], [(0, "DMA", 1, 27), (0, "Normal", 27, 80), (1, "Normal", 60, 133)])
        ),
        "entries": st.lists(st.tuples(st.sampled_from((1, 2, 3)), st.integers(0, 130), st.integers(1, 20))),
        "pinned": st.lists(st.integers(3, 40), max_size=3, unique=True),
    }
)


def laid_out(drawn: dict[str, Any]) -> Snapshot:
    words = [mask(*names) if names else 0 for names, nr in drawn["runs"] for _ in range(nr)]
    flags = np.resize(np.array(words, np.uint64), NR_FRAMES)
    columns: dict[str, Any] = {
        "pfn": np.arange(NR_FRAMES, dtype=np.uint64),
        "flags": flags,
        "unstable": np.zeros(NR_FRAMES, np.bool_),
        "memcg": np.array(drawn["memcg"], np.uint64),
    }
    second = 45 + drawn["gap"]
    runs = [(mm, None, 100 * at, nr, "present", pfn) for at, (mm, pfn, nr) in enumerate(drawn["entries"])]
    names = "node zone start_pfn spanned_pages present_pages managed_pages"
    places = [(node, zone, start, end - start, 8, 8) for node, zone, start, end in drawn["zones"]]
    last = 140 * 4096 - 1
    return snapshot(
        manifest={"tables": {}, "frame_ranges": [[3, 45], [second, second + NR_FRAMES - 42]]},
        without=("free_areas",),
        frames=Table(TABLES["frames"], columns, NR_FRAMES),
        zones=rows("zones", names, *places),
        resources=rows("resources", "depth start last name", (0, 0, last, "System RAM")),
        cgroups=rows("cgroups", "inode path", (7, "/service"), (9, "/service/below")),
        counters=rows(
            "counters",
            "source scope name value",
            ("vmstat", "", "nr_zspages", 0),
            ("sysctl", "vm", "compact_unevictable_allowed", drawn["allowed"]),
        ),
        tasks=rows("tasks", "pid comm mm", (70, "worker", 1), (90, "other", 2), (95, "third", 3)),
        vmas=vmas((1, 0, 5000, ""), (2, 0, 5000, ""), (3, 0, 5000, "")),
        mappings=mappings(*sorted(runs)),
    )


@settings(max_examples=100, deadline=None)
@given(drawn=LAYOUTS, piece=st.sampled_from((7, 24, 1 << 24)))
def test_any_layout_is_that_of_the_slow_twin(drawn: dict[str, Any], piece: int) -> None:
    taken = laid_out(drawn)
    with pytest.MonkeyPatch.context() as patch:
        # What is done piece by piece in a large host.
        patch.setattr(strip_owners, "PIECE_ROWS", piece)
        pin(patch, *drawn["pinned"])
        made = strips(taken, ORDER, mms=(2,))
        by_cgroup = strips(taken, ORDER, inodes=(9,))
        patch.setitem(taken.manifest, "pageblock_order", ORDER)  # type: ignore[arg-type]
        compare(made, page_kinds(taken), taken, ORDER)
    host = frames_of(made.found, taken, ORDER)
    for zone, of_space, of_cgroup in zip(made.found.zones, made.zones, by_cgroup.zones, strict=True):
        places = range(of_space.first_pfn, zone.end_pfn, 1 << ORDER)
        expected = [block_at(host, pfn, ORDER) for pfn in places]
        assert of_space.of_owner is not None
        assert of_cgroup.of_owner is not None
        assert of_space.of_owner.tolist() == [each.uses["process", 2] for each in expected]
        assert of_cgroup.of_owner.tolist() == [each.charged[9] for each in expected]


def test_owners_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host of the tests of blockers, of which every pageblock is held by someone else."""
    pin(monkeypatch, 2100, 3900)
    made = strips(blocked_host(), 9)
    (strip,) = made.zones
    held = [None if who < 0 else made.owners[who] for who in strip.owner.tolist()]
    odd = "a [red]name[/]\x1b[31m"
    assert held == [
        MapOwner("slab", None, None),
        MapOwner("process", "worker", 70),  # as many pages as the other: the one listed first
        MapOwner("process", odd, 90),
        # Two words of 0 are charged to the cgroup that two of the page tables are charged to as well.
        MapOwner("cgroup", "/service", None),
        MapOwner("pinned", "worker", 70),
        MapOwner("process", "worker", 70),
        None,
        MapOwner("kernel", "reserved at boot", None),
    ]
    used = [None if who < 0 else made.owners[who] for who in strip.user.tolist()]
    assert used == [
        MapOwner("slab", None, None),
        MapOwner("process", "worker", 70),
        MapOwner("process", odd, 90),
        MapOwner("anonymous", None, None),
        MapOwner("anonymous", None, None),
        MapOwner("process", "worker", 70),
        MapOwner("anonymous", None, None),
        MapOwner("reserved", None, None),
    ]
    assert len(set(made.owners)) == len(made.owners)


def test_a_frame_that_one_process_maps_twice_counts_once() -> None:
    twice = mappings((1, 0, 0, 12, "present", 2560), (1, 0, 500, 40, "present", 2565))
    (strip,) = strips(blocked_host(mappings=twice), 9, mms=(1,)).zones
    assert strip.of_owner is not None
    # Of 45 distinct frames behind its entries 12 are in use.
    assert strip.of_owner.tolist() == [0, 0, 0, 0, 0, 12, 0, 0]


def test_every_kind_is_that_of_the_slow_twin() -> None:
    """Of each tag and class; a page that moves is anonymous, shared or of a file, or its driver moves it."""
    nr = 0
    for tag in range(NR_TAGS):
        for page_class in PageClass:
            try:
                expected = kind(tag, page_class)
            except KeyError:
                continue
            nr += 1
            assert PAGE_KINDS[KIND_OF[tag, page_class]] == expected, (tag, page_class)
    assert nr > NR_TAGS * len(PageClass) // 2


def test_kinds_stay_or_move_as_a_whole() -> None:
    assert len(PAGE_KINDS) == len(PAGE_KIND_VERDICTS) == len(set(PAGE_KINDS))
    assert set(PAGE_KIND_VERDICTS) == {"free", "moves", "stays", "unknown", "absent"}
    for name in QUICK:
        made, kinds = made_of(name)
        for strip, pages in zip(made.zones, kinds, strict=True):
            by_verdict = np.array(PAGE_KIND_VERDICTS)[pages.kinds].reshape(-1, 512)
            for verdict in ("free", "stays", "unknown", "absent"):
                column = getattr(strip, verdict)
                assert np.array_equal((by_verdict == verdict).sum(axis=1), column), verdict

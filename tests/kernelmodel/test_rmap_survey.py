"""kernelmodel.rmap.survey: three maps on small hosts, counted again by hand and by the slow twin."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelmodel.errors import InvariantError
from kernelmodel.page_tables import PageTables, VmaTable
from kernelmodel.rmap.csr import ReverseEntries, reverse_entries
from kernelmodel.rmap.inferred import Areas, Kin, components, kin, stab_counts
from kernelmodel.rmap.object_rmap import ANON_VMA_BYTES, AVC_BYTES, I_MMAP_BYTES
from kernelmodel.rmap.survey import KSM_ITEM_BYTES, FrameKind, Survey, survey
from tests.oracles.rmap_survey import Host, Vma, groups

KINDS = {
    "file": FrameKind.FILE,
    "anon": FrameKind.ANON,
    "ksm": FrameKind.KSM,
    "zero": FrameKind.UNCOUNTED,
}


def arrays(host: Host) -> tuple[ReverseEntries, Areas]:
    """Make the model's arrays of a host, one run a page."""
    columns = [np.array(column, np.int64) for column in zip(*(vma[:5] for vma in host.vmas), strict=True)]
    mm, start, end, pgoff, backing = columns
    listed = np.array([vma.listed for vma in host.vmas], np.bool_)
    private = np.array([vma.private for vma in host.vmas], np.bool_)
    vmas = VmaTable(mm, start, end, None, listed)
    pages = sorted(host.pages.items())
    rows = np.array([(row, vpn, pfn, 1) for (row, vpn), pfn in pages], np.int64).reshape(-1, 4)
    entries = reverse_entries(PageTables(rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3], vmas))
    return entries, Areas(vmas, backing, pgoff, private, np.zeros(len(mm), np.bool_))


def ask(host: Host, mm: int | None = None, hidden: tuple[int, ...] = ()) -> Survey:
    """Compare the maps on a host; frames of `hidden` are also mapped by somebody unseen."""
    entries, areas = arrays(host)
    kind = np.array([KINDS[host.kinds[pfn]] for pfn in entries.pfn.tolist()], np.uint8)
    exclusive = ~np.isin(entries.pfn, hidden)
    nr_mms = int(areas.vmas.mm.max()) + 1
    parent = np.array([host.parents.get(mm, -1) for mm in range(nr_mms)], np.int64)
    return survey(entries, kind, exclusive, areas, parent, nr_frames=100, mm=mm)


def draw_host(draw: random.Random) -> Host:
    """Draw address spaces that fork, share files, copy on write and map one file under two names."""
    host = Host([], {}, {}, {})
    pfn = 0
    spaces: list[list[Vma]] = []
    for mm in range(draw.randint(1, 5)):
        if mm and draw.random() < 0.6:
            parent = draw.randrange(mm)
            host.parents[mm] = parent
            vmas = [vma._replace(mm=mm) for vma in spaces[parent] if draw.random() < 0.9]
        else:
            vmas, at = [], draw.randint(0, 5)
            for _ in range(draw.randint(1, 4)):
                at += draw.randint(0, 3)
                nr, backing = draw.randint(1, 6), draw.choice((-1, -1, 0, 1, 2))
                pgoff = at if backing < 0 else draw.randint(0, 4)
                vmas.append(Vma(mm, at, at + nr, pgoff, backing, draw.random() < 0.7, draw.random() < 0.95))
                at += nr
        spaces.append(vmas)
    host.vmas = [vma for vmas in spaces for vma in vmas] or [Vma(0, 0, 1, 0, -1, True)]
    known: dict[tuple[object, ...], int] = {}
    for row, vma in enumerate(host.vmas):
        for page in range(vma.start, vma.end):
            linear = vma.pgoff + page - vma.start
            if draw.random() < 0.3:
                continue
            anon = vma.private and (vma.backing < 0 or draw.random() < 0.5)
            # Names 0 and 1 are one file. A page is shared with whoever has the same place, or copied.
            place = (anon, max(vma.backing, 1) if vma.backing >= 0 else -1, linear)
            if place not in known or draw.random() < 0.3:
                pfn += 1
                known[place] = pfn
                host.kinds[pfn] = draw.choice(("anon",) * 8 + ("ksm", "zero")) if anon else "file"
            host.pages[row, page] = known[place]
    return host


@given(st.integers(0, 1 << 32))
def test_the_slow_twin_counts_the_same(seed: int) -> None:
    draw = random.Random(seed)
    host = draw_host(draw)
    mm = draw.choice([None, *sorted({vma.mm for vma in host.vmas})])
    found, expected = ask(host, mm), host.answer(mm)
    found.validate()
    assert dict(zip(found.pfn.tolist(), found.nr_entries.tolist(), strict=True)) == expected.nr_entries
    assert dict(zip(found.pfn.tolist(), found.found.tolist(), strict=True)) == expected.found
    assert dict(zip(found.pfn.tolist(), found.visits.tolist(), strict=True)) == expected.visits
    assert (
        dict(zip(found.pfn.tolist(), found.visits_at_most.tolist(), strict=True)) == expected.visits_at_most
    )
    assert found.nr_families == expected.nr_families
    single, chain, objects = found.maps
    once = [pfn for pfn, nr in expected.nr_entries.items() if nr == 1]
    assert single[:3] == ("single", len(once), len(once))
    assert chain[:3] == ("chain", len(expected.nr_entries), sum(expected.nr_entries.values()))
    served = [pfn for pfn, nr in expected.nr_entries.items() if expected.found[pfn] == nr]
    visits = [expected.visits[pfn] for pfn in served]
    assert objects.nr_served == len(served)
    assert (objects.nr_visits, objects.visits_max) == (sum(visits), max(visits, default=0))
    assert objects.nr_visits_at_most == sum(expected.visits_at_most[pfn] for pfn in served)
    assert objects.nr_false_visits == sum(visits) - sum(expected.found[pfn] for pfn in served)
    nr_files = sum(vma.backing >= 0 and vma.listed and mm in {None, vma.mm} for vma in host.vmas)
    nr_ksm = sum(nr for pfn, nr in expected.nr_entries.items() if host.kinds[pfn] == "ksm")
    assert objects.nr_bytes == (
        nr_files * I_MMAP_BYTES
        + expected.nr_anon_areas * ANON_VMA_BYTES
        + expected.nr_links * AVC_BYTES
        + nr_ksm * KSM_ITEM_BYTES
    )


def test_the_drawn_hosts_have_everything_in_them() -> None:
    hosts = [draw_host(random.Random(seed)) for seed in range(60)]
    answers = [host.answer() for host in hosts]
    assert {kind for host in hosts for kind in host.kinds.values()} == set(KINDS)
    assert any(a.visits[pfn] > a.found[pfn] for a in answers for pfn in a.found)
    assert any(a.found[pfn] < nr for a in answers for pfn, nr in a.nr_entries.items())
    assert any(len(set(host.files().values())) < len(host.files()) for host in hosts)
    assert any(len(set(host.families().values())) < len(host.families()) for host in hosts)


PARENT_AND_CHILD = Host(
    vmas=[
        Vma(0, 10, 14, 10, -1, True),
        Vma(0, 20, 23, 0, 5, False),
        Vma(1, 10, 14, 10, -1, True),
        Vma(1, 40, 42, 1, 5, False),
    ],
    pages={
        (0, 10): 1, (2, 10): 1,  # shared since the fork
        (0, 11): 2, (2, 11): 3,  # copied on write
        (0, 12): 4,
        (1, 20): 7, (1, 21): 8, (3, 40): 8,
    },
    kinds={1: "anon", 2: "anon", 3: "anon", 4: "anon", 7: "file", 8: "file"},
    parents={1: 0},
)  # fmt: skip


def test_a_fork_by_hand() -> None:
    found = ask(PARENT_AND_CHILD)
    assert found.pfn.tolist() == [1, 2, 3, 4, 7, 8]
    assert found.nr_entries.tolist() == [2, 1, 1, 1, 1, 2]
    # What the parent alone maps may be in both VMAs; what the child alone maps, it may have faulted itself.
    assert found.visits.tolist() == [2, 2, 1, 2, 1, 2]
    assert found.visits_at_most.tolist() == [2, 2, 2, 2, 1, 2]
    single, chain, objects = found.maps
    assert (single.nr_served, single.nr_bytes, single.nr_visits) == (4, 1600, 4)
    assert (chain.nr_served, chain.nr_visits, chain.visits_max) == (6, 8, 2)
    assert chain.nr_bytes == 8 * 100 + 2 * 64
    assert (objects.nr_served, objects.nr_visits, objects.visits_max, objects.nr_false_visits) == (
        6,
        10,
        2,
        2,
    )
    assert objects.nr_visits_at_most == 11


def test_a_frame_that_somebody_unseen_maps_too_has_no_single_entry() -> None:
    assert ask(PARENT_AND_CHILD, hidden=(7,)).maps[0].nr_served == 3


def test_one_process_has_its_frames_and_its_vmas() -> None:
    found = ask(PARENT_AND_CHILD, mm=1)
    assert found.pfn.tolist() == [1, 3, 8]
    assert found.maps[0].nr_bytes == 3 * 16
    assert found.maps[2].nr_bytes == I_MMAP_BYTES + ANON_VMA_BYTES + 2 * AVC_BYTES  # its own, its parent's


def test_one_frame_under_two_backings_makes_no_family() -> None:
    host = Host(
        [Vma(0, 10, 12, 10, -1, True), Vma(1, 20, 22, 10, 4, True)], {(0, 10): 1, (1, 20): 1}, {1: "anon"}, {}
    )
    found = ask(host)
    assert (found.nr_families, found.found.tolist(), found.visits.tolist()) == (2, [1], [1])
    assert found.maps[2].nr_served == 0


def test_a_twin_without_anonymous_pages_makes_no_family() -> None:
    """As after exec: the same library at the same place, and heaps that only look alike."""
    text = Vma(0, 50, 60, 0, 4, True)
    heap = Vma(0, 10, 14, 10, -1, True)
    vmas = [heap, text, heap._replace(mm=1, end=13), text._replace(mm=1)]
    pages = {(0, 10): 1, (2, 10): 2, (1, 50): 3, (3, 50): 3}
    host = Host(vmas, pages, {1: "anon", 2: "anon", 3: "file"}, {1: 0})
    assert ask(host).visits.tolist() == [1, 1, 2]
    with_anon = Host(vmas, {**pages, (3, 50): 4}, {**host.kinds, 4: "anon"}, {1: 0})
    assert ask(with_anon).visits.tolist() == [2, 1, 2, 1]
    assert ask(with_anon).visits_at_most.tolist() == [2, 2, 2, 2]


def test_siblings_of_a_parent_that_ended() -> None:
    """Their common page can be looked for from the family alone; who has a page alone owns it."""
    heap = Vma(0, 10, 14, 10, -1, True)
    vmas = [heap._replace(mm=mm) for mm in range(3)]
    host = Host(vmas, {(0, 10): 1, (1, 10): 1, (2, 10): 1, (2, 11): 2}, {1: "anon", 2: "anon"}, {2: 1})
    found = ask(host)
    assert (found.visits.tolist(), found.visits_at_most.tolist()) == ([3, 1], [3, 3])
    alone = Host(vmas, {(0, 10): 1, (1, 10): 1, (1, 11): 2, (2, 10): 1}, {1: "anon", 2: "anon"}, {2: 1})
    assert ask(alone).visits.tolist() == [3, 2]


@pytest.mark.parametrize(("one", "other"), [(0, 1), (1, 0)])
def test_a_mapping_that_mremap_moved_names_no_owner(one: int, other: int) -> None:
    """One of two children moved a page: what is left to be found of it is the other's."""
    heap = Vma(2, 10, 14, 10, -1, True)
    vmas = [heap._replace(mm=one), heap._replace(mm=other), Vma(other, 30, 34, 30, -1, True), heap]
    pages = {(0, 10): 1, (2, 31): 1, (0, 11): 2, (1, 11): 2, (3, 11): 2}
    found = ask(Host(vmas, pages, {1: "anon", 2: "anon"}, {0: 2, 1: 2}))
    assert (found.found.tolist(), found.visits.tolist()) == ([1, 3], [1, 3])
    assert found.visits_at_most.tolist() == [3, 3]


def test_an_entry_that_no_listed_vma_covers_leads_nowhere() -> None:
    vmas = [Vma(0, 10, 14, 10, -1, True, listed=False), Vma(1, 10, 14, 10, -1, True)]
    found = ask(Host(vmas, {(0, 10): 1, (1, 10): 1}, {1: "anon"}, {}))
    assert (found.found.tolist(), found.visits.tolist()) == ([0], [0])


def test_nobody_descends_from_itself() -> None:
    """Processes that share an address space can have parents in a circle."""
    heap = Vma(0, 10, 14, 10, -1, True)
    vmas = [heap._replace(mm=mm) for mm in range(3)]
    host = Host(vmas, {(mm, 10): 1 for mm in range(3)}, {1: "anon"}, {0: 1, 1: 2, 2: 0})
    entries, areas = arrays(host)
    rows = entries.vma.astype(np.int64)
    found = kin(areas, rows[[0, 0]], rows[[1, 2]], np.ones(3, np.bool_), np.array([1, 2, 0]))
    assert isinstance(found, Kin)
    assert sorted(found.up[:3].tolist()) == [1, 2, 3]
    assert found.families.tolist() == [3, 3, 3]
    assert ask(host).visits.tolist() == [3]


def test_chains_are_counted_in_cache_lines_of_seven() -> None:
    vmas = [Vma(mm, 0, 1, 0, 3, False) for mm in range(8)]
    host = Host(vmas, {(mm, 0): 9 for mm in range(8)}, {9: "file"}, {})
    assert ask(host).maps[1].nr_bytes == 8 * 100 + 2 * 64


def test_nothing_mapped_is_nothing_served() -> None:
    found = ask(Host([Vma(0, 0, 1, 0, -1, True)], {}, {}, {}))
    assert [(f.nr_served, f.nr_visits, f.visits_max) for f in found.maps] == [(0, 0, 0)] * 3


@given(st.integers(0, 1 << 32))
def test_points_are_stabbed_as_by_looking_at_every_range(seed: int) -> None:
    draw = random.Random(seed)
    ranges = [(draw.randint(0, 2), a, a + draw.randint(1, 9)) for a in draw.choices(range(20), k=12)]
    points = [(draw.randint(-1, 3), draw.randint(-2, 30)) for _ in range(30)]
    group, first, end = np.array(ranges, np.int64).T
    at_group, at = np.array(points, np.int64).T
    assert stab_counts(group, first, end, at_group, at).tolist() == [
        sum(g == owner and a <= point < b for g, a, b in ranges) for owner, point in points
    ]


@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=20))
def test_components_are_what_walking_finds(edges: list[tuple[int, int]]) -> None:
    pairs = np.array(edges, np.int64).reshape(-1, 2)
    near: dict[int, set[int]] = {}
    for one, other in edges:
        near.setdefault(one, set()).add(other)
    expected = groups(set(range(12)), near)
    assert components(12, pairs[:, 0], pairs[:, 1]).tolist() == [expected[node] for node in range(12)]


@pytest.mark.parametrize(
    ("column", "value", "invariant"),
    [
        ("single", True, "single-shared"),
        ("found", 3, "found-too-many"),
        ("visits", 0, "visits-cover-found"),
        ("visits_at_most", 1, "visits-at-most"),
    ],
)
def test_a_planted_fault_is_named(column: str, value: int, invariant: str) -> None:
    found = ask(PARENT_AND_CHILD)
    damaged = getattr(found, column).copy()
    damaged[0] = value
    with pytest.raises(InvariantError, match=f"^{invariant}: pfn 1: ") as caught:
        replace(found, **{column: damaged}).validate()
    assert caught.value.invariant == invariant

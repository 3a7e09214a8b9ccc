"""kernelmodel.vma_motion: what each call does to stored entries, against address spaces changed by hand."""

from __future__ import annotations

import random
from collections import Counter
from copy import deepcopy
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelmodel.errors import InvariantError
from kernelmodel.page_tables import PageTables, VmaTable
from kernelmodel.rmap.csr import ReverseEntries, reverse_entries
from kernelmodel.rmap.inferred import Areas
from kernelmodel.vma_motion import (
    EXITED,
    UNREAD,
    Area,
    Fate,
    Followed,
    Motion,
    Stored,
    follow,
    motions,
)
from tests.oracles.vma_motion import Space, draw_space, motion_of

ORDINARY = Area(100, 110)
STACK = Area(300, 306, grows_down=True)
FILE = Area(200, 208, 195, 7)


def space(*areas: Area) -> Space:
    """Return an address space in which every page is mapped."""
    made = Space()
    for area in areas:
        made.place(area)
        made.touch(*range(area.start, area.end))
    return made


def arrays(spaces: dict[int, Space]) -> tuple[ReverseEntries, Areas]:
    """Make the model's arrays of some address spaces; frames of all must differ."""
    rows = [(mm, area) for mm, each in sorted(spaces.items()) for area in each.areas]
    mm = np.array([mm for mm, _ in rows], np.int64)
    columns = np.array([tuple(map(int, area)) for _, area in rows], np.int64).reshape(-1, 6).T
    start, end, displacement, backing, private, grows_down = columns
    vmas = VmaTable(mm, start, end, None, np.ones(len(mm), np.bool_))
    runs = []
    for number, each in spaces.items():
        for page, frame in each.frames.items():
            row = next(i for i, (m, a) in enumerate(rows) if m == number and a.start <= page < a.end)
            runs.append((row, page, frame, 1))
    table = np.array(sorted(runs), np.int64).reshape(-1, 4).T
    entries = reverse_entries(PageTables(table[0], table[1], table[2], table[3], vmas))
    areas = Areas(vmas, backing, start - displacement, private.astype(np.bool_), grows_down.astype(np.bool_))
    return entries, areas


def stored_of(spaces: dict[int, Space]) -> tuple[Stored, Areas]:
    """Return an entry for every page."""
    entries, areas = arrays(spaces)
    return Stored(
        entries.vma.astype(np.int64), entries.address_of_entry()[1], entries.frame_of_entry()
    ), areas


def fates(before: Space, after: Space) -> dict[int, str]:
    """Return what became of each page's entry."""
    stored, old = stored_of({0: before})
    entries, new = arrays({3: after})
    found = follow(stored, old, new, entries, np.array([3]))
    found.validate(stored, old, new)
    return {
        page: Fate(fate).name for page, fate in zip(stored.vpn.tolist(), found.fate.tolist(), strict=True)
    }


def changed(before: Space, after: Space) -> dict[str, list[int]]:
    """Return the pages of each fate that is not ``RIGHT``."""
    found: dict[str, list[int]] = {}
    for page, fate in fates(before, after).items():
        if fate != "RIGHT":
            found.setdefault(fate, []).append(page)
    return found


def test_a_stack_grows_and_all_of_it_is_stale() -> None:
    before = space(ORDINARY, STACK)
    after = deepcopy(before)
    after.grow(STACK, 3)
    assert changed(before, after) == {"STACK_GROWTH": list(range(300, 306))}


def test_a_stack_that_is_whole_again_has_not_grown() -> None:
    before = space(STACK)
    before.split(303)
    after = deepcopy(before)
    after.merge(303)
    assert changed(before, after) == {"MERGE": [303, 304, 305]}


def test_a_frame_in_two_places_is_looked_for_where_it_was() -> None:
    before = space(ORDINARY)
    after = deepcopy(before)
    after.place(Area(50, 52))
    after.frames[51] = before.frames[104]
    assert changed(before, after) == {}


def test_1998_by_its_own_figures() -> None:
    """The stack of the mail: stored at bffff000 as bfffe000 + 1000, and then vm_start fell to bfffd000."""
    before = space(Area(0xBFFFE, 0xC0000, grows_down=True))
    after = deepcopy(before)
    after.grow(before.areas[0], 1)
    stored, old = stored_of({0: before})
    entries, new = arrays({0: after})
    found = follow(stored, old, new, entries, np.array([0]))
    entry = stored.vpn.tolist().index(0xBFFFF)
    offset = 0xBFFFF - 0xBFFFE
    start = int(new.vmas.start_vpn[found.vma[entry]])
    assert start + offset == 0xBFFFE
    assert int(found.vpn[entry]) - start == 2
    assert found.linear.all()
    assert not found.by_rule.any()


def test_a_head_is_trimmed() -> None:
    before = space(ORDINARY, FILE)
    after = deepcopy(before)
    after.unmap(100, 103)
    assert changed(before, after) == {"UNMAPPED": [100, 101, 102], "TRIMMED_HEAD": list(range(103, 110))}


def test_a_tail_is_trimmed_and_nothing_is_stale() -> None:
    before = space(ORDINARY)
    after = deepcopy(before)
    after.unmap(108, 110)
    assert changed(before, after) == {"UNMAPPED": [108, 109]}


def test_a_middle_is_protected_and_the_head_alone_stays_right() -> None:
    before = space(ORDINARY)
    after = deepcopy(before)
    after.split(103)
    after.split(107)
    assert changed(before, after) == {"SPLIT": list(range(103, 110))}
    again = deepcopy(after)
    again.merge(103)
    again.merge(107)
    assert again.areas == before.areas
    assert changed(after, again) == {"MERGE": list(range(103, 110))}


def test_memory_mapped_below_and_merged() -> None:
    before = space(ORDINARY)
    after = deepcopy(before)
    after.areas = [Area(96, 110)]
    assert changed(before, after) == {"MERGE": list(range(100, 110))}


@pytest.mark.parametrize("area", [ORDINARY, FILE])
def test_mremap_takes_all_along(area: Area) -> None:
    before = space(area, STACK)
    after = deepcopy(before)
    after.move(area, 900)
    assert changed(before, after) == {"MREMAP": list(range(area.start, area.end))}
    stored, old = stored_of({0: before})
    entries, new = arrays({0: after})
    found = follow(stored, old, new, entries, np.array([0]))
    assert found.linear.all()
    assert int(found.by_rule.sum()) == (10 if area is ORDINARY else 0)


def test_a_page_that_mremap_took_along_and_that_was_replaced_then() -> None:
    before = space(ORDINARY)
    after = deepcopy(before)
    after.move(ORDINARY, 900)
    after.touch(904)
    assert changed(before, after)["REPLACED"] == [104]
    assert len(changed(before, after)["MREMAP"]) == 9


def test_frames_given_out_again_are_no_mremap() -> None:
    """Freed frames come back last first."""
    before = space(ORDINARY)
    after = space(Area(900, 910))
    after.frames = {900 + i: before.frames[109 - i] for i in range(10)}
    assert changed(before, after) == {"UNMAPPED": list(range(100, 110))}


def test_a_vma_with_pages_of_its_own_is_no_place_to_move_to() -> None:
    before = space(Area(100, 101), Area(500, 520))
    after = deepcopy(before)
    after.unmap(100, 101)
    after.frames[519] = before.frames[100]
    assert changed(before, after) == {"UNMAPPED": [100], "REPLACED": [519]}


def test_other_things_at_the_same_place() -> None:
    before = space(FILE, ORDINARY)
    after = deepcopy(before)
    after.areas = [ORDINARY, FILE._replace(displacement=190)]
    assert changed(before, after) == {"UNMAPPED": list(range(200, 208))}
    after.areas = [ORDINARY._replace(private=False), FILE]
    assert changed(before, after) == {"UNMAPPED": list(range(100, 110))}


def test_pages_written_anew_or_gone_are_replaced() -> None:
    before = space(ORDINARY)
    after = deepcopy(before)
    after.touch(104)
    del after.frames[105]
    assert changed(before, after) == {"REPLACED": [104, 105]}


def test_processes_that_ended_or_could_not_be_read() -> None:
    one, other, third = space(ORDINARY), space(ORDINARY), space(ORDINARY)
    other.frames = {page: frame + 50 for page, frame in other.frames.items()}
    third.frames = {page: frame + 90 for page, frame in third.frames.items()}
    stored, old = stored_of({0: one, 1: other, 2: third})
    entries, new = arrays({0: other, 4: third})
    found = follow(stored, old, new, entries, np.array([EXITED, UNREAD, 4]))
    names = Counter(Fate(fate).name for fate in found.fate.tolist())
    assert names == {"PROCESS_GONE": 10, "PROCESS_UNREAD": 10, "RIGHT": 10}


def test_a_frame_that_another_process_has_now_is_not_ours() -> None:
    before, after, other = space(ORDINARY), space(ORDINARY), space(ORDINARY)
    after.frames = {}
    stored, old = stored_of({0: before})
    entries, new = arrays({0: after, 1: other})
    assert set(follow(stored, old, new, entries, np.array([0])).fate.tolist()) == {Fate.REPLACED}


def change(draw: random.Random, after: Space) -> None:
    """Do one call at random, where it is possible."""
    area = draw.choice(after.areas)
    at = draw.randint(area.start + 1, max(area.start + 1, area.end - 1))
    ranges = {
        "trim head": (area.start, at), "trim tail": (at, area.end), "hole": (at, at + 1),
        "unmap": (area.start, area.end),
    }  # fmt: skip
    name = draw.choice(("split", "split", "merge", "merge", "grow", "touch", "drop", *ranges))
    meet = [
        above.start
        for below, above in pairwise(after.areas)
        if below.end == above.start and below[2:] == above[2:]
    ]
    room = all(other.end <= area.start - 3 for other in after.areas if other.start < area.start)
    if name == "grow" and area.grows_down and room:
        after.grow(area, draw.randint(1, 3))
    elif name == "merge" and meet:
        after.merge(draw.choice(meet))
    elif name == "touch":
        after.touch(draw.randrange(area.start, area.end))
    elif name == "drop":
        after.frames.pop(at, None)
    elif name == "split" and at < area.end:
        after.split(at)
    elif name in ranges and len(after.areas) > 1:
        after.unmap(*ranges[name])


@given(st.integers(0, 1 << 32))
def test_calls_in_any_order(seed: int) -> None:
    draw = random.Random(seed)
    before = draw_space(draw)
    for _ in range(draw.randint(0, 3)):
        change(draw, before)
    after = deepcopy(before)
    for _ in range(draw.randint(0, 6)):
        change(draw, after)
    told = motions(before.areas, after.areas)
    for area, moved in zip(before.areas, told, strict=True):
        name, holders = motion_of(area, before.areas, after.areas)
        assert (moved.motion.name, set(moved.pieces)) == (name, holders)
    found = fates(before, after)
    for page, frame in before.frames.items():
        was = before.area_at(page)
        still = [area for area in after.areas if area.start <= page < area.end]
        if not still:
            assert found[page] == "UNMAPPED"
        elif after.frames.get(page) != frame:
            assert found[page] == "REPLACED"
        elif still[0].start == was.start:
            assert found[page] == "RIGHT"
        else:
            assert found[page] == motion_of(was, before.areas, after.areas)[0]


def test_the_drawn_calls_do_everything() -> None:
    fate_names, motion_names = set(), set()
    for seed in range(100):
        draw = random.Random(seed)
        before = draw_space(draw)
        change(draw, before)
        after = deepcopy(before)
        for _ in range(4):
            change(draw, after)
        fate_names |= set(fates(before, after).values())
        motion_names |= {moved.motion.name for moved in motions(before.areas, after.areas)}
    assert motion_names == {motion.name for motion in Motion}
    assert fate_names == {fate.name for fate in Fate} - {"MREMAP", "PROCESS_GONE", "PROCESS_UNREAD"}


@pytest.mark.parametrize(
    ("column", "value", "invariant"),
    [
        ("fate", Fate.RIGHT, "right-resolves"),
        ("vpn", 0, "right-resolves"),
        ("fate", Fate.SPLIT, "stale-resolves"),
    ],
)
def test_a_planted_fault_is_named(column: str, value: int, invariant: str) -> None:
    before = space(ORDINARY, STACK)
    after = deepcopy(before)
    after.grow(STACK, 1)
    stored, old = stored_of({0: before})
    entries, new = arrays({0: after})
    found = follow(stored, old, new, entries, np.array([0]))
    columns = {name: getattr(found, name).copy() for name in Followed.__dataclass_fields__}
    row = stored.vpn.tolist().index(300 if value is Fate.RIGHT else 100)
    columns[column][row] = value
    with pytest.raises(InvariantError, match=f"^{invariant}: pfn "):
        Followed(**columns).validate(stored, old, new)


def test_each_stale_fate_bears_the_number_of_its_motion() -> None:
    for motion in (Motion.STACK_GROWTH, Motion.TRIMMED_HEAD, Motion.SPLIT, Motion.MERGE):
        assert Fate(motion).name == motion.name

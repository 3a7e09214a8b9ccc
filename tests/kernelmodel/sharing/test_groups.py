"""What groups cost, against the same figures taken entry by entry; charges add up to the frames."""

from __future__ import annotations

import random
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kernelmodel.errors import InvariantError
from kernelmodel.sharing.accounting import account
from kernelmodel.sharing.groups import GroupCosts, group_costs
from tests.kernelmodel.sharing import costs
from tests.oracles.sharing_costs import ANON, HUGE, PAGE_SIZE, RESERVED, UNIT, ZERO, Host

FIGURES = [field.name for field in fields(GroupCosts) if field.name != "page_units"]


def group(host: Host, member_of: list[int], whole: list[bool], nr_groups: int) -> GroupCosts:
    made = group_costs(
        costs.frames(host),
        costs.entries(host),
        costs.swap(host)[0],
        np.array(member_of, np.int64),
        np.array(whole, np.bool_),
        nr_groups=nr_groups,
        page_size=PAGE_SIZE,
    )
    made.validate()
    return made


def of(made: GroupCosts, number: int) -> dict[str, int]:
    return {name: int(getattr(made, name)[number]) for name in FIGURES}


@given(st.integers(0, 1 << 32))
@example(3)
def test_figures_are_those_of_each_entry(seed: int) -> None:
    host, random_ = costs.draw(seed), random.Random(seed)
    member_of = [random_.randrange(-1, 3) for _ in range(costs.NR_MMS)]
    whole = [random_.random() < 0.8 for _ in range(costs.NR_MMS)]
    made = group(host, member_of, whole, 3)
    owned = {mm for mm, is_whole in enumerate(whole) if is_whole}
    for number in range(3):
        members = {mm for mm, of_group in enumerate(member_of) if of_group == number}
        assert of(made, number) == host.group(members, owned)


@given(st.integers(0, 1 << 32))
def test_charges_are_those_of_the_members(seed: int) -> None:
    """The other way to the same sum; entries that move are no frames yet."""
    host = costs.draw(seed)
    made = group(host, [0, 0, 1, 1, 2, 2], [True] * costs.NR_MMS, 3)
    each = account(costs.frames(host), costs.entries(host), costs.swap(host)[0], costs.NR_MMS, PAGE_SIZE)
    assert made.pss_units.tolist() == each.pss_units.reshape(3, 2).sum(axis=1).tolist()


def host_of(word: int, mms: list[int], count: int) -> Host:
    """Return a host whose frame 4 these address spaces map."""
    host = Host({pfn: word for start, end in costs.RANGES for pfn in range(start, end)})
    host.entries = {(mm, 9 + i): 4 for i, mm in enumerate(mms)}
    host.counts = dict.fromkeys(host.words, 0) | {4: count}
    return host


PAIR = [0, 0, 1, -1, -1, -1]
WHOLE = [True] * costs.NR_MMS


@pytest.mark.parametrize(
    ("word", "mms", "count", "freed", "hidden"),
    [
        (ANON, [0, 1], 2, 1, 0),
        (ANON, [0, 1], 3, 0, 1),  # somebody unseen keeps it
        (ANON, [0, 2], 2, 0, 0),  # another group keeps it
        (ANON, [0, 3], 2, 0, 0),  # one of no group keeps it
        (RESERVED, [0, 1], 2, 0, 0),  # the kernel's own
    ],
)
def test_frames_that_come_back(word: int, mms: list[int], count: int, freed: int, hidden: int) -> None:
    made = group(host_of(word, mms, count), PAIR, WHOLE, 2)
    assert (made.distinct_pages[0], made.freed_pages[0], made.hidden_pages[0]) == (1, freed, hidden)
    assert made.shared_pages[0] == 1 - freed


def test_an_address_space_that_outsiders_share_keeps_its_frames() -> None:
    assert group(host_of(ANON, [0, 1], 2), PAIR, [False, *WHOLE[1:]], 2).freed_pages[0] == 0


def test_pages_of_files_come_back_only_to_the_cache() -> None:
    for word, nr in ((ANON, 0), (0, 1)):
        made = group(host_of(word, [0, 1], 2), PAIR, WHOLE, 2)
        assert (made.freed_pages[0], made.freed_file_pages[0]) == (1, nr)


def test_zero_pages_cost_nothing_and_huge_pages_stand_apart() -> None:
    zero, huge = (group(host_of(word, [0, 1], 1), PAIR, WHOLE, 2) for word in (ZERO, HUGE))
    assert not any(of(zero, 0).values())
    assert of(huge, 0) == dict.fromkeys(FIGURES, 0) | {"hugetlb_pages": 1}


def test_who_pays_for_a_frame() -> None:
    """Seven share it: two of the group, two others, three unseen; a seventh of a page leaves a rest."""
    made = group(host_of(ANON, [0, 1, 2, 3], 7), PAIR, WHOLE, 2)
    share = UNIT // 7
    assert of(made, 0) == dict.fromkeys(FIGURES, 0) | {
        "distinct_pages": 1,
        "hidden_pages": 1,
        "pss_units": 2 * share,
        "outside_units": 2 * share,
        "hidden_units": 3 * share,
        "rounding_units": UNIT - 7 * share,
    }
    assert UNIT - 7 * share > 0
    assert made.pss_units[0] + made.others_units[0] == UNIT


def test_more_entries_than_the_kernel_counts() -> None:
    made = group(host_of(ANON, [0, 1, 2], 2), PAIR, WHOLE, 2)
    assert (made.pss_units[0], made.outside_units[0], made.overcounted_units[0]) == (
        UNIT,
        UNIT // 2,
        UNIT // 2,
    )


def test_swap_slots_that_come_back() -> None:
    host = Host(slots={(0, 1): (0, 5), (1, 1): (0, 5), (1, 2): (0, 6), (2, 2): (0, 6), (1, 3): (1, 6)})
    made = group(host, PAIR, WHOLE, 2)
    assert (made.swap_slots.tolist(), made.swap_freed_slots.tolist()) == ([3, 1], [2, 0])


def test_no_group_at_all() -> None:
    assert len(group(costs.draw(5), [-1] * costs.NR_MMS, WHOLE, 0).distinct_pages) == 0


@pytest.mark.parametrize("name", [name for name in FIGURES if name.endswith("_units")])
def test_one_unit_too_many_is_noticed(name: str) -> None:
    made = group(host_of(ANON, [0, 1, 2, 3], 7), PAIR, WHOLE, 2)
    wrong = replace(made, **{name: getattr(made, name) + np.array([0, 1])})
    with pytest.raises(InvariantError, match="charges-add-up: group 1"):
        wrong.validate()


@pytest.mark.parametrize(
    ("invariant", "planted"),
    [
        ("freed-within-distinct", {"freed_pages": 2}),
        ("files-within-freed", {"freed_file_pages": 2}),
        ("hidden-not-freed", {"hidden_pages": 1}),
        ("freed-slots-within-slots", {"swap_freed_slots": 1}),
    ],
)
def test_a_planted_fault_is_named(invariant: str, planted: dict[str, int]) -> None:
    made = group(host_of(ANON, [0, 1], 2), PAIR, WHOLE, 2)
    wrong = replace(made, **{name: np.array([value, 0]) for name, value in planted.items()})
    with pytest.raises(InvariantError, match=invariant):
        wrong.validate()

"""What each address space has, against the same figures taken entry by entry."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kernelmodel.errors import InvariantError
from kernelmodel.sharing.accounting import PSS_SHIFT, Accounts, account
from tests.kernelmodel.sharing import costs
from tests.oracles.sharing_costs import ANON, HUGE, PAGE_SIZE, UNIT, ZERO, Host


def accounts(host: Host) -> Accounts:
    made = account(
        costs.frames(host),
        costs.entries(host),
        costs.swap(host)[0],
        costs.NR_MMS,
        PAGE_SIZE,
        moving=costs.moving(host),
    )
    made.validate()
    return made


def of(made: Accounts, mm: int) -> dict[str, int]:
    return {name: int(values[mm]) for name, values in asdict(made).items() if name != "page_units"}


@given(st.integers(0, 1 << 32))
@example(7)
def test_figures_are_those_of_each_entry(seed: int) -> None:
    host = costs.draw(seed)
    made = accounts(host)
    assert [of(made, mm) for mm in range(costs.NR_MMS)] == [host.account(mm) for mm in range(costs.NR_MMS)]


def host_of(word: int, nr: int, count: int | None, **more: dict) -> Host:
    """Return a host whose frame 4 the first `nr` address spaces map."""
    host = Host({pfn: word for start, end in costs.RANGES for pfn in range(start, end)}, **more)
    host.entries = {(mm, 9): 4 for mm in range(nr)}
    if count is not None:
        host.counts = dict.fromkeys(host.words, 0) | {4: count}
    return host


def test_a_share_is_rounded_down_page_by_page() -> None:
    made = accounts(host_of(ANON, 3, 3))
    assert made.pss_units[:4].tolist() == [UNIT // 3, UNIT // 3, UNIT // 3, 0]
    assert (made.uss_pages[0], made.rss_pages[0]) == (0, 1)
    assert int(made.pss_units[0]) >> PSS_SHIFT == PAGE_SIZE // 3


def test_the_kernels_count_is_taken_where_it_is_known() -> None:
    """Three hidden processes map it too."""
    told, untold = accounts(host_of(ANON, 1, 4)), accounts(host_of(ANON, 1, None))
    assert (told.pss_units[0], told.hidden_pages[0]) == (UNIT // 4, 1)
    assert (untold.pss_units[0], untold.hidden_pages[0]) == (UNIT, 0)


def test_a_page_mapped_twice_in_one_space_charges_twice_and_is_not_its_own() -> None:
    host = host_of(ANON, 1, 2)
    host.entries[0, 20] = 4
    made = accounts(host)
    assert (made.rss_pages[0], made.uss_pages[0], made.pss_units[0]) == (2, 0, UNIT)


def test_zero_pages_and_huge_pages_stand_apart() -> None:
    assert of(accounts(host_of(ZERO, 2, 0)), 1) == host_of(ZERO, 2, 0).account(1)
    made = accounts(host_of(HUGE, 2, 1))
    assert (made.hugetlb_pages[1], made.rss_pages[1], made.pss_units[1]) == (1, 0, 0)
    assert accounts(host_of(ZERO, 2, 0)).zero_pages.tolist()[:3] == [1, 1, 0]


def test_what_lies_in_pfnmap_areas_is_not_counted() -> None:
    made = accounts(host_of(ANON, 2, 1, pfnmap={(0, 9)}))
    assert made.rss_pages[:2].tolist() == [0, 1]


def test_an_entry_in_migration_is_resident_and_shared() -> None:
    made = accounts(host_of(ANON, 0, 0, moving={(0, 9): 4, (0, 30): 200}))
    assert (made.rss_pages[0], made.uss_pages[0], made.pss_units[0]) == (2, 0, 2 * UNIT)
    made = accounts(host_of(HUGE, 0, 0, moving={(0, 9): 4, (0, 30): 200}))
    assert (made.rss_pages[0], made.hugetlb_pages[0]) == (1, 1)


def test_swap_slots_are_shared_by_the_entries_that_were_found() -> None:
    host = host_of(ANON, 0, 0, slots={(0, 1): (0, 5), (0, 2): (0, 6), (1, 1): (0, 5), (1, 2): (1, 6)})
    made = accounts(host)
    assert made.swap_pages[:2].tolist() == [2, 2]
    assert made.swap_pss_units[:2].tolist() == [UNIT + UNIT // 2] * 2
    assert made.swap_uss_pages[:2].tolist() == [1, 1]


def test_a_host_without_anything() -> None:
    made = accounts(Host())
    assert sum(int(values.sum()) for name, values in asdict(made).items() if name != "page_units") == 0


@pytest.mark.parametrize(
    ("invariant", "planted"),
    [
        ("uss-within-pss", {"uss_pages": 2}),
        ("pss-within-rss", {"pss_units": UNIT + 1}),
        ("swap-uss-within-pss", {"swap_uss_pages": 1}),
        ("swap-pss-within-swap", {"swap_pss_units": 1}),
    ],
)
def test_a_planted_fault_is_named(invariant: str, planted: dict[str, int]) -> None:
    made = accounts(host_of(ANON, 1, 1))
    wrong = replace(made, **{name: np.full(costs.NR_MMS, value) for name, value in planted.items()})
    with pytest.raises(InvariantError, match=invariant):
        wrong.validate()

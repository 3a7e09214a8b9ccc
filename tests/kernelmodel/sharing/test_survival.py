"""What workers still share of their parent's image, against page by page; and how each loss is told."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kernelmodel.errors import InvariantError, ModelError
from kernelmodel.sharing.survival import Image, Survival, image, survival
from tests.kernelmodel.sharing import costs
from tests.oracles.sharing_costs import Figures, Host
from tests.oracles.sharing_costs import survival as by_page

PARENT, WORKER = 2, 4
FIGURES = ("image_pages", "old_pages", "new_pages", "lost_pages", "dropped_pages", "gained_pages")


def images(host: Host) -> tuple[Image, Image]:
    tables, swap = costs.tables(host), costs.swap(host)
    parent, worker = (image(tables, mm, swap=swap) for mm in (PARENT, WORKER))
    return parent, worker


def compare(old: Host, new: Host, vmas: list[tuple[int, int]]) -> Survival:
    start, end = costs.columns(vmas, 2)
    made = survival(images(old), images(new), start, end, seconds=30)
    made.validate()
    return made


def of(made: Survival, vma: int) -> Figures:
    return {name: int(getattr(made, name)[vma]) for name in FIGURES}


def places(host: Host) -> tuple[dict[int, object], dict[int, object]]:
    return host.places(PARENT), host.places(WORKER)


def fork(random_: random.Random) -> Host:
    """Draw a parent with pages and slots, a worker forked from it, and what both did to them since."""
    host = Host()
    for vpn in range(1, 60):
        kind = random_.random()
        if kind < 0.6:
            host.entries[PARENT, vpn] = vpn + random_.choice((100, 100, 200))
        elif kind < 0.8:
            host.slots[PARENT, vpn] = (random_.choice((0, 0, 1)), vpn)
    host.entries |= {(WORKER, vpn): pfn for (_, vpn), pfn in host.entries.items()}
    host.slots |= {(WORKER, vpn): slot for (_, vpn), slot in host.slots.items()}
    # Somebody else, whose pages are at the same addresses.
    host.entries |= {(3, vpn): 500 + vpn for vpn in range(10, 20)}
    return live(host, random_)


def live(host: Host, random_: random.Random) -> Host:
    """Return the host later: pages copied, dropped, migrated, swapped out on one side or on both."""
    later = Host(entries=dict(host.entries), slots=dict(host.slots))
    for vpn in range(1, 60):
        step = random_.random()
        pages = [(mm, vpn) for mm in (PARENT, WORKER) if step < 0.1 or random_.random() < 0.2]
        for page in pages:
            later.entries.pop(page, None)
            later.slots.pop(page, None)
            if 0.02 < step < 0.1:
                later.slots[page] = (0, 900 + vpn)
            elif step < 0.7:
                later.entries[page] = 1000 * page[0] * (step > 0.1) + vpn
    return later


@given(st.integers(0, 1 << 32))
@example(11)
def test_figures_are_those_of_each_page(seed: int) -> None:
    random_ = random.Random(seed)
    old = fork(random_)
    new = live(old, random_)
    vmas = [(1, 13), (13, 30), (33, 70)]
    made = compare(old, new, vmas)
    assert [of(made, row) for row in range(3)] == [by_page(places(old), places(new), *vma) for vma in vmas]


def host(parent: dict[int, int], worker: dict[int, int]) -> Host:
    return Host(
        entries={(PARENT, vpn): pfn for vpn, pfn in parent.items()}
        | {(WORKER, vpn): pfn for vpn, pfn in worker.items()}
    )


OLD = host({1: 10, 2: 11, 3: 12, 4: 13}, {1: 10, 2: 11, 3: 12, 4: 99})


@pytest.mark.parametrize(
    ("new", "lost", "dropped", "gained"),
    [
        (OLD, 0, 0, 0),
        (host({1: 10, 2: 11, 3: 12, 4: 13}, {1: 10, 2: 50, 3: 12, 4: 99}), 1, 0, 0),  # the worker wrote
        (host({1: 10, 2: 50, 3: 12, 4: 13}, {1: 10, 2: 11, 3: 12, 4: 99}), 1, 0, 0),  # the parent wrote
        (host({1: 10, 2: 11, 3: 12, 4: 13}, {1: 10, 3: 12, 4: 99}), 1, 1, 0),  # the worker unmapped
        (host({1: 10, 3: 12, 4: 13}, {1: 10, 2: 11, 3: 12, 4: 99}), 1, 1, 0),  # the parent unmapped
        (host({1: 70, 2: 71, 3: 72, 4: 13}, {1: 70, 2: 71, 3: 72, 4: 99}), 0, 0, 0),  # migrated
        (host({1: 10, 2: 11, 3: 12, 4: 13}, {1: 10, 2: 11, 3: 12, 4: 13}), 0, 0, 1),  # merged
        (host({1: 10, 2: 11, 3: 12, 4: 13, 9: 7}, {1: 10, 2: 11, 3: 12, 4: 99, 9: 7}), 0, 0, 0),  # not image
    ],
)
def test_what_became_of_a_page(new: Host, lost: int, dropped: int, gained: int) -> None:
    made = compare(OLD, new, [(0, 20)])
    shared = 3 - lost + gained
    assert of(made, 0) == dict(zip(FIGURES, (4, 3, shared, lost, dropped, gained), strict=True))
    assert made.survival_permille == shared * 250
    assert made.lost_per_minute == 2 * lost


def test_both_in_one_swap_slot_is_shared_and_the_same_offset_of_two_areas_is_not() -> None:
    swapped = Host(slots={(PARENT, 1): (0, 5), (WORKER, 1): (0, 5), (PARENT, 2): (0, 6), (WORKER, 2): (1, 6)})
    assert compare(swapped, swapped, [(1, 3)]).old_pages.tolist() == [1]


def test_a_slot_is_no_frame() -> None:
    mixed = Host(slots={(PARENT, 1): (0, 5)}, entries={(WORKER, 1): 5})
    assert compare(mixed, mixed, [(1, 2)]).old_pages.tolist() == [0]


def test_pages_of_files_are_left_out() -> None:
    tables = costs.tables(host({1: 10, 5: 30, 9: 40}, {5: 30}))
    file = np.array([False, True, False, True])
    assert image(tables, PARENT, chosen=~file).vpn.tolist() == [1, 9]
    assert image(tables, WORKER, chosen=~file).vpn.tolist() == []
    assert image(tables, PARENT, chosen=file).place.tolist() == [30]


def test_a_worker_that_was_not_there_yet() -> None:
    """All of what it shares is new."""
    made = compare(host({1: 10, 2: 11}, {}), host({1: 10, 2: 11}, {1: 10}), [(0, 9)])
    assert of(made, 0) == dict(zip(FIGURES, (2, 0, 1, 0, 0, 1), strict=True))


def test_a_parent_without_pages() -> None:
    made = compare(Host(), OLD, [(0, 9)])
    assert (of(made, 0), made.survival_permille) == (dict.fromkeys(FIGURES, 0), None)


def test_photographs_in_the_wrong_order() -> None:
    with pytest.raises(ModelError, match="later"):
        survival(images(OLD), images(OLD), np.array([0]), np.array([9]), seconds=0)


@pytest.mark.parametrize(
    ("invariant", "planted"),
    [
        ("shared-within-image", {"old_pages": 5}),
        ("shared-within-image", {"new_pages": 5}),
        ("lost-was-shared", {"lost_pages": 4}),
        ("dropped-within-lost", {"dropped_pages": 1}),
        ("gained-is-shared", {"new_pages": 2}),
    ],
)
def test_a_planted_fault_is_named(invariant: str, planted: dict[str, int]) -> None:
    made = compare(OLD, OLD, [(0, 20)])
    wrong = replace(made, **{name: np.array([value]) for name, value in planted.items()})
    with pytest.raises(InvariantError, match=invariant):
        wrong.validate()

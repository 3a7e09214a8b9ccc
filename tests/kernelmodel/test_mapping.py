"""Who maps which pages of a file."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernelmodel.errors import InvariantError
from kernelmodel.mapping import Mapping, pgoff_range

PAGE = 4096


@dataclass(eq=False)
class Area:
    start: int
    end: int
    pgoff: int


areas = st.builds(
    lambda start, nr_pages, pgoff: Area(start * PAGE, (start + nr_pages) * PAGE, pgoff),
    st.integers(0, 50),
    st.integers(1, 8),
    st.integers(0, 20),
)


def maps(area: Area, index: int) -> bool:
    return any(area.pgoff + nth == index for nth in range((area.end - area.start) // PAGE))


@given(st.lists(areas, max_size=12), st.data())
def test_everyone_who_maps_a_page_is_found_while_vmas_come_change_and_go(linked, data):
    mapping = Mapping("libc.so")
    for area in linked:
        mapping.insert(area)
    for area in data.draw(st.lists(st.sampled_from(linked), unique_by=id)) if linked else []:
        if data.draw(st.booleans()):
            mapping.remove(area)
            linked.remove(area)
        else:
            mapping.pre_update(area)
            area.start += PAGE * (area.end - area.start > PAGE)
            area.pgoff = data.draw(st.integers(0, 20))
            mapping.post_update(area)
    mapping.validate()
    for index in range(30):
        expected = {id(area) for area in linked if maps(area, index)}
        assert {id(area) for area in mapping.overlapping(index, index)} == expected


def test_the_range_is_closed() -> None:
    assert pgoff_range(Area(0, PAGE, 7)) == (7, 7)


def test_a_vma_that_is_not_linked_cannot_be_removed() -> None:
    with pytest.raises(KeyError):
        Mapping("a").remove(Area(0, PAGE, 0))


def broken(mapping: Mapping, rule_name: str) -> None:
    with pytest.raises(InvariantError) as caught:
        mapping.validate()
    assert caught.value.invariant == rule_name


def test_moved_bounds_without_update_are_found() -> None:
    mapping, area = Mapping("a"), Area(0, PAGE, 0)
    mapping.insert(area)
    area.end += PAGE
    broken(mapping, "mapping-range")


def test_a_vma_linked_twice_is_found() -> None:
    mapping, area = Mapping("a"), Area(0, PAGE, 0)
    mapping.insert(area)
    area.pgoff = 5
    mapping.insert(area)
    broken(mapping, "mapping-range")


def test_one_frame_at_two_offsets_is_found() -> None:
    mapping = Mapping("a")
    mapping.pages = {0: 17, 3: 17}
    broken(mapping, "page-cache")

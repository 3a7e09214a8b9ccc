"""kernelmodel.geometry: sizes that no kernel could have are refused."""

from __future__ import annotations

import pytest

from kernelmodel.errors import ModelError
from kernelmodel.geometry import Geometry


@pytest.mark.parametrize(("page_size", "shift"), [(4096, 12), (16384, 14), (65536, 16)])
def test_page_shift(page_size: int, shift: int) -> None:
    assert Geometry(page_size, None, None).page_shift == shift


@pytest.mark.parametrize(
    ("sizes", "named"),
    [((0, 9, 10), "page_size"), ((4097, 9, 10), "page_size"), ((4096, -1, 10), "pageblock_order"),
     ((4096, 9, 32), "max_order")],
)  # fmt: skip
def test_impossible_sizes_are_named(sizes: tuple[int, int, int], named: str) -> None:
    with pytest.raises(ModelError, match=named):
        Geometry(*sizes)

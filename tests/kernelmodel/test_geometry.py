"""A geometry is a value with bounds."""

from __future__ import annotations

import pytest

from kernelmodel.errors import ModelError
from kernelmodel.geometry import Geometry


@pytest.mark.parametrize(
    ("geometry", "expected"),
    [
        (Geometry(), (12, 512, 10)),
        (Geometry(16384, 11, 12), (14, 2048, 11)),
        (Geometry(65536, 13, 14), (16, 8192, 13)),
    ],
)
def test_derived_sizes(geometry: Geometry, expected: tuple[int, int, int]) -> None:
    assert (geometry.page_shift, geometry.pageblock_pages, geometry.max_order) == expected


@pytest.mark.parametrize(
    ("page_size", "pageblock_order", "nr_orders"),
    [(0, 9, 11), (4095, 9, 11), (512, 9, 11), (4096, 11, 11), (4096, 0, 11)],
)
def test_sizes_that_no_kernel_has_are_refused(page_size: int, pageblock_order: int, nr_orders: int) -> None:
    with pytest.raises(ModelError):
        Geometry(page_size, pageblock_order, nr_orders)

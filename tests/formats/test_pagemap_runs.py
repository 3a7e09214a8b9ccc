"""The index beside a recorded pagemap: ascending, disjoint, within any address space there can be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmprobe.errors import FormatError
from vmprobe.formats import pagemap_runs

steps = st.lists(st.tuples(st.integers(0, 1 << 40), st.integers(1, 1 << 40)), max_size=20)


@given(steps)
def test_what_is_written_is_read_again(pairs: list[tuple[int, int]]) -> None:
    runs, at = [], 0
    for gap, nr in pairs:
        runs.append([at + gap, nr])
        at += gap + nr
    data = b"".join(b"%x %d\n" % (first, nr) for first, nr in runs)
    assert pagemap_runs.parse(data).tolist() == runs
    assert all(len(line) < pagemap_runs.LINE_BYTES for line in data.splitlines())


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (b"400 1\n400\n", 2, "expected `first_vpn nr_pages`"),
        (b"400 1\n\n", 2, "expected `first_vpn nr_pages`"),
        (b"0x400 1\n", 1, "expected a page number"),
        (b"-1 1\n", 1, "expected a page number"),
        (b"400 -1\n", 1, "expected a number of pages"),
        (b"400 1 \n", 1, "expected a number of pages"),
        (b"400 1f\n", 1, "expected a number of pages"),
        (b"400 0\n", 1, "expected at least one page"),
        (b"400 2\n401 1\n", 2, "begins behind"),
        (b"400 1\n300 1\n", 2, "begins behind"),
        (b"fffffffffffff 2\n", 1, "expected page numbers below"),
        (b"0 18446744073709551615\n", 1, "expected page numbers below"),
        (b"400 1\n500 1", 2, "cut off"),
    ],
)
def test_each_line_that_is_no_run_is_named(text: bytes, line: int, reason: str) -> None:
    with pytest.raises(FormatError) as caught:
        pagemap_runs.parse(text, file="7/pagemap.runs")
    assert (caught.value.file, caught.value.line) == ("7/pagemap.runs", line)
    assert reason in caught.value.reason


def test_the_last_page_there_can_be() -> None:
    assert pagemap_runs.parse(b"fffffffffffff 1\n").tolist() == [[(1 << 52) - 1, 1]]
    assert pagemap_runs.parse(b"").shape == (0, 2)

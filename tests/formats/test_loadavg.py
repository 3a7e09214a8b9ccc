from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmprobe.errors import FormatError
from vmprobe.formats.loadavg import parse


@given(st.integers(0, 2**31 - 1), st.integers(0, 2**22), st.integers(0, 99))
def test_what_the_kernel_prints_comes_back(nr_threads, nr_running, hundredths):
    # fs/proc/loadavg.c: loadavg_proc_show
    text = f"0.00 12.34 1.{hundredths:02d} {nr_running}/{nr_threads} 4711\n"
    assert parse(text.encode()) == nr_threads


@pytest.mark.parametrize(
    "text",
    [b"", b"0.00 0.00 0.00 1/2", b"0.00 0.00 0.00 1/2 3\n\n", b"0.0 0.00 0.00 1/2 3\n",
     b"0.00 0.00 0.00 1/-2 3\n", b"0.00 0.00 0.00 1/9999999999 3\n"],
    ids=["empty", "cut", "two lines", "one digit", "negative", "more than fits"],
)  # fmt: skip
def test_anything_else_is_refused(text):
    with pytest.raises(FormatError, match=r"loadavg, line [12]: expected"):
        parse(text)

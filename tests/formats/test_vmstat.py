from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmprobe.errors import FormatError
from vmprobe.formats.vmstat import parse

NAME = "vmstat"


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_]{0,30}", fullmatch=True), st.integers(-(2**63), 2**63 - 1), min_size=1
    )
)
def test_what_the_kernel_prints_comes_back(counters):
    """mm/vmstat.c: vmstat_show: the name, a blank, an unsigned long."""
    text = "".join(f"{name} {value % 2**64}\n" for name, value in counters.items())
    assert list(parse(text.encode()).items()) == list(counters.items())


def test_golden_counters_are_the_lines(golden):
    assert parse(golden.read_bytes()) == {
        name: int(value) for name, value in re.findall(r"^(\w+) (\d+)$", golden.read_text(), re.MULTILINE)
    }
    assert len(parse(golden.read_bytes())) == golden.read_text().count("\n")


def test_golden_names(proc):
    old, new = (parse((proc / shape / "vmstat").read_bytes()) for shape in ("6.1-1node", "6.12-1node"))
    assert old["nr_unstable"] == new["nr_unstable"] == 0  # kept by the kernel for old readers
    assert "nr_memmap_pages" in new
    assert "nr_memmap_pages" not in old


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"nr_free_pages 1", "expected each counter once: 'nr_free_pages 1'"),
        (b"nr_dirty", "expected `name number`: 'nr_dirty'"),
        (b" 5", "expected `name number`: ' 5'"),
        (b"", "expected `name number`: ''"),
        (b"nr_dirty ", "expected a counter, found '': 'nr_dirty '"),
        (b"nr_dirty  5", "expected a counter, found ' 5': 'nr_dirty  5'"),
        (b"nr_dirty -5", "expected a counter, found '-5': 'nr_dirty -5'"),
        (b"nr_dirty 5 kB", "expected a counter, found '5 kB': 'nr_dirty 5 kB'"),
        (
            b"nr_dirty 18446744073709551616",
            "expected a counter, found '18446744073709551616': 'nr_dirty 18446744073709551616'",
        ),
        (b"nr_dirty \xff", "expected a counter, found '\\\\xff': 'nr_dirty \\\\xff'"),
    ],
)
def test_a_bad_line_is_named(bad, message):
    with pytest.raises(FormatError) as caught:
        parse(b"nr_free_pages 926810\n" + bad + b"\n")
    assert str(caught.value) == f"vmstat, line 2: {message}"


def test_empty_is_an_error():
    with pytest.raises(FormatError, match="the file is empty"):
        parse(b"")

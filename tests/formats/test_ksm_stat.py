from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmprobe.errors import FormatError
from vmprobe.formats.ksm_stat import KsmStat, parse


@given(st.integers(0, 2**64 - 1), st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1))
def test_what_the_kernel_prints_comes_back(merging, zero, profit):
    # fs/proc/base.c: proc_pid_ksm_stat of 6.18
    text = (
        f"ksm_rmap_items 3\nksm_zero_pages {zero}\nksm_merging_pages {merging}\nksm_process_profit {profit}\n"
        "ksm_merge_any: no\nksm_mergeable: yes\n"
    )
    assert parse(text.encode()) == KsmStat(merging, max(0, zero))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", KsmStat(None, None)),
        (b"ksm_rmap_items 3\n", KsmStat(None, None)),
        (b"ksm_rmap_items 3\nksm_merging_pages 2\nksm_process_profit -64\n", KsmStat(2, None)),
    ],
    ids=["no memory", "6.1", "6.4"],
)
def test_what_a_kernel_does_not_say_is_none(text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"ksm_zero_pages\n", "line 1: expected `name value`"),
        (b"ksm_zero_pages \n", "line 1: expected `name value`"),
        (b"ksm_zero_pages 1\nksm_zero_pages 1\n", "line 2: expected each count once"),
        (b"ksm_zero_pages x\n", "line 1: expected a number of pages, found 'x'"),
        (b"ksm_zero_pages --1\n", "line 1: expected a number of pages"),
        (b"ksm_zero_pages 1", "line 1: expected a newline"),
    ],
    ids=["no value", "empty value", "twice", "text", "minus minus", "cut"],
)
def test_a_bad_line_is_named(text, message):
    with pytest.raises(FormatError, match=f"ksm_stat, {message}"):
        parse(text)

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmprobe.errors import FormatError
from vmprobe.formats import maps
from vmprobe.formats.smaps_rollup import SmapsRollup, parse

NAME = "smaps_rollup"

HEAD = b"00400000-7ffd3eb4a000 ---p 00000000 00:00 0                              [rollup]\n"


@given(
    st.integers(0, 2**47),
    st.integers(0, 2**47),
    st.dictionaries(
        st.sampled_from(["Rss", "Pss", "Pss_Anon", "New_Field"]), st.integers(0, 2**64 - 1), min_size=1
    ),
)
def test_what_the_kernel_prints_comes_back(start, length, fields):
    """fs/proc/task_mmu.c: show_smaps_rollup, __show_smap; both bounds are 0 without a VMA."""
    text = f"{start:08x}-{start + length:08x} ---p 00000000 00:00 0 ".ljust(72) + " [rollup]\n"
    text += "".join(f"{name + ':':16}{value:8} kB\n" for name, value in fields.items())
    assert parse(text.encode()) == SmapsRollup(start, start + length, fields)


def test_golden_fields_are_the_numbers_of_the_lines(golden):
    whole = parse(golden.read_bytes())
    assert whole.fields == {
        k: int(v) for k, v in re.findall(r"^(\w+): +(\d+) kB$", golden.read_text(), re.MULTILINE)
    }
    vmas = maps.parse((golden.parent / "maps").read_bytes())
    assert whole.start == vmas[0].start
    assert whole.end in {vma.end for vma in vmas}
    parts = sum(whole.fields[f"Pss_{part}"] for part in ("Anon", "File", "Shmem"))
    assert abs(parts - whole.fields["Pss"]) <= 3  # each is rounded down to a kB


def test_golden_values_of_the_6_12_workload(proc):
    whole = parse((proc / "6.12-1node" / "task" / "smaps_rollup").read_bytes())
    assert whole.start == 0x400000
    assert whole.fields["AnonHugePages"] == 2048


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "line 1: expected at least one line, the file is empty: ''"),
        (HEAD, None),
        (HEAD.replace(b"[rollup]", b"[heap]") + b"Rss: 4 kB\n", None),
        (b"00500000-00400000 ---p 00000000 00:00 0 [rollup]\nRss: 4 kB\n", None),
        (HEAD + b"Rss: 4 kB\nRss: 4 kB\n", "line 3: expected each field once: 'Rss: 4 kB'"),
        (HEAD + b"Rss: -4 kB\n", "line 2: expected `Name: number [kB]`: 'Rss: -4 kB'"),
        (
            HEAD + b"Rss: 18446744073709551616 kB\n",
            "line 2: expected a number of kB, found '18446744073709551616': 'Rss: 18446744073709551616 kB'",
        ),
        (HEAD + b"Rss: 4 kB", "line 2: expected a newline at the end, the file is cut off: 'Rss: 4 kB'"),
        (HEAD * 2, None),
    ],
)
def test_a_bad_file_is_an_error(text, message):
    with pytest.raises(FormatError) as caught:
        parse(text)
    if message is not None:
        assert str(caught.value) == f"smaps_rollup, {message}"

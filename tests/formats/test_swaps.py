from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmprobe.errors import FormatError
from vmprobe.formats.swaps import SwapRow, parse

NAME = "swaps"

HEAD = b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"


def printed(row):
    """mm/swapfile.c: swap_show, seq_file_path(" \\t\\n\\\\") and "%*s%s\\t%lu\\t%s%lu\\t%s%d\\n"."""
    path = "".join(f"\\{ord(c):03o}" if c in " \t\n\\" else c for c in row.path).encode()
    pad = " " * (40 - len(path)) if len(path) < 40 else " "
    kind = "partition" if row.kind == "partition" else f"{row.kind}\t"
    size = f"{row.size_kib}\t" + ("\t" if row.size_kib < 10_000_000 else "")
    used = f"{row.used_kib}\t" + ("\t" if row.used_kib < 10_000_000 else "")
    return path + f"{pad}{kind}\t{size}{used}{row.priority}\n".encode()


@given(
    st.lists(
        st.builds(
            SwapRow,
            st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"])).map(
                lambda s: "/" + s
            ),
            st.sampled_from(["partition", "file"]),
            st.integers(0, 2**64 - 1),
            st.integers(0, 2**64 - 1),
            st.integers(-(2**15), 2**15 - 1),
        )
    )
)
def test_what_the_kernel_prints_comes_back(rows):
    assert parse(HEAD + b"".join(map(printed, rows))) == rows


def test_golden_rows_are_the_lines(golden):
    rows = parse(golden.read_bytes())
    lines = golden.read_text().splitlines()[1:]
    assert len(rows) == len(lines)
    for row, line in zip(rows, lines, strict=True):
        assert [row.path, row.kind, str(row.size_kib), str(row.used_kib), str(row.priority)] == line.split()


def test_golden_area_of_the_guest_with_swap(proc):
    assert parse((proc / "6.12-1node" / "swaps").read_bytes()) == []
    (row,) = parse((proc / "6.1-swap-hugetlb" / "swaps").read_bytes())
    assert (row.path, row.kind, row.size_kib, row.priority) == ("/dev/zram0", "partition", 65532, 5)
    assert 0 < row.used_kib < row.size_kib


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (rb"/a\040b", "/a b"),
        (rb"/a\134040b", r"/a\040b"),
        (rb"/a\011\012", "/a\t\n"),
        (rb"/x\040(deleted)", "/x (deleted)"),
        (b"/caf\xe9", "/caf\\xe9"),
        (rb"/caf\134xe9", r"/caf\xe9"),
        (b"/a\rb\x0cc", "/a\rb\x0cc"),
    ],
)
def test_a_path_is_unescaped_before_it_is_decoded(path, expected):
    assert parse(HEAD + path + b" file\t\t4\t\t0\t\t-2\n")[0].path == expected


SHAPE = "expected `path kind size used priority`"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"/s file\t\t-4\t\t0\t\t-2", f"{SHAPE}: '/s file\\t\\t-4\\t\\t0\\t\\t-2'"),
        (b"/s file\t\t4\t\t0", f"{SHAPE}: '/s file\\t\\t4\\t\\t0'"),
        (b"", f"{SHAPE}: ''"),
        (
            b"/s file\t18446744073709551616\t0\t-2",
            "expected a size in KiB, found '18446744073709551616': '/s file\\t18446744073709551616\\t0\\t-2'",
        ),
        (
            b"/s file\t4\t0\t2147483648",
            "expected a priority, found '2147483648': '/s file\\t4\\t0\\t2147483648'",
        ),
    ],
)
def test_a_bad_line_is_named(bad, message):
    with pytest.raises(FormatError) as caught:
        parse(HEAD + bad + b"\n")
    assert str(caught.value) == f"swaps, line 2: {message}"


@pytest.mark.parametrize("text", [b"", b"/dev/vda2 partition\t4\t0\t-2\n"], ids=["empty", "no header"])
def test_the_header_is_always_there(text):
    with pytest.raises(FormatError, match="swaps, line 1: expected"):
        parse(text)

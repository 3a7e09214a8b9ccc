from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmprobe.errors import FormatError
from vmprobe.formats.mountinfo import Mount, parse

PATHS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


def mangled(text):
    """fs/seq_file.c: mangle_path with " \\t\\n\\\\", and "#" for sources."""
    return "".join(f"\\{ord(c):03o}" if c in " \t\n\\#" else c for c in text)


@given(
    st.dictionaries(
        st.integers(0, 2**31 - 1),
        st.tuples(
            st.integers(0, 4095),
            st.integers(0, 2**20 - 1),
            PATHS,
            st.lists(
                st.sampled_from(["shared:7", "master:3", "propagate_from:2", "unbindable"]), unique=True
            ),
            st.sampled_from(["ext4", "tmpfs", "fuse.sshfs", "hugetlbfs", "overlay"]),
            PATHS,
        ),
    )
)
def test_what_the_kernel_prints_comes_back(mounts):
    # fs/proc_namespace.c: show_mountinfo
    text = "".join(
        f"{number} 1 {major}:{minor} / {mangled(place)} rw,relatime"
        + "".join(f" {option}" for option in options)
        + f" - {kind} {mangled(source)} rw,lowerdir=/a - b\n"
        for number, (major, minor, place, options, kind, source) in mounts.items()
    )
    expected = {n: Mount(f"{m[0]:02x}:{m[1]:02x}", m[4]) for n, m in mounts.items()}
    assert parse(text.encode()) == expected


def test_a_dash_may_be_a_root_or_a_place():
    assert parse(b"22 27 0:21 - - rw - proc proc rw\n") == {22: Mount("00:15", "proc")}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"22 27 0:21 / /proc rw,relatime proc proc rw", "expected `id parent"),
        (b"22 27 0:21 / /proc - proc proc rw", "expected `id parent"),
        (b"22 27 0:21 / /proc rw - ", "expected `id parent"),
        (b"22 27 21 / /proc rw - proc proc rw", "expected a device `major:minor`"),
        (b"22 27 0:x / /proc rw - proc proc rw", "expected a device number, found 'x'"),
        (b"x 27 0:1 / /proc rw - proc proc rw", "expected a mount, found 'x'"),
        (b"", "expected `id parent"),
    ],
)
def test_a_bad_line_is_named(bad, message):
    with pytest.raises(FormatError, match=f"mountinfo, line 2: {message}"):
        parse(b"24 27 0:6 / /dev rw shared:2 - devtmpfs devtmpfs rw\n" + bad + b"\n")

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmprobe.errors import FormatError
from vmprobe.formats.sysvipc_shm import Segment, parse

HEAD = (
    b"       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime"
    b"      dtime      ctime                   rss                  swap\n"
)


def printed(row, perms):
    """ipc/shm.c: sysvipc_shm_proc_show of a 64-bit kernel."""
    return (
        f"{row.key:10d} {row.shmid:10d}  {perms:4o} {row.size_bytes:21d} {row.creator_pid:5d} "
        f"{row.last_pid:5d}  {row.nr_attached:5d} {row.uid:5d} {0:5d} {0:5d} {0:5d} "
        f"{1:10d} {2**64 - 1:10d} {3:10d} {row.rss_bytes:21d} {row.swap_bytes:21d}\n"
    ).encode()


U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)


@given(
    st.lists(
        st.builds(
            Segment,
            st.integers(-(2**31), 2**31 - 1),
            st.integers(0, 2**31 - 1),
            U64,
            U32,
            U32,
            U64,
            U32,
            U64,
            U64,
        )
    ),
    st.integers(0, 0o3777),
)
def test_what_the_kernel_prints_comes_back(rows, perms):
    assert parse(HEAD + b"".join(printed(row, perms) for row in rows)) == rows


def test_a_kernel_that_does_not_say_what_is_in_memory():
    head = HEAD[: HEAD.index(b"rss")].rstrip() + b"\n"
    (row,) = parse(head + b"0 3 600 4096 1 2 1 0 0 0 0 1 2 3\n")
    assert (row.shmid, row.rss_bytes, row.swap_bytes) == (3, None, None)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "line 1: expected at least one line"),
        (b"key shmid perms\n", "line 1: expected a header with the columns"),
        (HEAD.replace(b"gid", b"uid"), "line 1: expected a header"),
        (HEAD + b"0 3 600\n", "line 2: expected 16 columns"),
        (
            HEAD + printed(Segment(0, 1, 2, 3, 4, 5, 6, 7, 8), 0).replace(b" 8\n", b" -8\n"),
            "line 2: expected bytes in swap",
        ),
        (HEAD + printed(Segment(2**31, 1, 2, 3, 4, 5, 6, 7, 8), 0), "line 2: expected a key"),
    ],
    ids=["empty", "columns", "a column twice", "short", "swap", "key"],
)
def test_a_bad_line_is_named(data, message):
    with pytest.raises(FormatError, match=f"sysvipc/shm, {message}"):
        parse(data)

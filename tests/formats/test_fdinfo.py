from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmprobe.errors import FormatError
from vmprobe.formats.fdinfo import FdInfo, parse

# io_uring/fdinfo.c of 6.18, a ring with two registered buffers and a place without one.
RING = b"""\
pos:\t0
flags:\t02000002
mnt_id:\t16
ino:\t1057
SqMask:\t0x7
SqHead:\t0
SqTail:\t0
CachedSqHead:\t0
CqMask:\t0xf
CqHead:\t0
CqTail:\t0
CachedCqTail:\t0
SQEs:\t0
CQEs:\t0
SqThread:\t-1
SqThreadCpu:\t-1
SqTotalTime:\t0
SqWorkTime:\t0
UserFiles:\t2
    0: /srv/data
    1: /srv/0x10/20
UserBufs:\t3
    0: 0x7f4c1a000000/65536
    1: <none>
    2: 0x7f4c1b000000/4096
PollList:
CqOverflowList:
NAPI:\tdisabled
"""
MAP = b"""\
pos:\t0
flags:\t02000002
mnt_id:\t16
ino:\t1057
map_type:\t27
key_size:\t0
value_size:\t0
max_entries:\t4096
map_flags:\t0x0
map_extra:\t0x0
memlock:\t16808
map_id:\t31
frozen:\t0
"""
BUFFER = b"pos:\t0\nflags:\t02\nmnt_id:\t9\nino:\t5\nsize:\t4096\ncount:\t3\nexp_name:\tsystem\nname:\tmine\n"
DRM = (
    b"pos:\t0\nflags:\t02\nmnt_id:\t9\nino:\t5\ndrm-driver:\ti915\ndrm-client-id:\t7\ndrm-pdev:\t0000:00:02.0\n"
    b"drm-client-name:\tmine\ndrm-total-system0:\t12 KiB\ndrm-engine-render:\t99 ns\n"
)
HANDLER = b"pos:\t0\nflags:\t02\nmnt_id:\t16\nino:\t5\npending:\t1\ntotal:\t2\nAPI:\taa:0:7f\n"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (RING, "UserBufs: 3\n0: 0x7f4c1a000000/65536\n1: <none>\n2: 0x7f4c1b000000/4096"),
        (MAP, "map_type: 27\nkey_size: 0\nvalue_size: 0\nmax_entries: 4096\nmemlock: 16808\nmap_id: 31"),
        (BUFFER, "size: 4096\ncount: 3\nexp_name: system"),
        (DRM, "drm-driver: i915\ndrm-client-id: 7\ndrm-pdev: 0000:00:02.0\ndrm-total-system0: 12 KiB"),
        (HANDLER, "pending: 1\ntotal: 2"),
    ],
    ids=["io_uring", "bpf", "dma-buf", "drm", "userfaultfd"],
)
def test_lines_that_tell_of_memory_are_kept(data, expected):
    assert parse(data).info == expected


def test_a_ring_that_is_locked_prints_no_buffers():
    """The kernel only tries its lock; 6.18 prints nothing of the ring then, 6.1 and 6.12 the number alone."""
    assert parse(RING[: RING.index(b"SqMask")]).info == ""
    cut = RING[: RING.index(b"    0: 0x")] + b"PollList:\n"
    assert parse(cut).info == "UserBufs: 3"


@given(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 2**31),
    st.integers(0, 2**31 - 1),
    st.one_of(st.none(), st.integers(0, 2**64 - 1)),
    st.lists(
        st.sampled_from([b"lock:\t1: POSIX  ADVISORY  WRITE 7 00:1a:3 0 EOF", b"inotify wd:1", b"", b"x"])
    ),
)
def test_what_the_kernel_prints_comes_back(pos, flags, mnt_id, inode, more):
    # fs/proc/fd.c: seq_show; without ino before 5.14
    rows = [b"pos:\t%d" % pos, b"flags:\t0%o" % flags, b"mnt_id:\t%d" % mnt_id]
    rows += [] if inode is None else [b"ino:\t%d" % inode]
    assert parse(b"".join(row + b"\n" for row in rows + more)) == FdInfo(mnt_id, inode, "")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "line 1: expected at least one line"),
        (b"pos:\t0\n", "line 1: expected a line `mnt_id:` before the end"),
        (b"flags:\t0\npos:\t0\nmnt_id:\t1\n", "line 1: expected `pos:`"),
        (b"pos:\t0\nflags:\t0\nmnt_id:\t-1\n", "line 3: expected a mount, found '-1'"),
        (b"pos:\t0\nflags:\t0\nmnt_id:\t1\nino:\tx\n", "line 4: expected an inode, found 'x'"),
        (b"pos:\t0\nflags:\t0\nmnt_id:\t1", "line 3: expected a newline"),
    ],
    ids=["empty", "short", "order", "mount", "inode", "cut"],
)
def test_a_bad_line_is_named(data, message):
    with pytest.raises(FormatError, match=message.replace("(", "\\(")):
        parse(data)

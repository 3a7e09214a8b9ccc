from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmprobe.errors import FormatError
from vmprobe.formats.cgroup import CgroupRow, memory_path, parse

NAME = "cgroup"

PATHS = st.text(st.characters(blacklist_characters="\0\n", blacklist_categories=["Cs"])).map(
    lambda s: "/" + s
)
CONTROLLERS = st.lists(st.sampled_from(["memory", "cpu", "cpuacct", "name=systemd"]), unique=True).map(tuple)


@given(
    st.lists(
        st.builds(CgroupRow, st.integers(0, 2**31 - 1), CONTROLLERS, PATHS),
        unique_by=lambda row: row.hierarchy,
    )
)
def test_what_the_kernel_prints_comes_back(rows):
    """kernel/cgroup/cgroup.c: proc_cgroup_show: "%d:", controllers by commas, ":", path."""
    text = "".join(f"{row.hierarchy}:{','.join(row.controllers)}:{row.path}\n" for row in rows)
    assert parse(text.encode()) == rows


def test_golden_guests_have_the_one_v2_hierarchy(golden):
    assert parse(golden.read_bytes()) == [CgroupRow(0, (), golden.read_text()[3:-1])]
    assert golden.read_text().startswith("0::/")


@pytest.mark.parametrize("shape", ["6.1-1node", "6.12-1node"])
def test_golden_memory_path(proc, shape):
    assert memory_path(parse((proc / shape / "task" / "cgroup").read_bytes())) == "/lab/task"


V1 = b"9:name=systemd:/a\n4:memory,hugetlb:/b:c\n1:cpu:/\n0::/d\n"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (V1, "/b:c"),
        (V1.replace(b"4:memory,hugetlb:/b:c\n", b""), "/d"),
        (b"1:cpu:/\n", None),
        (b"3:memorylike:/x\n", None),
        (b"0::/x (deleted)\n", "/x (deleted)"),
        (b"", None),
    ],
)
def test_memory_path_prefers_the_hierarchy_that_carries_the_controller(text, path):
    assert memory_path(parse(text)) == path


SHAPE = "expected `number:controllers:/path`"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"9:cpu:/", "expected each hierarchy once: '9:cpu:/'"),
        (b"-1:cpu:/", f"{SHAPE}: '-1:cpu:/'"),
        (b"4:cpu:", f"{SHAPE}: '4:cpu:'"),
        (b"4:cpu", f"{SHAPE}: '4:cpu'"),
        (b"", f"{SHAPE}: ''"),
        (b"4294967296:cpu:/", "expected a hierarchy number, found '4294967296': '4294967296:cpu:/'"),
    ],
)
def test_a_bad_line_is_named(bad, message):
    with pytest.raises(FormatError) as caught:
        parse(b"9:name=systemd:/\n" + bad + b"\n", file="/proc/7/cgroup")
    assert str(caught.value) == f"/proc/7/cgroup, line 2: {message}"

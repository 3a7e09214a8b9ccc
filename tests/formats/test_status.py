from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmprobe.errors import FormatError
from vmprobe.formats.status import parse

NAME = "status"

GOOD = (
    b"Name:\tcat\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t7\nPid:\t8\nPPid:\t1\n"
    b"Uid:\t1000\t0\t0\t0\nThreads:\t3\n"
)
U32 = st.integers(0, 2**32 - 1)


@given(
    name=st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=63),
    state=st.sampled_from(
        ["R (running)", "S (sleeping)", "D (disk sleep)", "t (tracing stop)", "Z (zombie)", "I (idle)"]
    ),
    ids=st.tuples(U32, U32, U32, U32, U32),
    kthread=st.sampled_from([None, False, True]),
    more=st.dictionaries(
        st.sampled_from(["VmRSS", "untag_mask", "New_2030"]), st.sampled_from(["    4 kB", "0x1", ""])
    ),
)
def test_what_the_kernel_prints_comes_back(name, state, ids, kthread, more):
    r"""fs/proc/array.c: proc_task_name escapes "\n" and "\\" alone; task_state: tabs between the user ids."""
    tgid, pid, ppid, uid, threads = ids
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n")
    text = f"Name:\t{escaped}\nState:\t{state}\nTgid:\t{tgid}\nPid:\t{pid}\nPPid:\t{ppid}\n"
    text += f"Uid:\t{uid}\t0\t0\t0\n"
    text += "" if kthread is None else f"Kthread:\t{kthread:d}\n"
    text += "".join(f"{key}:\t{value}\n" for key, value in more.items()) + f"Threads:\t{threads}\n"
    status = parse(text.encode())
    assert status[:8] == (name, state[0], tgid, pid, ppid, uid, threads, kthread)
    assert {key: status.fields[key] for key in more} == more


def test_sizes_are_bytes_and_none_without_an_address_space():
    text = GOOD + b"VmLck:\t       8 kB\nVmPin:\t       0 kB\nHugetlbPages:\t    2048 kB\n"
    status = parse(text)
    assert (status.vm_lck_bytes, status.vm_pin_bytes, status.hugetlb_bytes) == (8192, 0, 2 << 20)
    status = parse(GOOD)
    assert (status.vm_lck_bytes, status.vm_pin_bytes, status.hugetlb_bytes) == (None, None, None)


@pytest.mark.parametrize("value", [b"8", b"8 MB", b"-8 kB", b"", b"18446744073709551615 kB"])
def test_a_size_that_is_none_is_named(value):
    with pytest.raises(FormatError, match="status, line 9: expected a size in kB"):
        parse(GOOD + b"VmPin:\t" + value + b"\n")


def test_golden_fields_are_the_lines(golden):
    status = parse(golden.read_bytes())
    text = golden.read_text()
    assert len(status.fields) == text.count("\n")
    for key, value in (
        ("Tgid", status.tgid),
        ("Pid", status.pid),
        ("PPid", status.ppid),
        ("Threads", status.nr_threads),
    ):
        assert [str(value)] == re.findall(rf"^{key}:\t(\d+)$", text, re.MULTILINE)
    assert status.uid == int(re.search(r"^Uid:\t(\d+)\t", text, re.MULTILINE)[1])
    assert (status.kernel_thread is None) == ("Kthread" not in text)
    assert status.fields["Groups"] == " "
    for key, size in (("VmLck", status.vm_lck_bytes), ("HugetlbPages", status.hugetlb_bytes)):
        assert [str(size >> 10)] == re.findall(rf"^{key}:\t +(\d+) kB$", text, re.MULTILINE)


@pytest.mark.parametrize(("shape", "kernel_thread"), [("6.1-1node", None), ("6.12-1node", False)])
def test_golden_values(proc, shape, kernel_thread):
    status = parse((proc / shape / "task" / "status").read_bytes())
    assert (status.name, status.state, status.uid, status.nr_threads) == ("python3", "S", 0, 1)
    assert status.kernel_thread is kernel_thread


@pytest.mark.parametrize(
    ("printed", "name"),
    [
        (rb"a\nb", "a\nb"),
        (rb"a\\nb", r"a\nb"),
        (rb"a\\\nb", "a\\\nb"),
        (rb"\x", r"\x"),
        (b"caf\xc3", r"caf\xc3"),
        (rb"\\xc3", r"\xc3"),
        (b" : x", " : x"),
        (b"", ""),
    ],
)
def test_a_name_is_unescaped_before_it_is_decoded(printed, name):
    assert parse(GOOD.replace(b"cat", printed)).name == name


def test_name_need_not_come_first():
    assert parse(GOOD.replace(b"Name:\tcat\n", b"") + b"Name:\tcat\n").name == "cat"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"Tgid:\t7", b"Tgid:\t-7", "line 4: expected a number for Tgid, found '-7': 'Tgid:\\t-7'"),
        (
            b"Pid:\t8",
            b"Pid:\t4294967296",
            "line 5: expected a number for Pid, found '4294967296': 'Pid:\\t4294967296'",
        ),
        (b"PPid:\t1", b"PPid:\t", "line 6: expected a number for PPid, found '': 'PPid:\\t'"),
        (
            b"Threads:\t3",
            b"Threads:\t3 ",
            "line 8: expected a number for Threads, found '3 ': 'Threads:\\t3 '",
        ),
        (
            b"1000\t0\t0\t0",
            b"1000",
            "line 7: expected real, effective, saved and file system user id: 'Uid:\\t1000'",
        ),
        (b"1000", b"x", "line 7: expected a number for Uid, found 'x': 'Uid:\\tx\\t0\\t0\\t0'"),
        (b"S (sleeping)", b"S", "line 3: expected a state such as `S (sleeping)`: 'State:\\tS'"),
        (b"Umask:\t0022", b"Umask", "line 2: expected `Name: value`: 'Umask'"),
        (b"Umask:\t0022", b":", "line 2: expected `Name: value`: ':'"),
        (b"Umask:\t0022", b"Name:\tdog", "line 2: expected each field once: 'Name:\\tdog'"),
        (b"Umask:\t0022", b"Kthread:\t2", "line 2: expected 0 or 1: 'Kthread:\\t2'"),
        (
            b"Threads:\t3\n",
            b"",
            "line 7: expected a line `Threads:` before the end: 'Uid:\\t1000\\t0\\t0\\t0'",
        ),
        (b"Threads:\t3\n", b"Thr", "line 8: expected a newline at the end, the file is cut off: 'Thr'"),
        (GOOD, b"", "line 1: expected at least one line, the file is empty: ''"),
    ],
)
def test_a_bad_line_is_named(old, new, message):
    assert old in GOOD
    with pytest.raises(FormatError) as caught:
        parse(GOOD.replace(old, new, 1), file="/proc/7/status")
    assert str(caught.value) == f"/proc/7/status, {message}"

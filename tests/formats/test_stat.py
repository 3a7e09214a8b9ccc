from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmprobe.errors import FormatError
from vmprobe.formats import status
from vmprobe.formats.stat import PF_KTHREAD, TaskStat, parse

NAME = "stat"

U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
COMMS = st.text(
    st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=15
) | st.sampled_from(["a b", "(sd-pam)", "a) R 1", ")", "(", "x\ny", ") S 1 1 1\n"])


def stats(nr_known):
    """TaskStat of a kernel that prints the first `nr_known` of the seven addresses that came later."""
    later = [U64] * nr_known + [st.none()] * (7 - nr_known)
    return st.builds(TaskStat, U32, COMMS, st.sampled_from("RSDTtZXI"), U32, U32, U32, *[U64] * 6, *later)


def printed(t, nr_known):
    """fs/proc/array.c: do_task_stat; the fields we do not take are told apart by their values."""
    fields = dict.fromkeys(range(4, 45), 0)
    fields |= {5: -1, 6: -1, 7: -1, 8: -1, 18: -51, 19: -20, 25: 2**64 - 1, 35: 1, 38: -1}
    fields |= {4: t.ppid, 9: t.flags, 20: t.nr_threads, 22: t.start_time, 23: t.vsize, 24: t.rss_pages}
    fields |= {26: t.start_code, 27: t.end_code, 28: t.start_stack}
    fields |= dict(zip(range(45, 45 + nr_known), t[12:], strict=False))
    if nr_known == 7:
        fields[52] = -9
    numbers = " ".join(str(fields[n]) for n in sorted(fields))
    return f"{t.pid} ({t.comm}) {t.state} {numbers}\n".encode()


@pytest.mark.parametrize("nr_known", [0, 3, 7], ids=["up to 3.2", "3.3", "since 3.5"])
@given(st.data())
def test_what_the_kernel_prints_comes_back(nr_known, data):
    task = data.draw(stats(nr_known))
    assert parse(printed(task, nr_known)) == task


@given(stats(7), st.lists(st.integers(0, 9), max_size=4))
def test_fields_of_a_later_kernel_do_no_harm(task, more):
    text = printed(task, 7).removesuffix(b"\n") + b"".join(b" %d" % n for n in more) + b"\n"
    assert parse(text) == task


def test_golden_fields_stand_where_proc_5_counts_them(golden):
    task = parse(golden.read_bytes())
    words = golden.read_text().split()
    assert words[1] == "(python3)"  # so that words count as fields
    assert len(words) == 52
    taken = {
        1: task.pid, 4: task.ppid, 9: task.flags, 20: task.nr_threads, 22: task.start_time, 23: task.vsize,
        24: task.rss_pages, 26: task.start_code, 27: task.end_code, 28: task.start_stack, 45: task.start_data,
        46: task.end_data, 47: task.start_brk, 48: task.arg_start, 49: task.arg_end, 50: task.env_start,
        51: task.env_end,
    }  # fmt: skip
    assert {n: str(value) for n, value in taken.items()} == {n: words[n - 1] for n in taken}


def test_golden_agrees_with_status(golden):
    task = parse(golden.read_bytes())
    other = status.parse((golden.parent / "status").read_bytes())
    assert (task.pid, task.comm, task.state, task.ppid) == (other.pid, other.name, other.state, other.ppid)
    assert task.vsize // 1024 == int(other.fields["VmSize"].split()[0])
    assert not task.kernel_thread


@pytest.mark.parametrize("shape", ["6.1-1node", "6.12-1node"])
def test_golden_values(proc, shape):
    task = parse((proc / shape / "task" / "stat").read_bytes())
    # start_code and end_code of Debian's /usr/bin/python3.11, which is linked to a fixed address.
    assert (task.comm, task.start_code, task.end_code, task.nr_threads) == ("python3", 4321280, 7148169, 1)


GOOD = b"7 (cat) S 1 7 7 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 3 0 88 4096 2 0" + b" 0" * 27 + b"\n"


def test_the_flag_tells_a_kernel_thread():
    assert parse(GOOD.replace(b"4194560", str(PF_KTHREAD | 0x40).encode())).kernel_thread
    assert not parse(GOOD.replace(b"4194560", str(0xFFFFFFFF ^ PF_KTHREAD).encode())).kernel_thread


def test_undecodable_bytes_of_a_comm_stay_visible():
    assert parse(GOOD.replace(b"cat", b"caf\xc3")).comm == "caf\\xc3"


FORM = "expected `pid (comm) state` and decimal numbers"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (GOOD, b"", "expected at least one line, the file is empty"),
        (b"\n", b"", "expected a newline at the end, the file is cut off"),
        (b" 0\n", b"\n", "expected 44, 47 or at least 52 fields, found 51"),
        (b" 0" * 6 + b"\n", b"\n", "expected 44, 47 or at least 52 fields, found 46"),
        (b" 0" * 25 + b"\n", b"\n", FORM),
        (b" 0" * 5 + b"\n", b" -5" + b" 0" * 7 + b"\n", "expected unsigned 64-bit numbers"),
        (b"S 1", b"S -1", FORM),
        (b"88 4096", b"88 -4096", FORM),
        (b"88 4096", b"88 18446744073709551616", "expected unsigned 64-bit numbers"),
        (b"4194560", b"4294967296", "expected 32-bit process ids, flags and threads"),
        (b"7 (cat)", b"9999999999 (cat)", "expected 32-bit process ids, flags and threads"),
        (b"7 (cat)", b"-7 (cat)", FORM),
        (b"(cat)", b"cat", FORM),
        (b"4096", b"4_096", FORM),
        (b"4096", "٤".encode(), FORM),
        (b"4096", b"1" * 21, FORM),
        (b"4096", b"", FORM),
        (b" S ", b" ? ", FORM),
        (b"\n", b"\n\n", FORM),
    ],
)
def test_a_bad_line_is_an_error(old, new, reason):
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    with pytest.raises(FormatError) as caught:
        parse(text, file="/proc/7/stat")
    shown = text.decode().removesuffix("\n")
    assert str(caught.value) == str(FormatError("/proc/7/stat", 1, shown, reason))


@pytest.mark.parametrize("field", [1, 4, 9, 14, 17, 20, 22, 23, 24, 25, 26, 28, 45, 51])
def test_unsigned_fields_refuse_a_sign(field):
    words = GOOD.split()
    words[field - 1] = b"-5"
    with pytest.raises(FormatError):
        parse(b" ".join(words) + b"\n")


@pytest.mark.parametrize("field", [5, 6, 7, 8, 18, 19, 38, 52])
def test_signed_fields_take_a_sign(field):
    words = GOOD.split()
    words[field - 1] = b"-5"
    assert parse(b" ".join(words) + b"\n").pid == 7

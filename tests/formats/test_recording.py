"""recording.json comes from elsewhere: each entry is checked, and the error names the one that is wrong."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from vmprobe.errors import InputError
from vmprobe.formats import recording

WHOLE: dict[str, Any] = {
    "format": {"name": "vmprobe-recording", "version": [1, 0]},
    "host": {
        "release": "6.99.0-test", "machine": "riscv64", "page_size": 16384, "clock_ticks": 250, "nr_cpus": 3,
        "boot_id": "b", "byte_order": "little",
    },
    "time": {
        "start": "2026-01-02T03:04:05+00:00", "end": "2026-01-02T03:04:06.5+00:00", "seconds": 1.5,
    },
    "recorder": {"pid": 9, "euid": 1000, "effective": "00000000000000ff", "uid_map": [0, 1000, 1]},
    "scan_ioctl": False,
    "pids": [7],
    "frame_words": {"kpageflags": 4096},
    "errors": [["kpagecount", 13, "Permission denied"]],
}  # fmt: skip

PATHS = [
    *(f"{part}.{key}" for part, inner in WHOLE.items() if isinstance(inner, dict) for key in inner),
    *WHOLE,
]
PATHS.remove("frame_words.kpageflags")
NULLABLE = {"host.boot_id", "recorder.pid", "recorder.uid_map", "scan_ioctl"}


def changed(path: str, value: Any) -> bytes:
    document = copy.deepcopy(WHOLE)
    inner = document
    *parts, last = path.split(".")
    for part in parts:
        inner = inner[part]
    inner[last] = value
    if value is KeyError:
        del inner[last]
    return json.dumps(document).encode()


def refused(data: bytes) -> InputError:
    with pytest.raises(InputError) as caught:
        recording.parse(data, file="x/recording.json")
    assert caught.value.message.startswith("x/recording.json: ")
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 300
    assert caught.value.hint
    return caught.value


def test_every_fact_is_kept() -> None:
    found = recording.parse(json.dumps(WHOLE).encode())
    assert (found.release, found.machine, found.boot_id) == ("6.99.0-test", "riscv64", "b")
    assert (found.page_size, found.clock_ticks, found.nr_cpus, found.byte_order) == (16384, 250, 3, "little")
    assert (found.start, found.end, found.seconds) == (*list(WHOLE["time"].values())[:2], 1.5)
    assert (found.pid, found.euid, found.effective, found.uid_map) == (9, 1000, 255, (0, 1000, 1))
    assert (found.scan_ioctl, found.pids, found.version) == (False, (7,), (1, 0))
    assert found.frame_words == {"kpageflags": 4096}
    assert found.errors == {"kpagecount": 13}


@pytest.mark.parametrize("path", PATHS)
def test_an_entry_that_is_missing_is_named(path: str) -> None:
    assert path in refused(changed(path, KeyError)).message


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("value", [None, "", "x", -1, 1.5, 1 << 70, True, [], [[]], {}, {"a": "b"}])
def test_an_entry_of_another_kind_is_refused_or_fits(path: str, value: Any) -> None:
    try:
        recording.parse(changed(path, value), file="x/recording.json")
    except InputError as error:
        assert path.partition(".")[0] in error.message  # noqa: PT017 - most values are refused, few fit
        return
    fits: dict[str, list[Any]] = {
        "host.release": ["", "x"], "host.machine": ["", "x"], "host.boot_id": ["", "x", None],
        "host.byte_order": ["", "x"], "time.seconds": [1.5], "recorder.pid": [None],
        "scan_ioctl": [None, True], "recorder.uid_map": [None, []], "pids": [[]], "frame_words": [{}],
        "errors": [[]],
    }  # fmt: skip
    assert any(value is fit or (value == fit and type(value) is type(fit)) for fit in fits.get(path, ())), (
        value
    )


@pytest.mark.parametrize("path", sorted(NULLABLE))
def test_what_could_not_be_told_is_none(path: str) -> None:
    found = recording.parse(changed(path, None))
    assert getattr(found, path.rpartition(".")[2]) is None


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("format.name", "vmprobe-snapshot", "'vmprobe-recording'"),
        ("format.version", [2, 3], "format 2.3 is newer than 1.x"),
        ("format.version", [0, 9], "[major, minor]"),
        ("format.version", [1], "[major, minor]"),
        ("host.page_size", 3000, "a power of two"),
        ("host.page_size", 0, "from 512"),
        ("host.nr_cpus", 0, "from 1"),
        ("time.start", "2026-01-02T03:04:05", "with its offset from UTC"),
        ("time.seconds", float("inf"), "a number of seconds"),
        ("recorder.effective", "-1", "hexadecimal"),
        ("recorder.effective", "1" * 17, "hexadecimal"),
        ("errors", [["kpageflags", 0, "x"]], "error number"),
        ("errors", [["kpageflags", 13]], "error number"),
        ("pids", [7, "8"], "whole numbers"),
        ("frame_words", {"kpageflags": -1}, "numbers of words"),
    ],
)
def test_values_that_make_no_sense(path: str, value: Any, says: str) -> None:
    assert says in refused(changed(path, value)).message


def test_a_number_of_thousands_of_digits() -> None:
    refused(changed("host.nr_cpus", 4711).replace(b"4711", b"9" * 5000))
    assert "200 bits" in refused(changed("host.nr_cpus", 1 << 199)).message


def test_a_newer_minor_version_is_read() -> None:
    assert recording.parse(changed("format.version", [1, 9])).version == (1, 9)
    assert recording.parse(changed("later_invention", {"a": 1})).pid == 9


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[" * 100_000, b"\xff", b"null", b"[]", b"7", json.dumps(WHOLE).encode()[:-9]]
)
def test_what_is_no_document_is_refused(data: bytes) -> None:
    refused(data)


@pytest.mark.parametrize("data", [b"{}", b"[[1]]", b'[["1", "/"]]', b"[[-1, 2]]", b"[", b'[[1, "/", 2]]'])
def test_a_list_of_cgroups_that_is_none(data: bytes) -> None:
    with pytest.raises(InputError, match=r"cgroups\.json"):
        recording.parse_cgroups(data)


def test_a_name_that_no_table_can_hold() -> None:
    assert recording.parse_cgroups(rb'[[1, "/\udcff"]]') == [(1, r"/\udcff")]

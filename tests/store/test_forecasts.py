"""The record of verified forecasts: lines that only grow, whole, beside other writers and on a full disk."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
from pathlib import Path

import pytest

from vmprobe.errors import InputError, OutputError
from vmprobe.store import forecasts


def test_what_was_appended_is_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "forecasts.jsonl"
    assert forecasts.read(path) == forecasts.History((), ())
    for number in range(3):
        forecasts.append(path, {"time": f"t{number}", "error": {"moves_percent": None}})
    found = forecasts.read(path)
    assert [each["time"] for each in found.documents] == ["t0", "t1", "t2"]
    assert not found.damaged
    assert path.stat().st_mode & 0o777 == 0o600
    assert [json.loads(line)["version"] for line in path.read_text().splitlines()] == [1, 1, 1]


@pytest.mark.parametrize(
    "bad", [b"{", b"[1]", b'{"no": "version"}', b'{"version": "1"}', b"\xff\xfe", b"[" * 100_000]
)
def test_a_damaged_line_is_named_and_the_rest_used(tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "f"
    forecasts.append(path, {"time": "first"})
    with path.open("ab") as file:
        file.write(bad + b"\n")
    forecasts.append(path, {"time": "last"})
    found = forecasts.read(path)
    assert [each["time"] for each in found.documents] == ["first", "last"]
    assert found.damaged == (f"{path}, line 2: is no forecast, and is left out",)


def test_a_line_that_was_cut_off_does_not_swallow_the_next(tmp_path: Path) -> None:
    path = tmp_path / "f"
    forecasts.append(path, {"time": "first"})
    with path.open("ab") as file:
        file.write(b'{"version": 1, "time": "cu')
    forecasts.append(path, {"time": "last"})
    found = forecasts.read(path)
    assert [each["time"] for each in found.documents] == ["first", "last"]
    assert len(found.damaged) == 1
    assert "line 2" in found.damaged[0]


def test_a_later_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text('{"version": 2, "time": "later"}\n')
    forecasts.append(path, {"time": "now"})
    found = forecasts.read(path)
    assert ([each["time"] for each in found.documents], found.damaged) == (["now"], ())
    assert '"later"' in path.read_text()


def _write_many(path: str, name: str) -> None:
    for number in range(60):
        forecasts.append(Path(path), {"by": name, "number": number, "filling": name * 3000})


@pytest.mark.live
def test_two_writers_do_not_tear_lines(tmp_path: Path) -> None:
    path = tmp_path / "f"
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_write_many, args=(str(path), name)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    found = forecasts.read(path)
    assert not found.damaged
    for name in "ab":
        assert [each["number"] for each in found.documents if each["by"] == name] == list(range(60))


def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "f"
    forecasts.append(path, {"time": "first"})
    whole = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        # Room for a part of the line: it is cut off again.
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 10, limits[1]))
        with pytest.raises(OutputError, match=r"File too large: the forecast was scored"):
            forecasts.append(path, {"time": "second"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == whole
    forecasts.append(path, {"time": "third"})
    assert [each["time"] for each in forecasts.read(path).documents] == ["first", "third"]


def test_no_room_at_all_is_told() -> None:
    with pytest.raises(OutputError, match=r"/dev/full: "):
        forecasts.append(Path("/dev/full"), {"time": "never"})


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path, pipe):
        with pytest.raises(InputError, match="is no plain file"):
            forecasts.read(path)
    (tmp_path / "plain").touch()
    with pytest.raises(OutputError, match=r"plain/f: "):
        forecasts.append(tmp_path / "plain" / "f", {})
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match=r"symbolic links"):
        forecasts.append(tmp_path / "link", {})
    assert not (tmp_path / "elsewhere").exists()


def test_where_it_lies() -> None:
    assert forecasts.default_path({"XDG_STATE_HOME": "/state", "HOME": "/h"}) == Path(
        "/state/vmprobe/forecasts.jsonl"
    )
    relative = forecasts.default_path({"XDG_STATE_HOME": "state", "HOME": "/h"})
    assert relative == Path("/h/.local/state/vmprobe/forecasts.jsonl")

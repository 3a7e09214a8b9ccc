"""Recorded trees with something missing, damaged or torn: named where it is, and the rest stands."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.recorded import PROC, add_task, photograph, pid_of, pid_of_other
from vmprobe.collect import address_space
from vmprobe.errors import FormatError
from vmprobe.sources.procfs import read_fd

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "name", ["buddyinfo", "zoneinfo", "pagetypeinfo", "vmstat", "meminfo", "iomem", "swaps"]
)
def test_a_source_that_is_not_there_is_named_and_the_rest_stands(root: Path, name: str) -> None:
    (root / name).unlink()
    snapshot = photograph(root)
    assert [e["reason"] for e in snapshot.manifest["unread"] if e["what"] == name] == [
        "No such file or directory"
    ]
    lost = {"buddyinfo": "free_areas", "zoneinfo": "zones", "iomem": "resources", "swaps": "swap_areas"}
    if name in lost:
        assert not snapshot.has(lost[name])
    assert len(snapshot.table("mappings")) > 0


@pytest.mark.parametrize(
    "name", ["buddyinfo", "zoneinfo", "pagetypeinfo", "vmstat", "meminfo", "iomem", "swaps"]
)
def test_a_source_that_makes_no_sense_is_an_error_with_its_place(root: Path, name: str) -> None:
    data = (root / name).read_bytes()
    (root / name).write_bytes(data[: data.index(b"\n", len(data) // 2) + 1] + b"\xff nonsense -7\n")
    with pytest.raises(FormatError) as caught:
        photograph(root)
    assert caught.value.file == f"{root}/{name}"
    assert caught.value.line is not None


@pytest.mark.parametrize(
    ("name", "column"), [("kpageflags", "flags"), ("kpagecount", "mapcount"), ("kpagecgroup", "memcg")]
)
def test_a_missing_frame_file_leaves_a_column_null_with_the_reason(
    root: Path, name: str, column: str
) -> None:
    (root / name).unlink()
    snapshot = photograph(root)
    assert not snapshot.table("frames").has(column)
    assert snapshot.manifest["tables"]["frames"]["null_columns"] == {column: "No such file or directory"}


def test_a_frame_file_cut_inside_a_word_is_an_error(root: Path) -> None:
    os.truncate(root / "kpageflags", 4096 * 8 - 3)
    with pytest.raises(FormatError, match="middle of a word"):
        photograph(root)


def test_a_process_with_a_damaged_file_has_a_reason_and_others_stand(root: Path) -> None:
    add_task(PROC / "6.12-1node" / "task", root, pid=77)
    (root / "77" / "maps").write_bytes(b"gibberish\n")
    rows = dict(photograph(root).table("tasks").rows("pid", "error"))
    assert "maps, line 1" in rows[77]
    assert rows[pid_of_other(root, 77)] is None


def test_what_a_damaged_file_holds_is_not_written_down(root: Path) -> None:
    """Its text may be somebody's path; the place and the reason are enough."""
    maps = root / str(pid_of(root)) / "maps"
    maps.write_bytes(maps.read_bytes() + b"zzz /home/alice/secret\n")
    snapshot = photograph(root)
    (error,) = (error for (error,) in snapshot.table("tasks").rows("error"))
    assert "maps, line" in error
    assert "alice" not in error + repr(snapshot.manifest)


def test_a_process_without_memory_is_not_data(root: Path) -> None:
    (root / str(pid_of(root)) / "maps").write_bytes(b"")
    rows = photograph(root).table("tasks").rows("mm", "error")
    assert list(rows) == [(None, "vanished while it was read")]


def swapped(text: bytes) -> bytes:
    """Return maps as a reader sees it that was overtaken: two lines in the wrong order."""
    lines = text.splitlines(keepends=True)
    return b"".join([lines[1], lines[0], *lines[2:]])


@pytest.mark.parametrize(("nr_torn", "error"), [(1, None), (99, "its VMAs changed")])
def test_a_torn_list_of_vmas_is_read_again(
    root: Path, monkeypatch: pytest.MonkeyPatch, nr_torn: int, error: str | None
) -> None:
    whole = list(photograph(root).table("vmas").rows("start", "end", "name"))
    left = [nr_torn]

    def overtaken(fd: int) -> tuple[bytes, int]:
        data, nr_reads = read_fd(fd)
        left[0] -= 1
        return (swapped(data) if left[0] >= 0 else data), nr_reads

    monkeypatch.setattr("vmprobe.collect.address_space.read_fd", overtaken)
    snapshot = photograph(root)
    assert list(snapshot.table("vmas").rows("start", "end", "name")) == whole
    assert snapshot.manifest["volatility"]["torn_maps"] == min(nr_torn, 5)
    (said,) = (said for (said,) in snapshot.table("tasks").rows("error"))
    assert (said is None) if error is None else said.startswith(error)


@pytest.mark.parametrize(("nr_execs", "error"), [(1, None), (99, "replaced its address space (exec)")])
def test_an_exec_while_it_is_read_is_noticed(
    root: Path, monkeypatch: pytest.MonkeyPatch, nr_execs: int, error: str | None
) -> None:
    """The stack starts somewhere else when the reading ends: what was read belongs to two programs."""
    looks = [0]

    def moving(folder: Any) -> Any:
        looks[0] += 1
        now = real(folder)
        moved = looks[0] % 2 == 0 and looks[0] <= 2 * nr_execs
        return now._replace(start_stack=now.start_stack + moved)

    real = address_space._stat
    monkeypatch.setattr("vmprobe.collect.address_space._stat", moving)
    snapshot = photograph(root)
    (said,) = (said for (said,) in snapshot.table("tasks").rows("error"))
    assert (said is None) if error is None else said.startswith(error)
    assert looks[0] >= 2 * min(nr_execs, 5)


def test_a_process_without_a_folder_behind_its_name_has_a_row(root: Path) -> None:
    (root / "78").mkdir()
    rows = dict(photograph(root).table("tasks").rows("pid", "error"))
    assert rows[78] == "vanished while it was read"

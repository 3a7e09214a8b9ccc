"""What lab/record.py saves of a tree is replayed as that tree, and what moved is marked."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lab import record
from tests.recorded import PROC, add_task, pid_of
from tests.recordings import lay_out, recorded, replay, rows, small, write_word
from vmprobe.collect import Options, counters, take
from vmprobe.errors import InputError
from vmprobe.formats.pagemap import populated

SHAPES = sorted(p.name for p in PROC.iterdir() if p.is_dir())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return small(tmp_path)


@pytest.fixture(
    params=[pytest.param(s, marks=pytest.mark.slow if s.endswith("2node") else ()) for s in SHAPES]
)
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return lay_out(request.param, tmp_path)


@pytest.mark.parametrize("smaps", [False, True])
def test_a_replay_is_the_snapshot_of_the_tree(host: Path, smaps: bool) -> None:
    first = take(Options(procfs=str(host), sysfs=str(host.parent / "sys"), smaps=smaps))
    folder = recorded(host)
    again = replay(folder, smaps=smaps)
    found, expected = rows(again), rows(first)
    assert set(found) == set(expected) >= {"frames", "zones", "cgroups", "mappings", "vmas", "counters"}
    for name in expected:
        assert found[name] == expected[name], name
    # Mappings are some hundred runs: the same test must see one entry that differs.
    write_word(folder / str(pid_of(host)) / "pagemap", 30, 1 << 63 | 0xABC)
    assert rows(replay(folder, smaps=smaps))["mappings"] != expected["mappings"]


def test_no_file_of_a_recording_has_holes(folder: Path, tmp_path: Path) -> None:
    pid = str(pid_of(tmp_path / "proc"))
    there = (tmp_path / "proc" / pid / "pagemap").stat()
    saved = (folder / pid / "pagemap").stat()
    assert there.st_size > 1 << 37, "the tree's own has"
    assert saved.st_size == sum(
        int(line.split()[1]) * 8 for line in (folder / pid / "pagemap.runs").read_text().splitlines()
    )
    assert saved.st_size < 1 << 17


def test_a_recording_survives_tar(folder: Path, tmp_path: Path) -> None:
    expected = rows(replay(folder))
    subprocess.run(["tar", "-C", str(tmp_path), "-cf", str(tmp_path / "x.tar"), folder.name], check=True)
    (tmp_path / "elsewhere").mkdir()
    subprocess.run(["tar", "-C", str(tmp_path / "elsewhere"), "-xf", str(tmp_path / "x.tar")], check=True)
    shutil.rmtree(folder)
    assert rows(replay(tmp_path / "elsewhere" / folder.name)) == expected


def test_what_moved_between_the_looks_is_unstable_in_the_replay(folder: Path, tmp_path: Path) -> None:
    pid = str(pid_of(tmp_path / "proc"))
    still = replay(folder)
    nr_entries = int(still.table("mappings").column("nr_pages").sum())
    moved = still.manifest["volatility"]
    assert (moved["entries_compared"], moved["entries_changed"]) == (nr_entries, 0)
    assert (moved["frames_compared"], moved["frames_changed"]) == (len(still.table("frames")), 0)
    assert not still.table("mappings").column("unstable").any()

    first_vpn = int((folder / pid / "pagemap.runs").read_text().split()[0], 16)
    before = write_word(folder / "later" / pid / "pagemap", 0, 1 << 63 | 77)
    write_word(folder / "later" / "kpageflags", 9, 1 << 7)
    (folder / "later" / "vmstat").write_text("nr_free_pages 4711\n")
    (folder / "later" / "4711").mkdir()
    shutil.copy(folder / pid / "stat", folder / "later" / "4711")
    after = replay(folder)
    moved = after.manifest["volatility"]
    assert (moved["entries_changed"], moved["frames_changed"], moved["processes_appeared"]) == (1, 1, 1)
    (vpns,) = [[vpn, nr] for vpn, nr, u in after.table("mappings").rows("vpn", "nr_pages", "unstable") if u]
    assert vpns[0] <= first_vpn < sum(vpns)
    unstable = np.flatnonzero(after.table("frames").column("unstable")).tolist()
    wanted = {9, 77, before & (1 << 55) - 1}
    assert unstable == sorted(pfn for pfn in wanted if pfn < len(after.table("frames")))
    values = {r[:3]: r[3:] for r in after.table("counters").rows("source", "scope", "name", "value_after")}
    assert values["vmstat", "", "nr_free_pages"] == (4711,)


def test_a_process_that_is_gone_at_the_second_look_is_unstable(folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(folder / "later" / str(pid_of(tmp_path / "proc")))
    snapshot = replay(folder)
    table, frames = snapshot.table("mappings"), snapshot.table("frames")
    assert table.column("unstable").all()
    assert snapshot.manifest["volatility"]["processes_vanished"] == 1
    # Its frames have one mapper less from some moment on, and nobody knows whether that was counted.
    mapped = {
        pfn + page
        for kind, pfn, nr in table.rows("kind", "pfn", "nr_pages")
        for page in range(nr)
        if kind == "present"
    }
    known = set(frames.column("pfn").tolist())
    assert mapped & known
    assert set(frames.column("pfn")[frames.column("unstable")].tolist()) == mapped & known


@pytest.mark.parametrize(("before", "after", "forks"), [(100, 100, 0), (100, 107, 7), (None, 5, None)])
def test_forks_between_the_looks_are_counted(
    folder: Path, before: int | None, after: int, forks: int | None
) -> None:
    for place, nr in ((folder, before), (folder / "later", after)):
        if nr is not None:
            (place / "stat").write_text(f"cpu  1 2 3\nprocesses {nr}\n")
    assert replay(folder).manifest["volatility"]["forks"] == forks


@pytest.mark.parametrize("kind", ["recording", "folder"])
def test_where_nobody_looked_twice_nothing_is_said_to_be_unchanged(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    if kind == "recording":
        shutil.rmtree(folder / "later")
        snapshot = replay(folder)
    else:
        (tmp_path / "proc" / "self").unlink()
        snapshot = take(Options(procfs=str(tmp_path / "proc"), sysfs=str(tmp_path / "sys")))
    moved = snapshot.manifest["volatility"]
    names = ("frames_compared", "frames_changed", "entries_compared", "entries_changed", "processes_appeared")
    assert [moved[name] for name in (*names, "free_pages_after")] == [None] * 6
    assert moved["free_pages_before"] > 0
    assert not snapshot.table("counters").is_valid("value_after").any()
    assert len(snapshot.table("mappings")) > 100


def test_a_recording_of_chosen_processes_says_that_it_is_one(tmp_path: Path) -> None:
    root = lay_out("6.12-1node", tmp_path)
    pid = pid_of(root)
    add_task(PROC / "6.12-1node" / "task", root, pid=77)
    folder = recorded(root, "--pid", "77")
    assert [entry.name for entry in folder.iterdir() if entry.name.isdecimal()] == ["77"]
    snapshot = replay(folder)
    assert snapshot.manifest["options"]["pids"] == [77]
    assert snapshot.manifest["volatility"]["processes_appeared"] is None
    assert "hidepid" not in repr(snapshot.manifest["unread"])
    with pytest.raises(InputError, match=f"process {pid} is not there"):
        replay(folder, pids=(pid,))
    shutil.rmtree(folder / "77")
    with pytest.raises(InputError, match="no process is listed"):
        replay(folder)


def test_a_process_that_replaces_its_memory_is_saved_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = lay_out("6.12-1node", tmp_path)
    stat = root / str(pid_of(root)) / "stat"
    whole = stat.read_text()
    left = [1]

    def memory(self: record.Recorder, pid: int, prefix: str) -> None:
        real(self, pid, prefix)
        if left[0] > 0:
            head, _, tail = stat.read_text().rpartition(")")
            words = tail.split()
            words[25] = str(int(words[25]) + 4096)  # start_stack
            stat.write_text(f"{head}) {' '.join(words)}\n")
            left[0] -= 1

    real = record.Recorder.memory
    monkeypatch.setattr(record.Recorder, "memory", memory)
    folder = recorded(root)
    assert stat.read_text() != whole
    assert (folder / stat.parent.name / "stat").read_text() == stat.read_text(), "who it is now"
    assert json.loads((folder / "recording.json").read_text())["errors"] == [
        row for row in json.loads((folder / "recording.json").read_text())["errors"] if row[1] == 2
    ]
    shutil.rmtree(folder)
    left[0] = 99
    folder = recorded(root)
    (row,) = list(replay(folder).table("tasks").rows("pid", "mm", "error"))
    assert row == (int(stat.parent.name), None, "Resource temporarily unavailable")


def test_the_recorder_saves_what_the_collector_reads() -> None:
    """It imports nothing of ours, so the lists are written twice."""
    assert record.SYSCTLS == counters.SYSCTLS
    assert tuple(folder for _, folder in counters.SYSFS_FOLDERS) == record.SYSFS_FOLDERS


def test_the_recorder_needs_the_standard_library_alone() -> None:
    import ast

    parsed = ast.parse(Path(record.__file__).read_text(), feature_version=(3, 8))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(parsed)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    }
    assert imported <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("nr_torn", [1, 99])
def test_a_torn_list_of_vmas_is_saved_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nr_torn: int
) -> None:
    """Two lines in the wrong order, as a reader sees them that was overtaken."""
    left = [nr_torn]

    def keep(self: record.Recorder, name: str, target: str, root: str | None = None) -> bool:
        kept = real(self, name, target, root)
        if name.endswith("/maps"):
            left[0] -= 1
            path = Path(self.folder, target)
            first, second, *lines = path.read_text().splitlines(keepends=True)
            if left[0] >= 0:
                path.write_text("".join([second, first, *lines]))
        return kept

    real = record.Recorder.keep
    monkeypatch.setattr(record.Recorder, "keep", keep)
    (error,) = replay(recorded(lay_out("6.12-1node", tmp_path))).table("tasks").rows("error")
    assert left[0] == (-1 if nr_torn == 1 else 99 - record.TRIES)
    if nr_torn == 1:
        assert error == (None,)
    else:
        assert error[0].startswith("its VMAs changed"), "what could not be read whole says so"


def test_a_word_is_saved_if_the_collector_would_take_it() -> None:
    for byte in range(256):
        word = np.array([byte << 56 | (1 << 56) - 1], np.uint64)
        assert bool(record.THERE.fullmatch(bytes([byte]))) == bool(populated(word)[0]), hex(byte)

"""A replay speaks of the host that was recorded, and never of the machine that replays."""

from __future__ import annotations

import gzip
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.recorded import pid_of
from tests.recordings import edit, lay_out, recorded, replay, small
from vmprobe.cli.main import run
from vmprobe.collect import Options, take
from vmprobe.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return small(tmp_path)


def test_facts_of_the_host_are_the_recordings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {
        "release": "6.99.0-test", "machine": "riscv64", "page_size": 16384, "clock_ticks": 250, "nr_cpus": 96,
        "boot_id": None,
    }  # fmt: skip
    times = {
        "start": "2001-02-03T04:05:06+00:00", "end": "2001-02-03T04:05:07.5+00:00", "seconds": 1.5,
    }  # fmt: skip
    edit(folder, lambda d: d["host"].update(facts))
    edit(folder, lambda d: d["time"].update(times))
    edit(folder, lambda d: d["recorder"].update(pid=4242, euid=7, effective="280000", uid_map=[0, 7, 1]))
    edit(folder, lambda d: d.update(scan_ioctl=True))
    (folder / "config.gz").write_bytes(gzip.compress(b"CONFIG_KSM=y\n"))
    (folder / "later" / "uptime").write_text("99.25 1\n")

    def not_here(*_: object) -> Any:
        raise AssertionError("this machine was asked")

    for name in ("platform.uname", "os.sysconf", "os.cpu_count", "os.geteuid"):
        monkeypatch.setattr(f"vmprobe.sources.host.{name}", not_here)
    monkeypatch.setattr("vmprobe.collect.place.stale_walk_end", not_here)
    monkeypatch.setattr("vmprobe.collect.walks.group_by_kcmp", not_here)
    manifest = replay(folder).manifest
    about = manifest["host"]
    assert {key: about[key] for key in facts} == facts
    assert about["config"]["KSM"] is True
    assert about["config"]["MEM_SOFT_DIRTY"] is False
    assert manifest["time"] == {**times, "uptime_seconds": 99.25}
    assert manifest["program"]["pid"] == 4242
    assert manifest["privileges"] == {
        "euid": 7, "capabilities": ["CAP_SYS_PTRACE", "CAP_SYS_ADMIN"], "initial_userns": False,
    }  # fmt: skip
    assert manifest["scan_ioctl"] == {"supported": True, "stale_walk_end": None}
    assert manifest["replayed"] == {"format": [1, 1]}


def test_the_page_size_that_counts_is_the_recordings(folder: Path, tmp_path: Path) -> None:
    edit(folder, lambda d: d["host"].update(page_size=8192))
    text = (tmp_path / "proc" / str(pid_of(tmp_path / "proc")) / "maps").read_text()
    offsets = [int(line.split()[2], 16) // 8192 for line in text.splitlines()]
    assert replay(folder).table("vmas").column("pgoff").tolist() == offsets


def test_a_build_configuration_of_this_machine_is_not_taken(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def guarded(path: Any, *arguments: Any, **options: Any) -> Any:
        assert not str(path).startswith("/boot"), "this machine's"
        return open(path, *arguments, **options)

    monkeypatch.setattr("vmprobe.sources.host.open", guarded, raising=False)
    assert replay(folder).manifest["host"]["config"] is None


def test_a_refusal_that_the_recorder_met_is_met_again(folder: Path, tmp_path: Path) -> None:
    pid = str(pid_of(tmp_path / "proc"))
    for name in ("kpageflags", "zoneinfo"):
        (folder / name).unlink()
    shutil.rmtree(folder / "sysfs")
    for name in ("maps", "pagemap", "pagemap.runs"):
        (folder / pid / name).unlink()
    errors = [
        ["kpageflags", 13, "Permission denied"],
        [f"{pid}/maps", 13, "Permission denied"],
        ["4711", 3, "No such process"],
        ["sysfs/cgroups.json", 1, "Operation not permitted"],
    ]
    edit(folder, lambda d: d.update(errors=errors))
    edit(folder, lambda d: d["recorder"].update(effective="0"))
    snapshot = replay(folder)
    unread = {entry["what"]: (entry["reason"], entry["needs"]) for entry in snapshot.manifest["unread"]}
    assert unread["kpageflags"] == ("Permission denied", "root, or CAP_DAC_READ_SEARCH")
    assert unread["memory of processes"] == ("Permission denied", "the same user, or CAP_SYS_PTRACE")
    assert unread["zoneinfo"] == ("No such file or directory", None), "taken out, and nobody noted why"
    assert unread["cgroups"][0] == "Operation not permitted"
    assert dict(snapshot.table("tasks").rows("pid", "error")) == {
        int(pid): "Permission denied", 4711: "vanished while it was read",
    }  # fmt: skip
    edit(folder, lambda d: d["recorder"].update(effective="000001ffffffffff"))
    held = {entry["what"]: entry["needs"] for entry in replay(folder).manifest["unread"]}
    assert "more than the capabilities held" in held["kpageflags"]


def test_freezing_what_does_not_run_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a recording"):
        replay(folder, freeze=True, pids=(pid_of(tmp_path / "proc"),))
    assert run(["snapshot", "--procfs", str(folder), "--pid", "1", "--freeze"]) == 2


def test_a_live_host_is_not_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = lay_out("6.12-1node", tmp_path)
    assert take(Options(procfs=str(root), sysfs=str(tmp_path))).manifest["replayed"] is None
    assert run(["show", "--procfs", str(root)]) == 0
    shown = capsys.readouterr().out
    assert "replayed" not in shown
    assert "taken now, not saved" in shown
    assert run(["show", "--procfs", str(recorded(root))]) == 0
    shown = capsys.readouterr().out
    assert "replayed now, not saved" in shown
    assert "from a recording, format 1.1" in shown


def test_settings_come_from_the_recording_unless_told_otherwise(folder: Path, tmp_path: Path) -> None:
    def thp(**choices: Any) -> str | None:
        found = replay(folder, **choices).table("counters").rows("source", "name", "text")
        return next((text for source, name, text in found if (source, name) == ("thp", "enabled")), None)

    assert thp() == "always [madvise] never"
    assert thp(sysfs=str(tmp_path / "nowhere")) is None

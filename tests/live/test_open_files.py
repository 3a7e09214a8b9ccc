"""Open files on the live kernel: what a child opened is what the snapshot says, and costs little."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from lab import record
from vmprobe.collect import Options, take

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vmprobe.tables import Snapshot

pytestmark = pytest.mark.live
PAGE = os.sysconf("SC_PAGE_SIZE")


def of(pid: int, **choices: Any) -> Snapshot:
    return take(Options(pids=(pid,), frames=False, **choices))


def rows(snapshot: Snapshot) -> dict[int, dict[str, Any]]:
    names = ("fd", "target", "dev", "inode", "fstype", "size_bytes", "allocated_bytes", "info")
    return {row[0]: dict(zip(names, row, strict=True)) for row in snapshot.table("fds").rows(*names)}


@pytest.mark.parametrize("freeze", [False, True])
def test_files_of_every_kind(start: Callable[..., Any], tmp_path: Path, freeze: bool) -> None:
    child = start("files", str(tmp_path))
    facts = child.facts
    snapshot = of(child.pid, freeze=freeze)
    assert snapshot.table("tasks").column("frozen").tolist() == [freeze]
    found = rows(snapshot)

    memfd = found[facts["memfd"]]
    assert memfd["target"] == "/memfd:one of ours (deleted)"
    assert memfd["fstype"] == "tmpfs"
    assert (memfd["size_bytes"], memfd["allocated_bytes"]) == (PAGE * 16, PAGE * 3)
    vmas = list(snapshot.table("vmas").rows("dev", "inode", "name"))
    assert (memfd["dev"], memfd["inode"], memfd["target"]) in vmas, (
        "a VMA and an open file are one by dev:inode"
    )

    regular = found[facts["regular"]]
    at = os.stat(tmp_path / "regular")
    assert regular["inode"] == at.st_ino
    assert regular["target"] == str(tmp_path / "regular")
    if regular["fstype"] not in {"tmpfs", "ramfs"}:
        assert regular["size_bytes"] is None, "its server is not asked"

    ends = [found[fd] for fd in facts["pipe"]]
    assert {end["fstype"] for end in ends} == {"pipefs"}
    assert ends[0]["inode"] == ends[1]["inode"] == facts["pipe_inode"]
    assert facts["socket"] not in found
    assert facts["null"] not in found
    assert facts["eventfd"] not in found
    if facts["huge"] is not None:
        huge = found[facts["huge"]]
        assert (huge["fstype"], huge["allocated_bytes"]) == ("hugetlbfs", 0)
    if facts["shm"] is not None:
        shm = found[facts["shm"]]
        assert (shm["fstype"], shm["size_bytes"], shm["allocated_bytes"]) == ("tmpfs", PAGE * 2, PAGE * 2)


def test_a_segment_that_nobody_attached(start: Callable[..., Any]) -> None:
    child = start("segment")
    if child.facts["shmid"] is None:
        pytest.skip("this kernel has no System V shared memory")
    names = ("size_bytes", "nr_attached", "rss_bytes", "creator_pid", "uid")
    found = {shmid: row for shmid, *row in of(child.pid).table("sysv_shm").rows("shmid", *names)}
    assert found[child.facts["shmid"]] == [PAGE * 8, 0, PAGE * 3, child.pid, os.getuid()]
    child.ask()
    table = of(child.pid).table("sysv_shm")
    assert child.facts["shmid"] not in table.column("shmid").tolist()


def test_locked_memory_and_threads_of_the_machine(start: Callable[..., Any]) -> None:
    child = start("quiet")
    snapshot = of(child.pid)
    (sizes,) = snapshot.table("tasks").rows("vm_lck_bytes", "vm_pin_bytes", "hugetlb_bytes")
    assert sizes == (0, 0, 0)
    values = {
        row[:2]: row[2:] for row in snapshot.table("counters").rows("source", "name", "value", "value_after")
    }
    listed = sum(name.isdecimal() for name in os.listdir("/proc"))
    assert all(nr > listed // 2 for nr in values["loadavg", "nr_threads"])


def test_a_recording_tells_the_same(
    start: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record.Recorder, "frames", lambda *_: None)
    (tmp_path / "files").mkdir()
    child = start("files", str(tmp_path / "files"))
    folder = tmp_path / "host.recording"
    assert record.main([str(folder), "--pid", str(child.pid)]) == 0
    before, after = rows(of(child.pid)), rows(take(Options(procfs=str(folder), frames=False)))
    assert child.facts["memfd"] in before
    assert after == before


def test_of_a_socket_only_the_link_is_read(start: Callable[..., Any]) -> None:
    child = start("sockets", "400")
    snapshot = of(child.pid)
    assert child.facts["nr_open"] >= 400
    costs = {source["name"]: source for source in snapshot.manifest["sources"]}
    assert costs["fds"]["reads"] < child.facts["nr_open"] + 100, "a link each, and nothing behind it"

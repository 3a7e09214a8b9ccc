"""lab/record.py on the running kernel: a replay is the snapshot of that moment, or nothing is left."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import struct
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


def rows(snapshot: Snapshot) -> dict[str, list[Any]]:
    """Return processes, VMAs and entries; of these what no neighbour changes (who else maps the page)."""
    columns = ("vpn", "nr_pages", "mm", "kind", "pfn", "swap_type", "swap_offset", "file", "uffd_wp")
    entries: list[Any] = []
    for vpn, nr, mm, kind, pfn, *known in snapshot.table("mappings").rows(*columns):
        entries += [(vpn + i, mm, kind, None if pfn is None else pfn + i, *known) for i in range(nr)]
    texts = {name: list(snapshot.table(name).rows()) for name in ("tasks", "vmas", "fds")}
    return {**texts, "entries": entries}


def recorded(into: Path, *arguments: str) -> Path:
    folder = into / "host.recording"
    assert record.main([str(folder), *arguments]) == 0
    return folder


@pytest.fixture
def no_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the frame words, which are 32 bytes for each page of this host."""
    monkeypatch.setattr(record.Recorder, "frames", lambda *_: None)


@pytest.mark.parametrize("smaps", [False, True])
def test_a_quiet_process_is_replayed_as_it_was_photographed(
    start: Callable[..., Any], tmp_path: Path, no_frames: None, smaps: bool
) -> None:
    child = start("quiet")

    def photograph(**where: str) -> dict[str, list[Any]]:
        return rows(take(Options(pids=(child.pid,), frames=False, smaps=smaps, **where)))

    for attempt in range(5):  # the host may move a page of the quietest process
        (tmp_path / str(attempt)).mkdir()
        before = photograph()
        folder = recorded(tmp_path / str(attempt), "--pid", str(child.pid))
        if before == photograph():
            break
    else:
        pytest.skip("this host did not leave the child alone in five attempts")
    assert len(before["entries"]) > 100
    assert photograph(procfs=str(folder)) == before
    # The same comparison sees one bit that differs.
    with (folder / str(child.pid) / "pagemap").open("r+b") as file:
        (word,) = struct.unpack("<Q", file.read(8))
        file.seek(0)
        file.write(struct.pack("<Q", word ^ 1 << 61))
    assert photograph(procfs=str(folder)) != before


@pytest.mark.root
def test_frames_of_a_replay_are_the_words_that_were_recorded(
    start: Callable[..., Any], tmp_path: Path, root_only: None
) -> None:
    child = start("quiet")
    folder = recorded(tmp_path, "--pid", str(child.pid))
    snapshot = take(Options(procfs=str(folder)))
    frames = snapshot.table("frames")
    for name, column in (("kpageflags", "flags"), ("kpagecount", "mapcount"), ("kpagecgroup", "memcg")):
        data = (folder / name).read_bytes()
        assert frames.column(column).tolist() == list(struct.unpack(f"{len(data) // 8}Q", data)), name
    moved = snapshot.manifest["volatility"]
    words = [(folder / look / "kpageflags").read_bytes() for look in ("", "later")]
    assert moved["frames_compared"] == len(words[0]) // 8
    assert (moved["frames_changed"] > 0) == (words[0] != words[1]), "this host was not still"
    # Each frame that a quiet process maps is one that somebody maps.
    pfns = [p + i for p, n in snapshot.table("mappings").rows("pfn", "nr_pages") if p for i in range(n)]
    assert len(pfns) > 32
    zero_page = frames.column("flags")[pfns] >> 24 & 1
    assert ((frames.column("mapcount")[pfns] > 0) | (zero_page == 1)).all()
    cgroups = dict(take(Options(frames=False, pids=(child.pid,))).table("cgroups").rows("inode", "path"))
    assert dict(snapshot.table("cgroups").rows("inode", "path")) == cgroups


def test_what_moves_between_the_looks_moves_in_the_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page of our own, touched after the first look and before the second."""
    area = mmap.mmap(-1, PAGE * 64, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    area.madvise(mmap.MADV_NOHUGEPAGE)
    area[0] = area[PAGE * 63] = 1

    def frames(self: record.Recorder, name: str, target: str) -> None:
        if target == "later/kpageflags":
            area[PAGE * 20] = 1

    monkeypatch.setattr(record.Recorder, "frames", frames)
    folder = recorded(tmp_path, "--pid", str(os.getpid()))
    looks = []
    for look in (folder, folder / "later"):
        text = (look / str(os.getpid()) / "pagemap.runs").read_text().split()
        runs = zip(text[::2], text[1::2], strict=True)
        looks.append({vpn for first, nr in runs for vpn in range(int(first, 16), int(first, 16) + int(nr))})
    vpn = ctypes.addressof(ctypes.c_char.from_buffer(area)) // PAGE + 20
    assert [vpn in look for look in looks] == [False, True]
    snapshot = take(Options(procfs=str(folder)))
    assert snapshot.manifest["volatility"]["entries_changed"] >= 1
    assert snapshot.manifest["replayed"] is not None


def test_a_sparse_tebibyte_is_a_few_kilobytes(
    start: Callable[..., Any], tmp_path: Path, no_frames: None
) -> None:
    child = start("sparse")
    facts = child.facts
    folder = recorded(tmp_path, "--pid", str(child.pid))
    if not json.loads((folder / "recording.json").read_text())["scan_ioctl"]:
        pytest.skip("this kernel has no PAGEMAP_SCAN (before 6.7)")
    place = folder / str(child.pid)
    assert sum(file.stat().st_size for file in place.rglob("pagemap*")) < 1 << 18
    snapshot = take(Options(procfs=str(folder), frames=False))
    found = {}
    for vpn, nr, kind in snapshot.table("mappings").rows("vpn", "nr_pages", "kind"):
        found |= {address * PAGE: kind for address in range(vpn, vpn + nr)}
    inside = {address: kind for address, kind in found.items() if facts["start"] <= address < facts["end"]}
    expected = dict.fromkeys(facts["touched"], "present")
    assert inside == expected | ({facts["guard"]: "guard"} if facts["guard"] is not None else {})
    costs = {source["name"]: source["bytes"] for source in snapshot.manifest["sources"]}
    assert costs["pagemap"] < 4 << 20, "nobody reads the holes"


def test_without_the_ioctl_the_same_is_recorded(
    start: Callable[..., Any], tmp_path: Path, no_frames: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = start("quiet")
    with_scan = recorded(tmp_path, "--pid", str(child.pid))

    def refused(*_: object) -> Any:
        raise OSError(25, "Inappropriate ioctl for device")

    monkeypatch.setattr(record, "scanned", refused)
    (tmp_path / "without").mkdir()
    without = recorded(tmp_path / "without", "--pid", str(child.pid))
    assert json.loads((without / "recording.json").read_text())["scan_ioctl"] is False
    for name in ("pagemap", "pagemap.runs"):
        data = (without / str(child.pid) / name).read_bytes()
        assert data == (with_scan / str(child.pid) / name).read_bytes()
        assert len(data) > 100


def test_more_regions_than_a_call_gives(tmp_path: Path, no_frames: None) -> None:
    """Every other page of 4,000; one call of the ioctl tells of 512 regions."""
    area = mmap.mmap(-1, PAGE * 4000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    area.madvise(mmap.MADV_NOHUGEPAGE)
    for i in range(0, 4000, 2):
        area[i * PAGE] = 1
    first = ctypes.addressof(ctypes.c_char.from_buffer(area)) // PAGE
    folder = recorded(tmp_path, "--pid", str(os.getpid()))
    lines = [line.split() for line in (folder / str(os.getpid()) / "pagemap.runs").read_text().splitlines()]
    inside = [(int(vpn, 16) - first, int(nr)) for vpn, nr in lines if 0 <= int(vpn, 16) - first < 3999]
    assert inside == [(i, 1) for i in range(0, 4000, 2)][: len(inside)]
    assert len(inside) >= 1999, "the last may touch what comes behind"


def test_the_recorder_says_who_it_is(tmp_path: Path, no_frames: None) -> None:
    folder = recorded(tmp_path, "--pid", str(os.getpid()))
    here, replayed = (
        take(Options(pids=(os.getpid(),), procfs=str(p), frames=False)) for p in ("/proc", folder)
    )
    assert replayed.manifest["privileges"] == here.manifest["privileges"]
    assert replayed.manifest["program"] == here.manifest["program"]
    assert replayed.manifest["host"] == here.manifest["host"]
    assert replayed.manifest["time"]["start"] < here.manifest["time"]["start"]


def test_a_zombie_leader_is_recorded_through_a_live_thread(
    start: Callable[..., Any], tmp_path: Path, no_frames: None
) -> None:
    child = start("zombie_leader")
    folder = recorded(tmp_path, "--pid", str(child.pid))
    assert not (folder / str(child.pid) / "maps").exists()
    snapshot = take(Options(procfs=str(folder), frames=False))
    assert list(snapshot.table("tasks").rows("state", "error")) == [("Z", None)]
    first = child.facts["start"] // PAGE
    vpns = {v + i for v, n in snapshot.table("mappings").rows("vpn", "nr_pages") for i in range(n)}
    assert set(range(first, first + 4)) <= vpns
    assert snapshot.manifest["volatility"]["entries_changed"] == 0
    assert snapshot.manifest["volatility"]["entries_compared"] > 100


def test_lists_of_vmas_are_whole_while_they_change(
    start: Callable[..., Any], tmp_path: Path, no_frames: None
) -> None:
    child = start("churn")
    for i in range(10):
        (tmp_path / str(i)).mkdir()
        folder = recorded(tmp_path / str(i), "--pid", str(child.pid))
        snapshot = take(Options(procfs=str(folder), frames=False))
        assert list(snapshot.table("tasks").rows("error")) == [(None,)]


@pytest.mark.slow
def test_forks_and_exits_do_not_stop_it(start: Callable[..., Any], tmp_path: Path) -> None:
    storms = [start("storm", "200"), start("storm", "200")]
    folder = recorded(tmp_path)
    for storm in storms:
        storm.finish()
    snapshot = take(Options(procfs=str(folder)))
    mms = set(snapshot.table("vmas").column("mm").tolist())
    tasks = list(snapshot.table("tasks").rows("pid", "mm", "kernel_thread", "error"))
    assert all(mm in mms or kernel or error for _, mm, kernel, error in tasks)
    noted = {row[0] for row in json.loads((folder / "recording.json").read_text())["errors"]}
    assert all((folder / str(pid)).is_dir() or str(pid) in noted for pid, *_ in tasks)


def test_only_what_a_snapshot_reads_is_read(
    start: Callable[..., Any], tmp_path: Path, no_frames: None
) -> None:
    child = start("quiet")
    folder = recorded(tmp_path, "--pid", str(child.pid))
    names = {path.name for path in (folder / str(child.pid)).rglob("*")}
    files = {"stat", "status", "cgroup", "maps", "smaps", "ksm_stat", "fds.json", "pagemap", "pagemap.runs"}
    assert names == files
    modes = {path.stat().st_mode & 0o777 for path in (folder, *folder.rglob("*"))}
    assert modes == {0o700, 0o600}

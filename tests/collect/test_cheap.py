"""A snapshot that costs next to nothing: what it opens, what it has, and why it has no more."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.recorded import PROC, add_task, photograph
from tests.recordings import lay_out, recorded
from vmprobe.analyses.evidence import why_missing
from vmprobe.collect import Options, take
from vmprobe.errors import UsageError
from vmprobe.store import load, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILES = {
    "recording.json", "version", "meminfo", "config.gz", "buddyinfo", "zoneinfo", "vmstat", "stat", "loadavg",
    "iomem", "swaps", "uptime",
}  # fmt: skip
"""Files of /proc that it may open; all of them cost the kernel little, whatever the host's size."""
FOLDERS = {"self", "sys"}

watched: list[list[str]] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if watched and event in {"open", "os.listdir", "os.scandir"}:
        watched[-1].append(str(arguments[0]))


@pytest.fixture
def opened() -> Iterator[list[str]]:
    """Every path that is opened or listed; an audit hook cannot be taken away, only left idle."""
    if not getattr(sys, "_vmprobe_watches", False):
        sys.addaudithook(_watch)
        sys._vmprobe_watches = True  # type: ignore[attr-defined]
    watched.append([])
    yield watched[-1]
    watched.pop()


def below(root: Path, opened: list[str]) -> set[str]:
    """The first word of each path below `root`; an empty one for the folder itself."""
    inside = [path.removeprefix(str(root)) for path in opened if path.startswith(str(root))]
    return {path.strip("/").partition("/")[0] for path in inside}


def test_nothing_is_opened_that_walks_lists_tables_or_processes(root: Path, opened: list[str]) -> None:
    take(Options.cheap(procfs=str(root), sysfs=str(root.parent / "sys")))
    assert "buddyinfo" in below(root, opened)
    assert below(root, opened) <= FILES | FOLDERS
    assert not any("cgroup" in path for path in opened), "without frames and processes nothing is charged"


def test_the_watch_sees_what_a_whole_snapshot_opens(root: Path, opened: list[str]) -> None:
    photograph(root)
    assert {"", "kpageflags", "pagetypeinfo", "sysvipc"} <= below(root, opened)
    assert any(name.isdecimal() for name in below(root, opened))
    assert any("cgroup" in path for path in opened)


@pytest.mark.live
def test_nor_on_this_host(opened: list[str]) -> None:
    from pathlib import Path

    take(Options.cheap())
    assert below(Path("/proc"), opened) <= FILES | FOLDERS
    assert "cgroup" not in below(Path("/sys/fs"), opened)


def test_what_is_there_is_the_same_and_what_is_not_has_its_reason(root: Path, tmp_path: Path) -> None:
    whole, cheap = photograph(root), take(Options.cheap(procfs=str(root), sysfs=str(root.parent / "sys")))
    assert set(cheap.tables()) == {"zones", "free_areas", "counters", "resources", "swap_areas"}
    for name in cheap.tables():
        assert list(cheap.table(name).rows()) == list(whole.table(name).rows()), name
    for table, file in (("frames", "kpageflags"), ("tasks", "processes"), ("mappings", "pagemap"),
                        ("vmas", "maps"), ("pageblocks_by_type", "pagetypeinfo")):  # fmt: skip
        assert why_missing(cheap, table, file).startswith("not in this snapshot: "), table
    manifest = cheap.manifest
    assert {
        name: manifest["options"][name] for name in ("processes", "frames", "by_type", "fds")
    } == dict.fromkeys(("processes", "frames", "by_type", "fds"), False)
    assert manifest["pageblock_order"] is None
    assert manifest["scan_ioctl"] == {"supported": None, "stale_walk_end": None}
    moved = manifest["volatility"]
    assert [moved[name] for name in ("entries_compared", "frames_compared", "processes_appeared")] == [
        None
    ] * 3
    write(cheap, tmp_path / "cheap.vmsnap")
    assert load(tmp_path / "cheap.vmsnap").manifest["options"]["processes"] is False


def test_frames_without_processes_have_no_owners_and_say_so(root: Path) -> None:
    snapshot = photograph(root, processes=False)
    assert snapshot.has("frames")
    assert snapshot.has("cgroups") or any(entry["what"] == "cgroups" for entry in snapshot.manifest["unread"])
    assert not snapshot.has("tasks")


def test_a_choice_of_processes_that_are_left_out_is_refused() -> None:
    with pytest.raises(UsageError, match="both chosen and left out"):
        Options(pids=(1,), processes=False)


def test_a_recording_of_chosen_processes_is_asked_without_them(tmp_path: Path) -> None:
    laid = lay_out("6.12-1node", tmp_path)
    add_task(PROC / "6.12-1node" / "task", laid, pid=77)
    cheap = take(Options.cheap(procfs=str(recorded(laid, "--pid", "77"))))
    assert cheap.manifest["options"]["pids"] == []
    assert cheap.has("free_areas")

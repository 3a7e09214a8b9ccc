"""Open files of laid out processes: which are kept, what stands behind them, and what is never asked."""

from __future__ import annotations

import errno
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from tests.recorded import PROC, add_task, pid_of
from tests.recordings import lay_out, process, recorded, replay, small
from vmprobe.collect import Options, fd_kinds, open_files, take
from vmprobe.errors import InputError
from vmprobe.sources import fds as sources_fds
from vmprobe.sources.fds import Fds
from vmprobe.sources.meter import Meter
from vmprobe.sources.procfs import Tree

if TYPE_CHECKING:
    from pathlib import Path

    from vmprobe.tables import Snapshot


def photograph(root: Path, **choices: Any) -> Snapshot:
    return take(Options(procfs=str(root), sysfs=str(root.parent / "sys"), frames=False, **choices))


def rows(snapshot: Snapshot) -> dict[int, list[Any]]:
    return {fd: row for _, fd, *row in snapshot.table("fds").rows()}


def unread(snapshot: Snapshot, what: str) -> list[tuple[Any, ...]]:
    keys = ("reason", "needs", "lost", "count")
    return [tuple(e[key] for key in keys) for e in snapshot.manifest["unread"] if e["what"] == what]


def test_what_is_memory_or_leads_to_it_is_kept(root: Path) -> None:
    in_memory = root.parent / "in-memory"
    found = os.stat(in_memory)
    dev = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}"
    snapshot = photograph(root)
    assert set(snapshot.table("fds").column("pid").tolist()) == {pid_of(root)}
    assert rows(snapshot) == {
        1: ["pipe:[812]", None, 812, "pipefs", None, None, None],
        4: ["/srv/data/lib one.so", "fe:00", 77, "ext4", None, None, None],
        5: [str(in_memory), dev, 78, "tmpfs", 5000, found.st_blocks * 512, None],
        7: ["anon_inode:[io_uring]", None, None, "anon_inodefs", None, None,
            "UserBufs: 1\n0: 0x7f0000000000/65536"],
        8: ["anon_inode:bpf-map", None, None, "anon_inodefs", None, None, "map_type: 27\nmap_id: 4711"],
        11: ["/gone/elsewhere", None, 81, None, None, None, None],
    }  # fmt: skip
    assert snapshot.manifest["options"]["fds"] is True


def test_a_socket_is_kept_when_somebody_maps_it(root: Path) -> None:
    maps = root / str(pid_of(root)) / "maps"
    lines = maps.read_bytes().splitlines(keepends=True)
    lines.insert(
        -2, b"7ffff0000000-7ffff0001000 rw-s 00000000 00:09 913                        socket:[913]\n"
    )
    maps.write_bytes(b"".join(sorted(lines, key=lambda line: int(line.split(b"-")[0], 16))))
    assert rows(photograph(root))[3] == ["socket:[913]", None, 913, "sockfs", None, None, None]


def test_no_server_is_asked(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of an ordinary file system may hang whoever asks for its size; none is opened at all."""
    asked = []

    def stat(self: Fds, fd: int) -> Any:
        asked.append(fd)
        return real(self, fd)

    def opening(path: Any, *arguments: Any, **where: Any) -> int:
        assert "fd/" not in str(path) or "fdinfo/" in str(path), path
        return opened(path, *arguments, **where)

    real, opened = Fds.stat, os.open
    monkeypatch.setattr(Fds, "stat", stat)
    monkeypatch.setattr("vmprobe.sources.procfs.os.open", opening)
    photograph(root)
    assert asked == [5, 10], "the file and the folder on tmpfs"


def test_a_file_that_is_closed_meanwhile_is_passed_over(root: Path) -> None:
    folder = root / str(pid_of(root))
    before = rows(photograph(root))
    (folder / "fdinfo" / "7").unlink()
    (root.parent / "in-memory").unlink()
    snapshot = photograph(root)
    assert rows(snapshot) == {fd: row for fd, row in before.items() if fd not in {5, 7}}
    assert not unread(snapshot, "fds")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
def test_a_refusal_is_noted_and_the_others_stand(
    root: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = pid_of(root)
    add_task(PROC / "6.12-1node" / "task", root, pid=77)

    def link(self: Fds, fd: int) -> str:
        if self._folder.pid == 77:
            raise OSError(code, os.strerror(code))
        return real(self, fd)

    real = Fds.link
    monkeypatch.setattr(Fds, "link", link)
    snapshot = photograph(root)
    assert set(snapshot.table("fds").column("pid").tolist()) == {pid}
    needs = "the same user, or CAP_SYS_PTRACE" if code == errno.EACCES else None
    assert unread(snapshot, "fds") == [(os.strerror(code), needs, "fds", 1)]


def test_where_no_process_has_a_list_there_is_no_table(root: Path) -> None:
    shutil.rmtree(root / str(pid_of(root)) / "fd")
    snapshot = photograph(root)
    assert not snapshot.has("fds")
    assert unread(snapshot, "fds") == [("No such file or directory", None, "fds", 1)]


def test_what_was_not_asked_for_is_not_read(root: Path) -> None:
    snapshot = photograph(root, fds=False, sysvipc=False, ksm_stat=False)
    costs = {source["name"] for source in snapshot.manifest["sources"]}
    assert costs.isdisjoint({"fds", "sysvipc", "ksm_stat"})
    assert not snapshot.has("fds")
    assert not snapshot.has("sysv_shm")
    assert snapshot.manifest["tables"]["tasks"]["null_columns"] == dict.fromkeys(
        ("ksm_merging_pages", "ksm_zero_pages"), "ksm_stat was not asked for"
    )
    chosen = {key: snapshot.manifest["options"][key] for key in ("fds", "sysvipc", "ksm_stat")}
    assert not any(chosen.values())
    assert {"fds", "sysvipc", "ksm_stat"} <= {s["name"] for s in photograph(root).manifest["sources"]}


def test_a_process_with_very_many_files_is_cut(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_files, "MAX_FDS", 4)
    snapshot = photograph(root)
    assert set(rows(snapshot)) == {1, 4}
    (note,) = unread(snapshot, "fds")
    assert note[0] == "more than 4 open files: only the first are looked at"


def test_a_pid_with_a_new_owner_has_no_files_here(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def parse(data: bytes, *, file: str) -> Any:
        looks.append(file)
        return real(data, file=file)._replace(start_time=4711)

    real = open_files.parse_stat
    monkeypatch.setattr(open_files, "parse_stat", parse)
    snapshot = photograph(root)
    assert looks
    assert not snapshot.has("fds")


def test_fdinfo_that_makes_no_sense_is_noted_without_its_text(root: Path) -> None:
    (root / str(pid_of(root)) / "fdinfo" / "4").write_text("secret\n")
    (note,) = unread(photograph(root), "fds")
    assert note[0].startswith("fdinfo, line 1: expected `pos:`")
    assert "secret" not in note[0]


def test_memory_figures_of_a_process(root: Path) -> None:
    status = root / str(pid_of(root)) / "status"
    text = status.read_text()
    for name, kib in (("VmLck", 8), ("VmPin", 64), ("HugetlbPages", 2048)):
        lines = [f"{name}:\t{kib:8} kB" if row.startswith(f"{name}:") else row for row in text.splitlines()]
        assert f"{name}:" in text
        text = "\n".join(lines) + "\n"
    status.write_text(text)
    names = ("vm_lck_bytes", "vm_pin_bytes", "hugetlb_bytes", "ksm_merging_pages", "ksm_zero_pages")
    assert list(photograph(root).table("tasks").rows(*names)) == [(8 << 10, 64 << 10, 2 << 20, 5, 4)]


def test_a_kernel_without_ksm_stat_leaves_nulls_with_the_reason(root: Path) -> None:
    (root / str(pid_of(root)) / "ksm_stat").unlink()
    snapshot = photograph(root)
    assert snapshot.manifest["tables"]["tasks"]["null_columns"] == dict.fromkeys(
        ("ksm_merging_pages", "ksm_zero_pages"), "No such file or directory"
    )
    assert unread(snapshot, "ksm_stat") == [("No such file or directory", None, "tasks.ksm_merging_pages", 1)]
    assert not snapshot.table("tasks").has("ksm_merging_pages"), "absent, not zero"
    assert list(snapshot.table("tasks").rows("error")) == [(None,)]


def test_segments_and_threads(root: Path) -> None:
    snapshot = photograph(root)
    assert list(snapshot.table("sysv_shm").rows()) == [
        (0, 0, 8192, 1, 4096, 0, 1000, 301, 302),
        (7, -559038737, 65536, 0, 65536, 4096, 0, 301, 0),
    ]
    found = {
        row[:2]: row[2:] for row in snapshot.table("counters").rows("source", "name", "value", "value_after")
    }
    assert found["loadavg", "nr_threads"] == (86, 86)
    for name, table in (("sysvipc/shm", "sysv_shm"), ("loadavg", "counters")):
        (root / name).unlink()
        assert [e["lost"] for e in photograph(root).manifest["unread"] if e["what"] in name] == [table]


def test_a_recording_without_open_files_is_one_that_was_made_before(tmp_path: Path) -> None:
    folder = small(tmp_path)
    assert replay(folder).has("fds")
    for path in (process(folder) / "fds.json", folder / "internal_mounts.json", process(folder) / "ksm_stat"):
        path.unlink()
    shutil.rmtree(folder / "mountinfo")
    shutil.rmtree(folder / "sysvipc")
    for look in (folder, folder / "later"):
        (look / "loadavg").unlink()
    snapshot = replay(folder)
    assert not snapshot.has("fds")
    assert not snapshot.has("sysv_shm")
    assert {what for what in ("fds", "sysvipc", "ksm_stat", "loadavg") if unread(snapshot, what)} == {
        "fds", "sysvipc", "ksm_stat", "loadavg"
    }  # fmt: skip


def test_mounts_of_the_kernels_own_are_the_recordings(tmp_path: Path) -> None:
    """Their numbers differ from one boot to the next: this machine's say nothing of the recorded one."""
    folder = recorded(lay_out("6.12-1node", tmp_path))
    path = process(folder) / "fds.json"
    document = json.loads(path.read_text())
    info = "pos:\t0\nflags:\t02\nmnt_id:\t4242\nino:\t99\n"
    document["files"] = [[3, "/memfd:x (deleted)", info, [0o100777, 0, 1, 1 << 20, 16]]]
    path.write_text(json.dumps(document))
    (folder / "internal_mounts.json").write_text('[[4242, "tmpfs"]]')
    assert rows(replay(folder)) == {
        3: ["/memfd:x (deleted)", "00:01", 99, "tmpfs", 1 << 20, 8192, None]
    }  # fmt: skip
    (folder / "internal_mounts.json").write_text("[]")
    assert rows(replay(folder)) == {3: ["/memfd:x (deleted)", None, 99, None, None, None, None]}


DAMAGE = {
    "no JSON": ("fds.json", "{"),
    "a list": ("fds.json", "[]"),
    "no files": ("fds.json", '{"mounts": "mnt:[9]"}'),
    "a path": ("fds.json", '{"mounts": "../../etc", "files": []}'),
    "a link that is none": ("fds.json", '{"mounts": "mnt:[9]", "files": [[3, 4, null, null]]}'),
    "a descriptor below 0": ("fds.json", '{"mounts": "mnt:[9]", "files": [[-3, "x", null, null]]}'),
    "a short stat": ("fds.json", '{"mounts": "mnt:[9]", "files": [[3, "x", null, [1, 2, 3, 4]]]}'),
    "a short row": ("fds.json", '{"mounts": "mnt:[9]", "files": [[3, "x", null]]}'),
    "no row": ("fds.json", '{"mounts": "mnt:[9]", "files": [null]}'),
    "a mount that is text": ("internal_mounts.json", '[["0", "tmpfs"]]'),
    "no list": ("internal_mounts.json", "{}"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_list_of_files_is_told(tmp_path: Path, name: str) -> None:
    folder = small(tmp_path)
    file, text = DAMAGE[name]
    ((process(folder) if file == "fds.json" else folder) / file).write_text(text)
    with pytest.raises(InputError, match=r"(fds|internal_mounts)\.json: ") as caught:
        replay(folder)
    assert caught.value.hint is not None


@pytest.mark.parametrize(
    ("link", "worth"),
    [
        ("/memfd:x (deleted)", True), ("/SYSV00000007 (deleted)", True), ("/dev/zero (deleted)", True),
        ("/dmabuf:", True), ("/dev/kvm", True), ("/dev/dri/renderD128", True), ("/srv/file", True),
        ("pipe:[3]", True), ("anon_inode:kvm-vm", True), ("anon_inode:kvm-vcpu:0", True),
        ("anon_inode:[perf_event]", True), ("anon_inode:[userfaultfd]", True), ("/secretmem (deleted)", True),
        ("/dev/null", False), ("/dev/pts/3", False), ("/dev/tty", False), ("/dev/urandom", False),
        ("socket:[3]", False), ("anon_inode:[eventfd]", False), ("anon_inode:[pidfd]", False),
        ("anon_inode:inotify", False), ("mnt:[4026531841]", False), ("net:[4026531840]", False),
    ],
)  # fmt: skip
def test_links_that_are_worth_a_look(link: str, worth: bool) -> None:
    assert fd_kinds.worth_a_look(link, ()) is worth


REGULAR, DEVICE, FOLDER = 0o100644, 0o020666, 0o040755


@pytest.mark.parametrize(
    ("link", "mode", "fstype", "kept"),
    [
        ("/srv/x", None, "nfs4", True), ("/x", None, None, True), ("/proc/1/maps", None, "proc", False),
        ("/sys/kernel/x", None, "sysfs", False), ("/dev/shm/x", REGULAR, "tmpfs", True),
        ("/dev/shm", FOLDER, "tmpfs", False), ("/dev/kvm", DEVICE, "devtmpfs", True),
        ("/dev/kvm", DEVICE, "tmpfs", True), ("/dev/rfkill", DEVICE, "devtmpfs", False),
        ("/dev/uio0", DEVICE, "devtmpfs", True), ("/dev/odd-file", REGULAR, "devtmpfs", True),
    ],
)  # fmt: skip
def test_files_that_are_kept(link: str, mode: int | None, fstype: str | None, kept: bool) -> None:
    assert fd_kinds.is_kept(link, mode, fstype, {"/dev/uio0"}) is kept


def test_huge_page_sizes_that_the_kernel_lacks_are_passed_over(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def memfd_create(name: str, flags: int) -> int:
        made.append(flags)
        if flags & os.MFD_HUGETLB:
            raise OSError(errno.ENODEV, "no such size")
        return real(name, flags)

    real = os.memfd_create
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(sources_fds.os, "memfd_create", memfd_create)
    assert list(sources_fds.internal_mounts(Tree(str(root), Meter())).values()) == ["tmpfs"]
    assert len(made) == 1 + len(sources_fds.HUGE_ORDERS)
    assert len(os.listdir("/proc/self/fd")) == before

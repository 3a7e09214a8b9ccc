"""What a redacted snapshot keeps: the class of every name, and which names, files and segments are one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.recorded import pid_of, tree
from vmprobe.collect import Options, take
from vmprobe.collect.redact import Redactor

if TYPE_CHECKING:
    from pathlib import Path

HASH = "[0-9a-f]{12}"


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("/memfd:secret (deleted)", rf"/memfd:{HASH} \(deleted\)"),
        ("/memfd:a/secret: [x] (deleted)", rf"/memfd:{HASH} \(deleted\)"),
        ("/memfd: (deleted)", r"/memfd: \(deleted\)"),
        ("/SYSV00ba5e00 (deleted)", r"/SYSV(?!00ba5e00)[0-9a-f]{8} \(deleted\)"),
        ("/SYSV00000000 (deleted)", r"/SYSV00000000 \(deleted\)"),
        ("socket:[4711]", r"socket:\[(?!4711)[0-9]+\]"),
        ("pipe:[4711]", r"pipe:\[(?!4711)[0-9]+\]"),
        ("anon_inode:bpf-map", "anon_inode:bpf-map"),
        ("anon_inode:[io_uring]", r"anon_inode:\[io_uring\]"),
        ("anon_inode:[perf_event]", r"anon_inode:\[perf_event\]"),
        ("anon_inode:kvm-vcpu:0", "anon_inode:kvm-vcpu:0"),
        ("[anon:secret heap]", rf"\[anon:{HASH}\]"),
        ("[anon_shmem:secret]", rf"\[anon_shmem:{HASH}\]"),
        ("[heap]", r"\[heap\]"),
        ("[vvar_vclock]", r"\[vvar_vclock\]"),
        ("/dmabuf:secret", rf"/dmabuf:{HASH}"),
        ("/dmabuf:", "/dmabuf:"),
        ("/dev/shm/secret", rf"/dev/shm/{HASH}"),
        ("/dev/shm/secret (deleted)", rf"/dev/shm/{HASH} \(deleted\)"),
        ("/dev/hugepages/a/secret", rf"/dev/hugepages/{HASH}/{HASH}"),
        ("/dev/dri/renderD128", rf"/dev/dri/{HASH}"),
        ("/dev/kvm", "/dev/kvm"),
        ("/dev/zero (deleted)", r"/dev/zero \(deleted\)"),
        ("/dev/secret0", rf"/dev/{HASH}"),
        ("/dev/memory-of-secret", rf"/dev/{HASH}"),
        ("/secretmem (deleted)", r"/secretmem \(deleted\)"),
        ("/[aio] (deleted)", r"/\[aio\] \(deleted\)"),
        ("/anon_hugepage (deleted)", r"/anon_hugepage \(deleted\)"),
        ("/srv/secret file", rf"/{HASH}/{HASH}"),
        ("/srv/[anon:x]", rf"/{HASH}/{HASH}"),
        ("", ""),
    ],
)
def test_the_class_of_a_name_stays_and_the_rest_does_not(name: str, pattern: str) -> None:
    redactor = Redactor()
    hashed = redactor.file_name(name)
    assert re.fullmatch(pattern, hashed), hashed
    assert redactor.file_name(name) == hashed, "equal names stay equal"
    if re.search("secret(?!mem)|4711|00ba5e00", name):
        assert hashed != Redactor().file_name(name), "a key of its own"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("/memfd:a (deleted)", "/memfd:b (deleted)"), ("/SYSV00000001", "/SYSV00000002"),
        ("socket:[1]", "socket:[2]"), ("[anon:a]", "[anon:b]"), ("/dev/shm/a", "/dev/shm/b"),
        ("/dmabuf:a", "/dmabuf:b"), ("/a/b", "/b/a"), ("/dev/a", "/dev/b"),
    ],
)  # fmt: skip
def test_different_names_stay_different(first: str, second: str) -> None:
    redactor = Redactor()
    assert redactor.file_name(first) != redactor.file_name(second)


def test_the_key_of_a_segment_is_the_one_its_vmas_are_named_after() -> None:
    redactor = Redactor()
    for key in (1, -559038737, 0x7FFFFFFF):
        name = f"/SYSV{key & 0xFFFFFFFF:08x} (deleted)"
        assert redactor.file_name(name) == f"/SYSV{redactor.segment_key(key):08x} (deleted)"
    assert redactor.segment_key(0) == 0


def test_lines_of_fdinfo_keep_what_is_counted() -> None:
    redactor = Redactor()
    text = "UserBufs: 1\n0: 0x7f00/4096\nmap_type: 27\nmap_id: 7\nexp_name: system\nsize: 4096\ncount: 2\n"
    text += "drm-driver: amdgpu\ndrm-pdev: 0000:03:00.0\ndrm-resident-vram: 12 KiB"
    before, after = text.split("\n"), redactor.info(text).split("\n")
    changed = [line for line, hashed in zip(before, after, strict=True) if line != hashed]
    assert changed == ["map_id: 7", "drm-pdev: 0000:03:00.0"]
    assert after[3] == f"map_id: {redactor.number(7)}", "one map is one map in every process"
    assert re.fullmatch(f"drm-pdev: {HASH}", after[8])


def columns(snapshot: Any, table: str, *names: str) -> list[tuple[Any, ...]]:
    return list(snapshot.table(table).rows(*names))


def test_a_redacted_snapshot_joins_as_the_plain_one_does(tmp_path: Path) -> None:
    """Equal inodes of VMAs, open files and segments are equal after it; what is unknown stays unknown."""
    root = tree("6.12-1node", tmp_path)
    maps = root / str(pid_of(root)) / "maps"
    lines = maps.read_bytes().splitlines(keepends=True)
    for place, (inode, name) in enumerate(
        [(7, b"/SYSVdeadbeef (deleted)"), (78, b"/in-memory"), (913, b"socket:[913]")]
    ):
        start = 0x7FFFF0000000 + (place << 20)
        lines.append(b"%x-%x rw-s 00000000 00:09 %d      %s\n" % (start, start + 4096, inode, name))
    maps.write_bytes(b"".join(sorted(lines, key=lambda line: int(line.split(b"-")[0], 16))))

    plain, redacted = (
        take(Options(procfs=str(root), sysfs=str(tmp_path / "sys"), frames=False, redact=redact))
        for redact in (False, True)
    )
    numbers: dict[int, int] = {}
    names: dict[str, str] = {}
    for table, number, name in (
        ("vmas", "inode", "name"),
        ("fds", "inode", "target"),
        ("sysv_shm", "shmid", None),
    ):
        wanted = (number,) if name is None else (number, name)
        pairs = zip(columns(plain, table, *wanted), columns(redacted, table, *wanted), strict=True)
        for before, after in pairs:
            assert (before[0] is None) == (after[0] is None)
            if before[0] is not None:
                assert numbers.setdefault(before[0], after[0]) == after[0]
            if name is not None:
                assert names.setdefault(before[1], after[1]) == after[1]
    assert len(set(numbers.values())) == len(numbers)
    assert len(set(names.values())) == len(names)
    assert {7, 78, 913} <= numbers.keys()
    shared = columns(redacted, "fds", "target", "inode")
    assert (names["socket:[913]"], numbers[913]) in shared, "a link and an inode are hashed alike"
    same = ("pid", "fd", "dev", "fstype", "size_bytes", "allocated_bytes")
    assert columns(plain, "fds", *same) == columns(redacted, "fds", *same)
    (key,) = {k for (k,) in columns(redacted, "sysv_shm", "key")} - {0}
    assert names["/SYSVdeadbeef (deleted)"] == f"/SYSV{key:08x} (deleted)"
    same = ("size_bytes", "nr_attached", "rss_bytes", "swap_bytes", "uid", "creator_pid", "last_pid")
    assert columns(plain, "sysv_shm", *same) == columns(redacted, "sysv_shm", *same)

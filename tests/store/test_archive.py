from __future__ import annotations

import gc
import io
import os
import shutil
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from vmprobe.errors import SnapshotError
from vmprobe.store import load, write

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vmprobe.tables import Snapshot


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def folder(sample: Snapshot, tmp_path: Path) -> Path:
    write(sample, tmp_path / "a.vmsnap")
    return tmp_path / "a.vmsnap"


@pytest.mark.parametrize("layout", ["folder", "inside", "dotted", "pax", "gnu", "ustar"])
@pytest.mark.parametrize("compressed", [False, True])
def test_archives(
    sample: Snapshot, folder: Path, temporary: Path, rows_of: Any, *, layout: str, compressed: bool
) -> None:
    path = folder.with_name("a.tar")
    where = {"folder": ["-C", folder.parent, folder.name], "inside": ["-C", folder, "."]}
    where["dotted"] = ["-C", folder.parent, f"./{folder.name}"]
    form = [f"--format={layout}"] if layout not in where else []
    subprocess.run(["tar", *form, "-cf", path, *where.get(layout, where["folder"])], check=True)
    if compressed:
        path.write_bytes(zstd.compress(path.read_bytes()))
    snapshot = load(path)
    assert rows_of(snapshot) == rows_of(sample)
    assert snapshot.path == str(path)
    del snapshot
    gc.collect()
    assert list(temporary.iterdir()) == []


def add(archive: tarfile.TarFile, name: str, data: bytes = b"x", **more: Any) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for key, value in more.items():
        setattr(member, key, value)
    archive.addfile(member, io.BytesIO(data))


ATTACKS: list[tuple[str, Callable[[tarfile.TarFile], None], str]] = [
    ("climb", lambda t: add(t, "../evil.parquet"), "holds '../evil.parquet', which is not part"),
    ("climb twice", lambda t: add(t, "a/../../evil.parquet"), "which is not part"),
    ("absolute", lambda t: add(t, "/evil.parquet"), "which is not part"),
    ("other", lambda t: add(t, "a.vmsnap/run.sh"), "which is not part"),
    ("deep", lambda t: add(t, "a.vmsnap/b/c/x.parquet"), "which is not part"),
    (
        "link",
        lambda t: add(t, "a.vmsnap/x.parquet", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        "not part",
    ),
    (
        "hard",
        lambda t: add(t, "a.vmsnap/x.parquet", b"", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
        "not part",
    ),
    ("fifo", lambda t: add(t, "a.vmsnap/x.parquet", b"", type=tarfile.FIFOTYPE), "not part"),
    ("device", lambda t: add(t, "a.vmsnap/x.parquet", b"", type=tarfile.CHRTYPE), "not part"),
    ("twice", lambda t: add(t, "a.vmsnap/zones.parquet"), "holds zones.parquet twice"),
    ("two", lambda t: add(t, "b.vmsnap/zones.parquet"), "holds more than one snapshot"),
    (
        "pax",
        lambda t: add(t, "x", b"0" * (3 << 20), type=tarfile.XHDTYPE),
        "header of the archive is too large",
    ),
    ("bytes", lambda t: add(t, b"a/\xff.parquet".decode(errors="surrogateescape")), "not part"),
]


@pytest.mark.parametrize(("attack", "reason"), [a[1:] for a in ATTACKS], ids=[a[0] for a in ATTACKS])
def test_attacks(folder: Path, temporary: Path, attack: Any, reason: str) -> None:
    path = folder.with_name("a.tar")
    with tarfile.open(path, "w") as archive:
        archive.add(folder, folder.name)
        attack(archive)
    before = sorted(p.name for p in folder.parent.iterdir())
    with pytest.raises(SnapshotError, match=reason) as caught:
        load(path)
    assert "\n" not in caught.value.message
    assert sorted(p.name for p in folder.parent.iterdir()) == before
    assert list(temporary.iterdir()) == []


def test_zstd_bomb(folder: Path, temporary: Path) -> None:
    path = folder.with_name("a.tar.zst")
    with zstd.ZstdFile(path, "w") as file, tarfile.open(fileobj=file, mode="w|") as archive:
        member = tarfile.TarInfo("a.vmsnap/zones.parquet")
        member.size = 1 << 28
        with open("/dev/zero", "rb") as zeros:
            archive.addfile(member, zeros)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(SnapshotError, match="unpacks to more than 1048576 bytes"):
        load(path, max_bytes=1 << 20)
    assert list(temporary.iterdir()) == []


def test_sparse(folder: Path, temporary: Path) -> None:
    """A hole of a terabyte takes no room in a tar and must take none here."""
    (folder / "zones.parquet").unlink()
    with (folder / "zones.parquet").open("wb") as file:
        file.truncate(1 << 40)
    path = folder.with_name("a.tar")
    subprocess.run(["tar", "-C", folder.parent, "--sparse", "-cf", path, folder.name], check=True)
    with pytest.raises(SnapshotError, match="not part of a snapshot"):
        load(path)


def test_damaged_archives(folder: Path, temporary: Path) -> None:
    """Cut or changed anywhere: an error, or the same snapshot."""
    path = folder.with_name("a.tar")
    with tarfile.open(path, "w") as archive:
        archive.add(folder, folder.name)
    nr_refused = 0
    for compress in (bytes, zstd.compress):
        whole = compress(path.read_bytes())
        for at in range(0, len(whole), len(whole) // 37):
            for damage in (whole[:at], whole[:at] + bytes([whole[at] ^ 0x21]) + whole[at + 1 :]):
                folder.with_name("b").write_bytes(damage)
                try:
                    load(folder.with_name("b"))
                except SnapshotError:
                    nr_refused += 1
    assert nr_refused > 100
    gc.collect()
    assert list(temporary.iterdir()) == []


def test_other_files(tmp_path: Path) -> None:
    for content in (b"", b"PAR1" * 300, b"\x28\xb5\x2f\xfd", os.urandom(4096)):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(SnapshotError, match=r"x: (is neither a folder|holds no manifest)"):
            load(tmp_path / "x")


def test_no_room_to_unpack(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder.with_name("a.tar")
    with tarfile.open(path, "w") as archive:
        archive.add(folder, folder.name)
    monkeypatch.setattr("tempfile.tempdir", str(folder.parent / "none"))
    with pytest.raises(SnapshotError, match="No such file or directory"):
        load(path)
    shutil.rmtree(folder)


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SnapshotError, match="neither a folder nor a file"):
        load(tmp_path / "pipe")

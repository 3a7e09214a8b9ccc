"""Recordings that are not whole, or not made by us: one line with the file, and no memory without bound."""

from __future__ import annotations

import errno
import os
import shutil
import struct
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lab import record
from tests.collect.test_faults import Faults
from tests.recorded import put
from tests.recordings import edit, lay_out, process, replay, small
from vmprobe.cli.main import run
from vmprobe.errors import InputError, VmprobeError

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return small(tmp_path)


def replaced(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = process(folder) / name if not name.startswith("/") else folder / name[1:]
        path.write_bytes(change(path.read_bytes()))

    return damage


def exchanged(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = process(folder) / "maps"
        path.unlink()
        make(path)

    return damage


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "pagemap cut": (replaced("pagemap", lambda d: d[:-8]), "pagemap.runs, line"),
    "pagemap cut in a word": (replaced("pagemap", lambda d: d[:-3]), "pagemap.runs, line"),
    "pagemap longer": (replaced("pagemap", lambda d: d + d[-8:]), "pagemap.runs, line"),
    "pagemap zeroed": (replaced("pagemap", lambda d: bytes(len(d))), "pagemap: expected words of populated"),
    "pagemap empty": (replaced("pagemap", lambda _: b""), "pagemap.runs: expected a word"),
    "pagemap gone": (lambda f: (process(f) / "pagemap").unlink(), ""),
    "runs cut": (replaced("pagemap.runs", lambda d: d[:-4]), "pagemap.runs, line"),
    "runs a line short": (replaced("pagemap.runs", lambda d: d[: d.rindex(b"\n", 0, -1) + 1]), "runs, line"),
    "runs text": (replaced("pagemap.runs", lambda d: b"x\n" + d), "pagemap.runs, line 1"),
    "runs descend": (
        replaced("pagemap.runs", lambda d: b"".join(reversed(d.splitlines(keepends=True)))),
        "pagemap.runs, line 2",
    ),
    "runs too high": (replaced("pagemap.runs", lambda _: b"fffffffffffff 9\n"), "pagemap.runs, line 1"),
    "runs endless": (replaced("pagemap.runs", lambda _: b"0 1\n" * 99_999), "pagemap.runs: expected a word"),
    "no JSON": (replaced("/recording.json", lambda d: d[:-5]), "recording.json: is not JSON"),
    "newer": (lambda f: edit(f, lambda d: d["format"].update(version=[2, 0])), "is newer than 1.x"),
    "no host": (lambda f: edit(f, lambda d: d.pop("host")), "recording.json: host.page_size is missing"),
    "other bytes": (lambda f: edit(f, lambda d: d["host"].update(byte_order="big")), "big-endian"),
    "flags cut": (replaced("/kpageflags", lambda d: d[:-8]), "kpageflags: has "),
    "later flags cut": (replaced("/later/kpageflags", lambda d: d[:-8]), "later/kpageflags: has "),
    "cgroups": (replaced("/sysfs/cgroups.json", lambda d: d[:-3]), "cgroups.json: is not JSON"),
    "text cut": (replaced("/zoneinfo", lambda d: d[: len(d) // 2]), "zoneinfo, line"),
    "a link": (exchanged(lambda path: path.symlink_to("smaps")), "maps: is not a plain file"),
    "a link to a device": (exchanged(lambda path: path.symlink_to("/dev/zero")), "maps: is not a plain file"),
    "a pipe": (exchanged(os.mkfifo), "maps: is not a plain file"),
    "a folder": (exchanged(Path.mkdir), "maps: is not a plain file"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_told_in_one_line_with_its_file(
    folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, says = DAMAGE[name]
    assert run(["show", "--json", "--procfs", str(folder)]) == 0, "it is whole before"
    capsys.readouterr()
    damage(folder)
    status = run(["show", "--json", "--procfs", str(folder)])
    out, err = capsys.readouterr()
    if name == "pagemap gone":  # taken out, as a process may be: a gap with a reason
        assert status == 0
        assert "vanished while it was read" in out
        return
    assert (status, out) == (3, "")
    message, *hints = err.splitlines()
    assert message.startswith(f"vmprobe: {folder}/")
    assert says in message
    # The kernel's own text has no hint anywhere.
    assert [hint[:6] for hint in hints] == ([] if name == "text cut" else ["hint: "])


@pytest.mark.parametrize("look", ["", "later/"])
def test_damage_of_either_look_is_told(folder: Path, look: str) -> None:
    (folder / look / process(folder).name / "pagemap.runs").write_text("7\n")
    with pytest.raises(InputError, match=rf"{look}\d+/pagemap\.runs, line 1"):
        replay(folder)


def test_an_index_cannot_make_us_take_memory_without_bound(folder: Path) -> None:
    """A page of ours for each word, and a gigabyte of holes that a file of nothing claims to hold."""
    nr_words = 100_000
    (process(folder) / "pagemap").write_bytes(struct.pack("<Q", 1 << 63 | 1) * nr_words)
    runs = b"".join(b"%x 1\n" % (i * 512) for i in range(nr_words))
    (process(folder) / "pagemap.runs").write_bytes(runs)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="lie closer together"):
            replay(folder)
        (process(folder) / "pagemap").unlink()
        put(process(folder) / "pagemap", (1 << 37) - 1, bytes(8))
        (process(folder) / "pagemap.runs").write_bytes(b"0 %d\n" % (1 << 37))
        with pytest.raises(InputError, match="populated entries alone"):
            replay(folder)
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


def laid_out(folder: Path, vpns: list[int]) -> list[tuple[Any, ...]]:
    """Give the process these pages in frames three apart, a run for each that follows no other; replay it."""
    place = process(folder)
    words = np.arange(len(vpns), dtype=np.uint64) * np.uint64(3) | np.uint64(1 << 63)
    (place / "pagemap").write_bytes(words.tobytes())
    heads = [i for i, vpn in enumerate(vpns) if not i or vpn != vpns[i - 1] + 1]
    lengths = [b - a for a, b in pairwise([*heads, len(vpns)])]
    runs = [b"%x %d\n" % (vpns[i], nr) for i, nr in zip(heads, lengths, strict=True)]
    (place / "pagemap.runs").write_bytes(b"".join(runs))
    (place / "maps").write_text(f"{vpns[0] << 12:08x}-{vpns[-1] + 1 << 12:08x} rw-p 00000000 00:00 0 \n")
    shutil.rmtree(folder / "later")
    return list(replay(folder).table("mappings").rows("vpn", "nr_pages", "pfn"))


@pytest.mark.parametrize(
    "vpns",
    [
        [0x10000 + i * 700 for i in range(10_000)],
        [0x10000 + i * 2 for i in range(90_000)],
        [*range(0x10000, 0x30000), *range(0x31000, 0x31005)],
    ],
    ids=["lone", "side by side", "longer than a piece"],
)
def test_words_are_put_where_they_belong(folder: Path, vpns: list[int]) -> None:
    """However many there are in a block of ours, or in a piece that is copied at a time."""
    assert laid_out(folder, vpns) == [(vpn, 1, i * 3) for i, vpn in enumerate(vpns)]


def test_every_descriptor_is_closed(folder: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    replay(folder, smaps=True)
    (folder / next(e.name for e in folder.iterdir() if e.name.isdecimal()) / "pagemap.runs").write_text("1\n")
    with pytest.raises(InputError):
        replay(folder)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.slow
@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES, errno.ENOENT])
def test_any_single_read_of_a_recording_may_fail(
    folder: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The 1st read fails, then the 2nd, ... until none does: only our own errors, no descriptor lost."""
    before = len(os.listdir("/proc/self/fd"))
    outcomes: set[str] = set()
    for nth in range(1, 2000):
        faults = Faults(nth, code, persistent=False)
        with monkeypatch.context() as patch:
            for name in ("open", "read", "pread", "preadv", "listdir", "pwrite", "lseek", "memfd_create"):
                patch.setattr(f"vmprobe.sources.procfs.os.{name}", faults.wrap(getattr(os, name)))
            try:
                replay(folder)
            except VmprobeError:
                outcomes.add("error")
            else:
                outcomes.add("snapshot")
        assert len(os.listdir("/proc/self/fd")) == before, f"read {nth} left a descriptor open"
        if not faults.tripped:
            break
    else:
        pytest.fail("it never got through")
    assert outcomes == {"error", "snapshot"}
    assert nth > 50


@pytest.mark.slow
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_any_single_call_of_the_recorder_may_fail(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recording that can be replayed, or a line and nothing; never half of one."""
    root = lay_out("6.12-1node", tmp_path)
    for name in record.FRAMES:
        os.truncate(root / name, 1 << 12)
    before = len(os.listdir("/proc/self/fd"))
    seen: set[int] = set()
    for nth in range(1, 3000):
        target = tmp_path / f"{nth}.recording"
        faults = Faults(nth, code, persistent=False)
        with monkeypatch.context() as patch:
            for name in ("open", "read", "pread", "listdir", "mkdir", "rename", "stat", "unlink"):
                patch.setattr(f"lab.record.os.{name}", faults.wrap(getattr(os, name)))
            status = record.main([str(target), "--procfs", str(root), "--sysfs", str(tmp_path / "sys")])
        seen.add(status)
        assert status in {0, 3}
        assert target.exists() == (status == 0)
        assert not [path for path in tmp_path.iterdir() if "record-tmp" in path.name]
        assert len(os.listdir("/proc/self/fd")) == before
        if status == 0:
            replay(target)
            shutil.rmtree(target)
        if not faults.tripped:
            break
    else:
        pytest.fail("it never got through")
    assert seen == {0, 3}

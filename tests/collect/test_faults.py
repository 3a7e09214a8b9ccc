"""Any read may fail: the collector on a recorded tree with its n-th system call failing, n = 1, 2, ..."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.recorded import photograph
from vmprobe.errors import VmprobeError
from vmprobe.store import load, write

if TYPE_CHECKING:
    from pathlib import Path

    from vmprobe.tables import Snapshot


def test_frames_that_all_fail_leave_a_snapshot_that_can_be_written(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("vmprobe.sources.framefiles.FrameFile.read_into", fails)
    snapshot = photograph(root)
    assert not snapshot.has("frames")
    assert snapshot.manifest["frame_ranges"] == []
    write(snapshot, tmp_path / "x.vmsnap")
    assert len(load(tmp_path / "x.vmsnap").table("mappings")) > 0


class Faults:
    """Fails the n-th system call that reads, once or from then on."""

    def __init__(self, nth: int, code: int, *, persistent: bool) -> None:
        self.left, self.code, self.persistent, self.tripped = nth, code, persistent, False

    def wrap(self, call: Any) -> Any:
        def faulty(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left == 0 or (self.persistent and self.left < 0):
                self.tripped = True
                raise OSError(self.code, os.strerror(self.code))
            return call(*args, **kwargs)

        return faulty


@pytest.mark.slow
@pytest.mark.parametrize("code", [errno.EIO, errno.ESRCH, errno.EACCES, errno.ENOENT])
@pytest.mark.parametrize("persistent", [False, True])
def test_any_single_read_may_fail(
    root: Path, monkeypatch: pytest.MonkeyPatch, code: int, persistent: bool
) -> None:
    """The 1st read fails, then the 2nd, ... until none does: only our own errors, no descriptor lost."""
    before = len(os.listdir("/proc/self/fd"))
    nth, outcomes = 0, set()
    while True:
        nth += 1
        faults = Faults(nth, code, persistent=persistent)
        with monkeypatch.context() as patch:
            for name in ("open", "read", "pread", "preadv", "listdir"):
                patch.setattr(f"vmprobe.sources.procfs.os.{name}", faults.wrap(getattr(os, name)))
            try:
                snapshot = photograph(root)
            except VmprobeError:
                outcomes.add("error")
            else:
                outcomes.add("snapshot")
                if faults.tripped:
                    reasons = [e["reason"] for e in snapshot.manifest["unread"]]
                    reasons += [e for (e,) in snapshot.table("tasks").rows("error") if e]
                    compared = snapshot.manifest["volatility"]
                    noted = any(os.strerror(code) in r or "vanished" in r for r in reasons)
                    assert noted or compared["processes_vanished"] or nth_is_optional(snapshot), nth
        assert len(os.listdir("/proc/self/fd")) == before, f"read {nth} left a descriptor open"
        if not faults.tripped:
            break
    assert "snapshot" in outcomes
    assert nth > 30


def nth_is_optional(snapshot: Snapshot) -> bool:
    """Whether what failed leaves nulls behind: facts of the host, the second reading of counters."""
    host = snapshot.manifest["host"]
    after = snapshot.table("counters").is_valid("value_after")
    once = snapshot.table("free_areas") if snapshot.has("free_areas") else None
    return (
        None in (host["boot_id"], host["config"], host["mem_total_bytes"])
        or not after.all()
        or (once is not None and not once.is_valid("nr_free_after").all())
        or snapshot.manifest["scan_ioctl"]["stale_walk_end"] is None
    )

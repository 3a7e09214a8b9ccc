"""The command line in a guest, and a recording of the guest replayed here."""

from __future__ import annotations

import tarfile
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from lab.ring.check import Check, equal
from lab.ring.checks_tasks import Entries
from vmprobe.collect import Options, take
from vmprobe.errors import SnapshotError
from vmprobe.store import load

if TYPE_CHECKING:
    from pathlib import Path

    from lab.ring.visit import Round, Visit
    from vmprobe.tables import Snapshot


def compare_command(visit: Visit, _taken: Round) -> str:
    """Demand that ``vmprobe snapshot`` ends well and leaves a folder that can be opened here."""
    told = visit.facts["commands"]["snapshot"]
    equal((told["status"], told["err"]), (0, ""), "status and stderr of vmprobe snapshot")
    folder = visit.folder / "cli.vmsnap"
    try:
        snapshot = load(folder)
    except SnapshotError as error:
        equal(error.message, "", "opening the snapshot")
        raise
    rows = sum(len(snapshot.table(name)) for name in snapshot.tables())
    size = sum(path.stat().st_size for path in folder.iterdir())
    return f"{told['seconds']:.1f} s; {rows:,} rows in {size // 1024} KiB"


def plant_command(visit: Visit, taken: Round) -> Round:
    """Plant a table that lost its last byte."""
    path = visit.folder / "cli.vmsnap" / "frames.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    return taken


@lru_cache(maxsize=2)
def _replayed(folder: Path) -> Snapshot:
    with tarfile.open(folder / "recorded.tar") as archive:
        archive.extractall(folder, filter="data")
    return take(Options(procfs=str(folder / "recorded")))


def compare_replay(visit: Visit, taken: Round) -> str:
    """Compare entries and frames of the stopped processes with those of the recording, replayed here."""
    told = visit.facts["commands"]["record"]
    equal((told["status"], told["err"]), (0, ""), "status and stderr of lab record")
    again = replace(taken, snapshot=_replayed(visit.folder))
    nr = 0
    for pid in visit.facts["pids"]:
        found, expected = Entries(taken, pid), Entries(again, pid)
        # Not the map counts: other programs came and went between, and they map the same libraries.
        for name in ("vpn", "pfn", "memcg", "swap_vpn", "swap_area", "swap_offset"):
            same = np.array_equal(getattr(found, name), getattr(expected, name))
            equal(same, True, f"{name} of process {pid}, replayed as photographed")
        nr += len(found.vpn)
    host = again.snapshot.manifest["host"]
    equal(host["release"], visit.facts["release"], "kernel release of the recording")
    return f"{nr:,} entries equal; recorded in {told['seconds']:.1f} s"


def plant_replay(visit: Visit, taken: Round) -> Round:
    """Plant an entry that holds another frame."""
    table = taken.snapshot.table("mappings")
    mine = (table.column("mm") == taken.mm_of(visit.facts["pids"][0])) & (table.column("kind") == "present")
    row = int(np.flatnonzero(mine)[0])
    return taken.changed("mappings", "pfn", row, table.column("pfn")[row] + 1)


def not_recorded(visit: Visit) -> str | None:
    """Return why there is no recording."""
    return None if "record" in visit.facts["commands"] else "recorded in the guest of one node"


CHECKS: Final = (
    Check("vmprobe snapshot", "exit status, digests", compare_command, plant_command),
    Check(
        "recording, replayed", "the photographs of the same guest", compare_replay, plant_replay, not_recorded
    ),
)
"""Rows of the table about programs."""

"""A recorded host, and how it would look after a compaction that went as forecast: no kernel is asked."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.pageflags import mask
from vmprobe.analyses.compact import prepared
from vmprobe.analyses.verify import Happened
from vmprobe.bridge.compact import run
from vmprobe.schema import TABLES
from vmprobe.store import load
from vmprobe.tables import MemoryTables, Ranges, Snapshot, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIXTURES = Path(__file__).parents[1] / "fixtures" / "snapshots"
ORDER = 9
BUDDY = np.uint64(mask("BUDDY"))


@functools.cache
def host() -> Snapshot:
    """Return a fixture whose zones Linux would compact."""
    return load(FIXTURES / "6.12-compacting.vmsnap")


@functools.cache
def moved() -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[int, int, int]]:
    """Return each frame that is forecast to be left and where its page goes, and the sums of the counters."""
    forecasts = run(prepared(host()), "linux", ORDER, None)
    frames = [forecast.moves.frames() for forecast in forecasts]
    source, destination = (np.concatenate(each) for each in zip(*frames, strict=True))
    scanned = [sum(getattr(f, name) or 0 for f in forecasts) for name in ("migrate_scanned", "free_scanned")]
    assert len(source) > 100, "this fixture has nothing to compact"
    return source, destination, (len(source), *scanned)


def after(nr_left_out: int = 0) -> Snapshot:
    """Return the host after all moves but the last `nr_left_out`."""
    source, destination, _ = moved()
    kept = len(source) - nr_left_out
    table = host().table("frames", ("flags",))
    ranges = tuple((int(start), int(end)) for start, end in host().manifest["frame_ranges"])
    assert len(ranges) == 1, "rows are frame numbers less the first"
    words = table.column("flags").astype(np.uint64)
    begin = ranges[0][0]
    words[destination[:kept] - begin] = words[source[:kept] - begin]
    words[source[:kept] - begin] = BUDDY
    frames = Table(TABLES["frames"], {"pfn": Ranges(ranges), "flags": words}, len(words))
    tables = {name: host().table(name) for name in ("zones", "counters", "pageblocks_by_type", "resources")}
    return Snapshot(host().manifest, MemoryTables({**tables, "frames": frames}))


def happened(*, moves: int = 0, heard: bool = True, word: str = "complete") -> Happened:
    """Return what the kernel would tell; `moves` are added to the forecast's."""
    nr, migrate_scanned, free_scanned = moved()[2]
    counters = {
        "pgmigrate_success": nr + moves,
        "compact_migrate_scanned": migrate_scanned,
        "compact_free_scanned": free_scanned,
        "pgalloc_normal": 3,
        "pgalloc_dma32": 4,
    }
    ends = [
        (outcome.before.start_pfn, outcome.stopped_pfn or 0, word)
        for outcome in run(prepared(host()), "linux", ORDER, None)
    ]
    return Happened(counters, ends if heard else None, 0.25)

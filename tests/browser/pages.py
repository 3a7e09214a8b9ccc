"""What the pages under test are made of: real fixtures, with a history and with names planted that bite."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vmprobe.analyses.map_answer import CONTENTS, PAGE_KIND_VERDICTS, PAGE_KINDS, ZonePages, ZoneStrip
from vmprobe.analyses.page_inputs import page_inputs
from vmprobe.analyses.record import NO_HISTORY
from vmprobe.analyses.report import report
from vmprobe.analyses.report_answer import Series, TrendRow
from vmprobe.bridge.blockers import OwnerRow
from vmprobe.store import load

if TYPE_CHECKING:
    from vmprobe.analyses.page_inputs import PageInputs

SNAPSHOTS = Path(__file__).parents[2] / "fixtures" / "snapshots"
FIXTURES = ("6.12-compacting", "6.12-two-nodes")
HOSTILE = '</script><img src=x onerror="window.bitten=1">\x1b[31m\u202e\u2028\ud800&amp;{{7*7}}'
NR_RUNS = 12
BLOCK = 512


@cache
def inputs_of(name: str) -> PageInputs:
    """Everything on the page of a fixture; in its place one owner has a name that bites."""
    snapshot = load(SNAPSHOTS / f"{name}.vmsnap")
    return planted(page_inputs(snapshot, report(snapshot, top=None), (), NO_HISTORY))


def planted(inputs: PageInputs) -> PageInputs:
    frag = inputs.report.frag
    owners = (*(frag.owners or ()), OwnerRow("process", HOSTILE, 4242, 3, 2, 1, 700, 11))
    row = TrendRow("free blocks of 2.0 MiB or more", 7, None, 9, 1, 12)
    told = replace(inputs.report, frag=replace(frag, owners=owners), trend=(row,))
    pages = tuple(with_holes(zone) for zone in inputs.pages)
    holed = tuple(map(strip_with_holes, inputs.map.zones, pages))
    listed = inputs.map.owners
    bitten = (replace(listed[0], kind="process", owner=HOSTILE, pid=4242), *listed[1:])
    mass = replace(inputs.free_mass, real=inputs.free_mass.before, real_time="2026-01-02T03:04:05+00:00")
    return replace(
        inputs,
        report=told,
        map=replace(inputs.map, owners=bitten, zones=holed),
        pages=pages,
        free_mass=mass,
        series=history(),
    )


def with_holes(zone: ZonePages) -> ZonePages:
    """A zone whose last pageblock has no memory, and the one before in part, which no fixture has."""
    kinds = zone.kinds.copy()
    kinds[-2 * BLOCK :] = PAGE_KINDS.index("hole")
    kinds[-2 * BLOCK :][:100] = PAGE_KINDS.index("free")
    kinds[-2 * BLOCK :][80:100] = PAGE_KINDS.index("anonymous")
    return replace(zone, kinds=kinds)


def strip_with_holes(zone: ZoneStrip, pages: ZonePages) -> ZoneStrip:
    """The strip of what `with_holes` made of a zone."""
    content = zone.content.copy()
    content[-2:] = CONTENTS.index("mixed"), CONTENTS.index("absent")
    verdicts = np.array(PAGE_KIND_VERDICTS)[pages.kinds.reshape(-1, BLOCK)]
    names = ("free", "stays", "unknown", "absent")
    counted = {name: (verdicts == name).sum(axis=1).astype(np.uint16) for name in names}
    return replace(zone, content=content, **counted)


def history() -> tuple[tuple[str, Series], ...]:
    start = datetime(2026, 1, 2, tzinfo=UTC)
    times = tuple((start + timedelta(hours=6 * run)).isoformat() for run in range(NR_RUNS))
    falling = tuple(None if run == 4 else 100 - run for run in range(NR_RUNS))
    rising = tuple(run << 20 for run in range(NR_RUNS))
    return (
        ("free blocks of 2.0 MiB or more", Series("free_blocks", "order>=9", times, falling)),
        ("pageblocks held by slab", Series("blocker_pageblocks", "kind=slab", times, falling)),
        ("pageblocks held by kernel", Series("blocker_pageblocks", "kind=kernel", times, falling)),
        ("free memory", Series("free_bytes", "", times, rising)),
    )


def without_frames(inputs: PageInputs) -> PageInputs:
    """The same as a report that did not scan page frames has it."""
    frag = replace(inputs.report.frag, owners=None, blockers=None, held=None)
    told = replace(inputs.report, frames=False, frag=frag, sharing=None)
    mass = replace(inputs.free_mass, forecast=None)
    return replace(inputs, report=told, map=None, pages=None, curves=(), free_mass=mass)


def large(inputs: PageInputs) -> tuple[PageInputs, int]:
    """A host of 1 TiB in one zone, and the only pageblock of it that one page alone keeps from being free."""
    nr, lonely = 1 << 19, 123_457
    noise = np.random.default_rng(7)
    free = noise.integers(0, 512, nr).astype(np.uint16)
    content = np.where(free > 256, 1, 3).astype(np.uint8)
    content[lonely], free[lonely] = CONTENTS.index("one_unmovable_page_only"), 0
    stays = np.where(content == 3, np.minimum(20, 512 - free), 0).astype(np.uint16)
    stays[lonely] = 1
    nobody = np.full(nr, -1, np.int32)
    none = np.zeros(nr, np.uint16)
    strip = ZoneStrip(0, "Normal", 0, content, free, stays, none, none, nobody, nobody, None)
    kinds = np.tile(noise.integers(0, 3, 1 << 20, dtype=np.uint8), nr >> 11)
    pages = (ZonePages(0, "Normal", 0, kinds),)
    return replace(inputs, map=replace(inputs.map, zones=(strip,), forecast=None), pages=pages), lonely

"""Runs of a history that are the same every time."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from vmprobe.metrics import Sample
from vmprobe.store.history import Kept, Owner, Run

if TYPE_CHECKING:
    from collections.abc import Sequence

START = datetime(2026, 11, 1, tzinfo=UTC)


def run_of(number: int, time: datetime, *, frames: bool = False, boot_id: str | None = "boot 1") -> Run:
    return Run(uuid.UUID(int=number).hex, time, boot_id, "6.12.0", frames, 0.25)


def kept_of(
    number: int,
    hours: float,
    samples: Sequence[Sample] = (),
    owners: Sequence[Owner] = (),
    *,
    frames: bool = False,
    boot_id: str | None = "boot 1",
) -> Kept:
    """Make a run so many hours after `START`."""
    time = START + timedelta(hours=hours)
    return Kept(run_of(number, time, frames=frames, boot_id=boot_id), tuple(samples), tuple(owners))


def six_days() -> list[Kept]:
    """Make runs every six hours, one a day with page frames; free lists unread for a day; a reboot."""
    return [_one(number) for number in range(6 * 4 + 1)]


def _one(number: int) -> Kept:
    frames = number % 4 == 0
    boot = 1 if number < 15 else 2
    uptime = number if boot == 1 else number - 15
    lost = max(0, 18 * uptime - number % 5)
    samples = [
        Sample("free_bytes", ("0", "Normal"), (900 - 3 * lost) << 20),
        Sample("obtainable", ("9", "now"), 500 - lost),
        Sample("score_percent", ("0",), 10 + lost // 9),
        Sample("events", ("compact_stall",), 7 * uptime * uptime),
        Sample("events", ("compact_fail",), 0),
        Sample("page_size_bytes", (), 4096),
        Sample("report_frames", (), int(frames)),
    ]
    if not 6 <= number < 10:
        samples[:0] = [
            Sample("free_blocks", (node, "Normal", str(order)), (500 - lost) >> (order - 8))
            for node in ("0", "1")
            for order in range(8, 11)
        ]
        samples.append(Sample("unusable_permille", ("0", "Normal", "9"), min(999, 100 + lost)))
    if not frames:
        return kept_of(number, 6 * number, samples, boot_id=f"boot {boot}")
    samples += [
        Sample("obtainable", ("9", "after_compaction"), 520 - lost // 3),
        Sample("unmovable_pageblocks", (), 40 + lost // 10),
        Sample("trapped_free_bytes", (), (40 + lost // 10) << 18),
        Sample("blocker_pageblocks", ("slab",), 30 + lost // 20),
        Sample("blocker_pageblocks", ("page_tables",), 10 + lost // 40),
        Sample("unexplained", (), 0),
    ]
    owners = (Owner("slab", "dentry", None, 20 + lost // 20, 900, 300), Owner("kernel", None, None, 7, 7, 7))
    return kept_of(number, 6 * number, samples, owners, frames=True, boot_id=f"boot {boot}")

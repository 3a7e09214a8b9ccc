"""The answer of ``vmprobe sharing OLD NEW`` laid out for reading."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmprobe.analyses.parts import Column, Grid, Kind, Note, Parts, grid
from vmprobe.units import bytes_text, seconds_text

if TYPE_CHECKING:
    from vmprobe.analyses.survival import AreaRow, SurvivalAnswer


def layout(answer: SurvivalAnswer) -> Parts:
    """Return a sentence, then the workers, then the VMAs that lost most."""
    nr = len(answer.workers)
    total = sum(row.lost_bytes for row in answer.workers)
    sentence = (
        f"Process {answer.pid} ({answer.comm or '?'}) had {bytes_text(answer.image_bytes)} of its own;"
        f" in {seconds_text(answer.seconds)} {nr} worker{'' if nr == 1 else 's'}"
        f" lost {bytes_text(total)} of it."
    )
    return Parts(
        (
            Note("", (sentence,)),
            grid(
                "Workers",
                tuple(answer.workers),
                ("pid", "pid", Kind.TEXT),
                ("comm", "name", Kind.TEXT),
                ("shared_before_bytes", "shared before", Kind.BYTES),
                ("shared_now_bytes", "now", Kind.BYTES),
                ("survival_permille", "of 1000", Kind.COUNT),
                ("lost_bytes", "lost", Kind.BYTES),
                ("dropped_bytes", "dropped", Kind.BYTES),
                ("gained_bytes", "gained", Kind.BYTES),
                ("lost_bytes_per_minute", "lost a minute", Kind.BYTES),
            ),
            Grid(
                "VMAs of the parent that were lost, all workers together",
                (
                    Column("VMA", Kind.TEXT),
                    Column("image", Kind.BYTES),
                    Column("lost", Kind.BYTES),
                    Column("dropped", Kind.BYTES),
                    Column("by workers", Kind.COUNT),
                ),
                tuple(
                    (_place(row), row.image_bytes, row.lost_bytes, row.dropped_bytes, row.workers)
                    for row in answer.areas
                ),
            ),
        )
    )


def _place(row: AreaRow) -> str:
    return f"{row.start:#x}-{row.end:#x} {row.perms} {row.name}".rstrip()

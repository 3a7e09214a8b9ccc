"""``vmprobe frag``: how fragmented free memory is, and who stands in the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from vmprobe.cli.options import debug_option, json_option, open_or_take, root_options, snapshot_argument

if TYPE_CHECKING:
    from pathlib import Path

TOP: Final = 10
"""Owners that text shows."""


@click.command(short_help="Show what is free, how fragmented it is, and who blocks larger blocks.")
@snapshot_argument
@click.option(
    "--top", type=click.IntRange(min=1), metavar="N", help="Show N owners; text shows 10, JSON all."
)
@json_option
@root_options
@debug_option
def frag(path: Path | None, top: int | None, procfs: str | None, sysfs: str | None, *, as_json: bool) -> None:
    """Show how fragmented the free memory of SNAPSHOT is, and who stands in the way.

    For each zone and order the free blocks and the kernel's own indices (those of debugfs, without debugfs).
    For pageblocks what they hold, who holds them hostage and how much is free beside: processes, cgroups,
    slab, page tables, the kernel, pins. For huge pages of each size how much of free memory is in such blocks
    now, and how much could be after perfect compaction. And the score by which kcompactd decides.

    Without SNAPSHOT one is taken now, in memory.
    """
    from vmprobe.analyses.frag import frag as ask
    from vmprobe.analyses.frag_layout import layout
    from vmprobe.cli.output import write_answer

    shown = top if as_json or top is not None else TOP
    write_answer(ask(open_or_take(path, procfs=procfs, sysfs=sysfs), top=shown), layout, as_json=as_json)

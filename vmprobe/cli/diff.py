"""``vmprobe diff``: what changed between two snapshots of one host, and who took its huge pages."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from vmprobe.cli.complete import snapshots
from vmprobe.cli.options import debug_option, json_option, open_or_take, root_options

TOP: Final = 10
"""Owners, processes and changes of owner that text shows."""


@click.command(short_help="Show what changed between two snapshots, and who took the huge pages.")
@click.argument(
    "old", metavar="OLD", type=click.Path(readable=False, path_type=Path), shell_complete=snapshots
)
@click.argument(
    "new",
    metavar="[NEW]",
    required=False,
    type=click.Path(readable=False, path_type=Path),
    shell_complete=snapshots,
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    metavar="N",
    help="Show N owners, processes and changes of owner; text shows 10, JSON all.",
)
@json_option
@root_options
@debug_option
def diff(
    old: Path, new: Path | None, top: int | None, procfs: str | None, sysfs: str | None, *, as_json: bool
) -> None:
    """Show what changed on a host from snapshot OLD to snapshot NEW.

    First who took the huge pages: for each pageblock that was free, or that compaction could have freed, and
    is not now, what stands in it and whose it is; and in the other direction who left. Then frames that
    changed owner, pageblocks by what they hold, free blocks and indices, classes, processes, sharing, and
    the kernel's counts of compactions and huge page faults.

    Frames can be compared within one boot. Of two boots sums are shown, and processes by name.

    Without NEW one is taken now, in memory.
    """
    from vmprobe.analyses.diff import diff as ask
    from vmprobe.analyses.diff_layout import layout
    from vmprobe.cli.output import write_answer
    from vmprobe.store import load

    before = load(old)
    after = open_or_take(new, procfs=procfs, sysfs=sysfs, frames=before.has("frames"))
    shown = top if as_json or top is not None else TOP
    write_answer(ask(before, after, top=shown), layout, as_json=as_json)

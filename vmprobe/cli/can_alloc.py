"""``vmprobe can-alloc``: whether so many large blocks can be had, and if not, who is in the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from vmprobe.cli.options import debug_option, json_option, open_or_take, root_options, snapshot_argument

if TYPE_CHECKING:
    from pathlib import Path

LARGEST_ORDER: Final = 30
"""A block of 4 TiB."""


@click.command("can-alloc", short_help="Tell whether so many huge pages can be had, and who is in the way.")
@snapshot_argument
@click.option(
    "--order", type=click.IntRange(0, LARGEST_ORDER), default=9, show_default=True, metavar="N",
    help="log2 of the pages in a block; 9 is 2 MiB, 18 is 1 GiB.",
)  # fmt: skip
@click.option(
    "--count", type=click.IntRange(min=1), default=1, show_default=True, metavar="K", help="Blocks wanted."
)
@json_option
@root_options
@debug_option
def can_alloc(
    path: Path | None, *, order: int, count: int, procfs: str | None, sysfs: str | None, as_json: bool
) -> int:
    """Tell whether K free blocks can be had in SNAPSHOT: now, after compaction, or after dropping page cache.

    The verdict is the first of these that is true: now; after compaction; after dropping cache; uncertain,
    where the snapshot cannot tell, or where it takes swapping or better moves than Linux makes; after ending
    processes, which hold what is missing; not without a reboot, since the kernel holds it; not on this host.
    The lowest watermarks are respected. With it come the evidence, who is in the way, and the next step.

    Exit status 0 when they can be had now or after compaction, else 1. Without SNAPSHOT one is taken now, in
    memory.
    """
    from vmprobe.analyses.can_alloc import can_alloc as ask
    from vmprobe.analyses.can_alloc_answer import Verdict
    from vmprobe.analyses.can_alloc_layout import layout
    from vmprobe.cli.output import write_answer
    from vmprobe.cli.remembered import remembered

    known = remembered(None, live=path is None and procfs is None)
    answer = ask(open_or_take(path, procfs=procfs, sysfs=sysfs), order, count, history=known)
    write_answer(answer, layout, as_json=as_json)
    return 0 if answer.verdict in (Verdict.NOW, Verdict.COMPACTION) else 1

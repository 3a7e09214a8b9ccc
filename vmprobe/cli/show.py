"""``vmprobe show``: what a snapshot holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vmprobe.cli.options import debug_option, json_option, open_or_take, root_options, snapshot_argument

if TYPE_CHECKING:
    from pathlib import Path


@click.command(short_help="Show what a snapshot holds.")
@snapshot_argument
@click.option(
    "--largest",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    metavar="N",
    help="How many of the largest processes to list.",
)
@json_option
@root_options
@debug_option
def show(path: Path | None, largest: int, procfs: str | None, sysfs: str | None, *, as_json: bool) -> None:
    """Show what SNAPSHOT holds: host, zones, frames by use, processes, and what could not be seen.

    Without SNAPSHOT one is taken now, in memory.
    """
    from vmprobe.analyses.show import show as ask
    from vmprobe.analyses.show_layout import layout
    from vmprobe.cli.output import write_answer

    answer = ask(open_or_take(path, procfs=procfs, sysfs=sysfs), largest=largest)
    write_answer(answer, layout, as_json=as_json)

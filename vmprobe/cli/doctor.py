"""``vmprobe doctor``: what can be read here, and what to do about the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vmprobe.cli.options import debug_option, json_option, open_or_take, root_options, snapshot_argument

if TYPE_CHECKING:
    from pathlib import Path


@click.command(short_help="Tell what can be read here and at what price.")
@snapshot_argument
@json_option
@root_options
@debug_option
def doctor(path: Path | None, procfs: str | None, sysfs: str | None, *, as_json: bool) -> None:
    """Tell what can be read on this host, what it costs, what is lost without, and what to do.

    Takes a whole snapshot to find out; with SNAPSHOT, tells the same about the host it was taken on.
    """
    from vmprobe.analyses.doctor import doctor as ask
    from vmprobe.analyses.doctor_layout import layout
    from vmprobe.cli.output import write_answer

    answer = ask(open_or_take(path, procfs=procfs, sysfs=sysfs))
    write_answer(answer, layout, as_json=as_json)

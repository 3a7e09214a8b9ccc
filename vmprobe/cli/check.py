"""``vmprobe check``: whether a snapshot fits together and fits the kernel's counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vmprobe.cli.options import debug_option, json_option, open_or_take, root_options, snapshot_argument

if TYPE_CHECKING:
    from pathlib import Path


@click.command(short_help="Check free blocks, reverse map and VMAs, page by page.")
@snapshot_argument
@json_option
@root_options
@debug_option
def check(path: Path | None, procfs: str | None, sysfs: str | None, *, as_json: bool) -> int:
    """Check SNAPSHOT page by page, against itself and against the kernel's own counts.

    Free blocks are rebuilt from the frames and compared with buddyinfo; every reverse entry is followed back
    to its page-table entry; each frame's entries are compared with the kernel's map count, and a difference
    has a name or is unexplained; VMAs must be in order. Exit status 1 when anything contradicts.

    Without SNAPSHOT one is taken now, in memory.
    """
    from vmprobe.analyses.check import check as ask
    from vmprobe.analyses.check_layout import layout
    from vmprobe.cli.output import write_answer

    answer = ask(open_or_take(path, procfs=procfs, sysfs=sysfs))
    write_answer(answer, layout, as_json=as_json)
    return 0 if answer.ok else 1

"""``vmprobe vmas``: VMAs, the holes between them, and what finding one costs in a list and in trees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vmprobe.cli.options import debug_option, json_option, open_or_take, root_options, snapshot_argument

if TYPE_CHECKING:
    from pathlib import Path


@click.command(short_help="Show VMAs, and what finding one costs in each tree.")
@snapshot_argument
@click.option("--pid", type=click.IntRange(min=1), metavar="P", help="The VMAs of process P, one by one.")
@json_option
@root_options
@debug_option
def vmas(path: Path | None, pid: int | None, procfs: str | None, sysfs: str | None, *, as_json: bool) -> None:
    """Show the VMAs in SNAPSHOT, and whether a balanced tree is worth it here.

    Every address that has a page is looked up in a linear list, an AVL tree, a red-black tree, a maple tree
    and a sorted array of the VMAs of its address space; comparisons and nodes read are counted.

    With --pid, the VMAs of one process, with their pages, and the holes between them.

    Without SNAPSHOT one is taken now, in memory.
    """
    from vmprobe.analyses.vmas import Vmas, process_vmas
    from vmprobe.analyses.vmas import vmas as ask
    from vmprobe.analyses.vmas_layout import layout, process_layout
    from vmprobe.cli.output import write_answer

    pids = () if pid is None else (pid,)
    snapshot = open_or_take(path, procfs=procfs, sysfs=sysfs, pids=pids, frames=False)
    answer = ask(snapshot) if pid is None else process_vmas(snapshot, pid)
    write_answer(answer, layout if isinstance(answer, Vmas) else process_layout, as_json=as_json)

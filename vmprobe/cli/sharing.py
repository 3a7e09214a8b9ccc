"""``vmprobe sharing``: what is shared without the page count telling, and what each process has."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from vmprobe.cli.complete import snapshots
from vmprobe.cli.options import debug_option, json_option, open_or_take, root_options
from vmprobe.errors import UsageError

TOP: Final = 20
"""Processes and groups that text shows."""


@click.command(short_help="Find sharing that the page count does not reveal; PSS, groups, COW.")
@click.argument(
    "paths",
    metavar="[SNAPSHOT [LATER]]",
    nargs=-1,
    type=click.Path(readable=False, path_type=Path),
    shell_complete=snapshots,
)
@click.option("--mechanism", metavar="NAME", help="This mechanism alone, and the processes that take part.")
@click.option("--pid", type=click.IntRange(min=1), metavar="P", help="The part of process P alone.")
@click.option(
    "--group",
    metavar="HOW",
    help="What groups of processes cost together: comm, uid, cgroup, tree or pid, several with commas"
    " between; or pids with commas between for one group.",
)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    metavar="N",
    help="Show N processes and groups; text shows 20, JSON all.",
)
@click.option(
    "--tree",
    type=click.IntRange(min=1),
    metavar="PID",
    help="With two snapshots: what the processes below PID still share of its image.",
)
@json_option
@root_options
@debug_option
def sharing(
    *,
    paths: tuple[Path, ...],
    mechanism: str | None,
    pid: int | None,
    group: str | None,
    top: int | None,
    tree: int | None,
    procfs: str | None,
    sysfs: str | None,
    as_json: bool,
) -> None:
    """Tell who can reach each page of SNAPSHOT, how that is known, and what it costs whom.

    First the ways in which memory is shared without the page count telling, those with the most bytes first,
    each proved, likely or possible; then the ledger, in which every mapped frame has its line; then PSS, USS
    and swap of each process.

    With LATER and --tree PID: how much of the image of process PID the processes below it still share, and
    what they lost by copy-on-write between the two.

    Without SNAPSHOT one is taken now, in memory.
    """
    if len(paths) > 2:
        raise UsageError(f"{len(paths)} snapshots, and there are at most two")
    if (len(paths) == 2) != (tree is not None):
        raise UsageError(
            "two snapshots and --tree PID belong together",
            hint="vmprobe sharing OLD NEW --tree PID follows what PID shared with the processes below it",
        )
    if tree is not None:
        if any(option is not None for option in (mechanism, pid, group, top, procfs, sysfs)):
            raise UsageError("--tree goes with --json alone", hint="leave out the other options")
        old, new = paths
        _survival(old, new, tree, as_json=as_json)
        return
    from vmprobe.analyses.sharing import Study
    from vmprobe.analyses.sharing import sharing as ask
    from vmprobe.analyses.sharing_layout import layout
    from vmprobe.cli.output import write_answer

    shown = top if as_json or top is not None else TOP
    study = Study(open_or_take(paths[0] if paths else None, procfs=procfs, sysfs=sysfs))
    answer = ask(study, mechanism=mechanism, pid=pid, group=group, top=shown)
    write_answer(answer, layout, as_json=as_json)


def _survival(old: Path, new: Path, pid: int, *, as_json: bool) -> None:
    from vmprobe.analyses.survival import survival_of
    from vmprobe.analyses.survival_layout import layout
    from vmprobe.cli.output import write_answer
    from vmprobe.store import load

    answer = survival_of(load(old), load(new), pid)
    write_answer(answer, layout, as_json=as_json)

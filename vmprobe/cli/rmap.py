"""``vmprobe rmap``: the reverse maps of 1998, 2.5 and today side by side on a snapshot."""

from __future__ import annotations

from pathlib import Path

import click

from vmprobe.cli.complete import snapshots
from vmprobe.cli.options import debug_option, json_option, open_or_take, root_options, snapshot_argument


@click.command(short_help="Compare three reverse maps; find entries gone stale.")
@snapshot_argument
@click.option(
    "--since",
    type=click.Path(readable=False, path_type=Path),
    shell_complete=snapshots,
    metavar="OLD",
    help="An earlier snapshot of the same boot: what became of the entries that 1998 would have stored.",
)
@click.option("--pid", type=click.IntRange(min=1), metavar="P", help="Only frames that process P maps.")
@json_option
@root_options
@debug_option
def rmap(
    path: Path | None,
    since: Path | None,
    pid: int | None,
    procfs: str | None,
    sysfs: str | None,
    *,
    as_json: bool,
) -> None:
    """Compare three reverse maps on SNAPSHOT: which frames each serves, what it takes, what it visits.

    One (VMA, offset) a frame as proposed in 1998, the pte chains of 2.5, and the objects with linear offsets
    of today. Objects of anonymous memory are inferred from who shares frames: /proc does not show them.

    With --since, every single entry of an earlier snapshot is followed to this one. Those that would lead to
    a wrong address are counted by what moved their VMA: stack growth, trimmed head, split, merge, mremap.

    Without SNAPSHOT one is taken now, in memory.
    """
    from vmprobe.analyses.rmap import rmap as ask
    from vmprobe.analyses.rmap_layout import layout
    from vmprobe.cli.output import write_answer
    from vmprobe.store import load

    old = None if since is None else load(since)
    answer = ask(open_or_take(path, procfs=procfs, sysfs=sysfs), since=old, pid=pid)
    write_answer(answer, layout, as_json=as_json)

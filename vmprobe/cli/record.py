"""``vmprobe record``: what the page allocator does for a while, to be replayed."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

import click

from vmprobe.cli.options import debug_option, json_option
from vmprobe.errors import OutputError, UsageError

MOST_SECONDS: Final = 3600


@click.command(
    short_help="Record page allocations between two snapshots.",
    context_settings={"allow_interspersed_args": False},
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="NAME.vmrec",
    help="The new folder; a name with the time without.",
)  # fmt: skip
@click.option(
    "--seconds", type=click.FloatRange(0, MOST_SECONDS, min_open=True), metavar="S",
    help="How long, at most; 10 without a command, 600 with one, which is ended then.",
)  # fmt: skip
@click.option(
    "--max-size", type=click.IntRange(1, 4096), default=64, show_default=True, metavar="MIB",
    help="MiB of the kernel's trace buffers.",
)  # fmt: skip
@click.option(
    "--max-events", type=click.IntRange(1, 50_000_000), default=5_000_000, show_default=True, metavar="N",
    help="End after about so many events.",
)  # fmt: skip
@click.argument("command", nargs=-1, metavar="[-- COMMAND...]", type=click.UNPROCESSED)
@json_option
@debug_option
def record(
    output: Path | None,
    *,
    seconds: float | None,
    max_size: int,
    max_events: int,
    command: tuple[str, ...],
    as_json: bool,
) -> int:
    """Record every page allocation and release of this host, with a snapshot before and one after.

    With COMMAND that is run, and the recording ends with it; with --json it writes to stderr what it would
    write to stdout. The events come through trace buffers of our own, which are removed in the end; nothing
    of other tracers changes. No names of processes are kept with the events. "vmprobe whatif --demand
    NAME.vmrec" replays it through any policy.

    Ctrl-C ends the recording and keeps it. Needs root. What finds no room in the buffers is counted as lost.
    Exit status 1 where COMMAND failed. If the recording ends first, COMMAND and what it started are ended.
    """
    from vmprobe.analyses.allocations import layout, written
    from vmprobe.cli.main import INTERRUPTED
    from vmprobe.cli.output import write_answer
    from vmprobe.cli.progress import progress_line
    from vmprobe.collect.allocations import RecordOptions
    from vmprobe.collect.allocations import record as take
    from vmprobe.store.allocations import write_recording
    from vmprobe.store.write import check_target

    if seconds is not None and math.isnan(seconds):
        raise UsageError("--seconds nan: not a time")
    target = output or Path(_default_name())
    if os.path.lexists(target):
        raise OutputError(f"{target}: exists", hint="choose another name")
    check_target(target)
    options = RecordOptions(
        seconds=seconds or (600.0 if command else 10.0),
        command=command,
        buffer_mib=max_size,
        most_events=max_events,
        to_stderr=as_json,
    )
    with progress_line() as progress:
        made = take(options, progress)
    nr_bytes = write_recording(target, made.columns, made.manifest, (made.before, made.after))
    write_answer(written(target, nr_bytes, made.columns, made.manifest), layout, as_json=as_json)
    if made.manifest["ended_by"] == "interrupt":
        return INTERRUPTED
    return int(bool(made.manifest["command_status"]))


def _default_name() -> str:
    from datetime import UTC, datetime

    from vmprobe.store.allocations import SUFFIX

    return f"vmprobe-{datetime.now(UTC):%Y%m%dT%H%M%SZ}{SUFFIX}"

"""``vmprobe report``: a report on fragmentation, for people, for cron and for monitoring."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vmprobe.cli.options import debug_option, json_option, root_options, snapshot_argument

if TYPE_CHECKING:
    from collections.abc import Callable

FILE: Any = click.Path(readable=False, path_type=Path)  # what it cannot be is told by who writes it


def _output_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where the report goes."""
    for option in (
        click.option(
            "--plugin", is_flag=True,
            help="One line with performance data and the exit statuses of monitoring plugins.",
        ),
        click.option(
            "--html", type=FILE, metavar="FILE", help="Write the report as one page that needs no network."
        ),
        click.option(
            "--openmetrics", type=FILE, metavar="FILE",
            help="Write the figures for a node exporter's textfile folder.",
        ),
        click.option(
            "--history", type=FILE, metavar="FILE",
            help="Append the figures to this DuckDB file, and show trend and changes out of it.",
        ),
    ):  # fmt: skip
        function = option(function)
    return function


def _schedule_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for reports that run by themselves."""
    for option in (
        click.option(
            "--every", "every_minutes", type=click.IntRange(min=1), metavar="MINUTES",
            help="How often the printed schedule runs it; 15 without.",
        ),
        click.option(
            "--print-systemd", is_flag=True, help="Print a service and a timer that run it; do nothing else."
        ),
        click.option(
            "--print-cron", is_flag=True, help="Print a file for cron that runs it; do nothing else."
        ),
        click.option("--full-speed", is_flag=True, help="Do not lower the priority of this process."),
        click.option(
            "--lock", type=FILE, metavar="FILE",
            help="Leave, with status 0, while another report holds this lock.",
        ),
    ):  # fmt: skip
        function = option(function)
    return function


@click.command(short_help="Report fragmentation: verdict, figures, trend, advice; for cron and monitoring.")
@snapshot_argument
@click.option(
    "--frames/--no-frames", default=None,
    help="Scan page frames (default), or not: without takes a moment, and names nobody.",
)  # fmt: skip
@click.option(
    "--fail-when", multiple=True, metavar="EXPR",
    help="Exit 1 where this is true, as 'free_blocks[order>=9] < 64'; repeatable.",
)  # fmt: skip
@click.option(
    "--warn-when", multiple=True, metavar="EXPR", help="Warn where this is true; repeatable."
)  # fmt: skip
@_output_options
@_schedule_options
@click.option(
    "--top", type=click.IntRange(min=1), metavar="N", help="Show N owners; text shows 10, JSON all."
)
@json_option
@root_options
@debug_option
def report(path: Path | None, **choices: Any) -> int:
    """Report how fragmented the memory of SNAPSHOT is, what can be had of it, and what to do.

    A verdict in one sentence; blocks that can be had now and after compaction, with the record of verified
    forecasts; free blocks and indices of each zone; who holds pageblocks; sharing; what changed since the
    last run and how it went, out of the history; what to do next; what the report itself cost.

    Exit status 0; 1 where a --fail-when is true, and then the reason is the first line; 3 where a threshold
    is about a figure that the report does not have. Without SNAPSHOT one is taken now, in memory, with low
    priority. Where page frames may not be read, the report goes without and says so.
    """
    from vmprobe.cli.report_run import Choices, run

    return run(Choices(path=path, **choices))

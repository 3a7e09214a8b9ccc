"""``vmprobe history``: what reports measured, over time."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vmprobe.cli.options import debug_option, json_option
from vmprobe.errors import InputError, UsageError

if TYPE_CHECKING:
    from vmprobe.analyses.history import History
    from vmprobe.store.history import Kept


@click.command(short_help="Show how the figures of reports went over time.")
@click.argument("path", metavar="FILE", type=click.Path(readable=False, path_type=Path))
@click.option(
    "--since",
    metavar="AGE|TIME",
    help="Runs from then on: 12h, 7d or 2w before the newest run, or 2026-11-01 or 2026-11-01T12:00 (UTC).",
)
@click.option("--metric", metavar="NAME", help="All figures of one metric, for instance free_blocks.")
@click.option("--plot", is_flag=True, help="Draw a chart of each figure that changed.")
@json_option
@debug_option
def history(path: Path, since: str | None, metric: str | None, *, plot: bool, as_json: bool) -> None:
    """Show the figures that `vmprobe report --history FILE` kept.

    For each of them the first, last, lowest and highest value, and with --plot a chart. Events are shown as
    rates an hour between two runs of one boot. Figures that take page frames are those of the runs that
    scanned them. Old runs are thinned: all of two days stay, then one an hour up to 14 days, one a day up to
    400 days, and one a week.

    FILE is a DuckDB database: `duckdb -readonly FILE 'FROM figures'` asks it in SQL.
    """
    from vmprobe.analyses.history import check_metric
    from vmprobe.analyses.history import history as ask
    from vmprobe.analyses.history_layout import layout
    from vmprobe.cli.output import write_answer

    if plot and as_json:
        raise UsageError("--plot and --json contradict each other", hint="leave out one of the two")
    if metric is not None:
        check_metric(metric)
    answer = ask(_read(path, since, metric), metric=metric)
    write_answer(answer, layout, as_json=as_json)
    if plot:
        _write_charts(answer)


def _read(path: Path, since: str | None, metric: str | None) -> tuple[Kept, ...]:
    from vmprobe.analyses.figures import LEAST_ORDER, NAMES
    from vmprobe.analyses.history import since_time
    from vmprobe.store.history import read

    newest = read(path, last=1, names=())
    if not newest and not path.exists():
        raise InputError(f"{path}: No such file", hint=f"vmprobe report --history {path} begins one")
    start = None if since is None else since_time(since, newest[-1].run.time if newest else datetime.now(UTC))
    if metric is not None:
        return read(path, since=start, names=(metric,))
    return read(path, since=start, names=NAMES, least_order=LEAST_ORDER)


def _write_charts(answer: History) -> None:
    from vmprobe.analyses.history_layout import TIME
    from vmprobe.cli.output import console, stdout
    from vmprobe.render.plot import print_chart

    view = console()
    # rich would end the program by itself when the reader goes away.
    with view.capture() as captured:
        for figure in answer.figures:
            if figure.series.name == TIME:
                continue  # times over time are a straight line
            print_chart(figure.what, figure.series, view)
    stdout().write(captured.get())

"""What ``vmprobe report`` does: take or open, ask, compare with the history, hold thresholds, write, say."""

from __future__ import annotations

import os.path
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from vmprobe.errors import InputError, UsageError, VmprobeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmprobe.analyses.record import History
    from vmprobe.analyses.report_answer import Report
    from vmprobe.analyses.thresholds import Threshold
    from vmprobe.metrics import Sample
    from vmprobe.store.history import Kept
    from vmprobe.tables import Snapshot

TOP: Final = 10
"""Owners that text shows."""
KEPT_OWNERS: Final = 20
"""Owners that the history keeps of a run."""
EVERY_MINUTES: Final = 15


@dataclass(frozen=True)
class Choices:
    """The command line of ``vmprobe report``."""

    path: Path | None
    frames: bool | None
    fail_when: tuple[str, ...]
    warn_when: tuple[str, ...]
    history: Path | None
    openmetrics: Path | None
    html: Path | None
    plugin: bool
    lock: Path | None
    full_speed: bool
    print_cron: bool
    print_systemd: bool
    every_minutes: int | None
    top: int | None
    as_json: bool
    procfs: str | None
    sysfs: str | None

    def __post_init__(self) -> None:
        if self.plugin and self.as_json:
            raise UsageError("--plugin and --json: standard output takes one of them")
        if self.frames is False and self.path is not None:
            raise UsageError(
                "--no-frames says how to take a snapshot, and SNAPSHOT is one already",
                hint="leave out one of the two",
            )
        if self.print_cron and self.print_systemd:
            raise UsageError("--print-cron and --print-systemd: standard output takes one of them")
        if self.scheduled and self.path is not None:
            raise UsageError(
                "a report that runs by itself takes a snapshot each time", hint="leave out SNAPSHOT"
            )
        self._demand_different_files()
        if self.every_minutes is not None and not self.scheduled:
            raise UsageError("--every is for --print-cron and --print-systemd")

    def _demand_different_files(self) -> None:
        """Refuse to write two things into one file, or into the snapshot that the report is about."""
        files = {"--history": self.history, "--lock": self.lock, "--openmetrics": self.openmetrics,
                 "--html": self.html}  # fmt: skip
        if self.history is not None:
            files["the lock of --history"] = self.history.with_name(f"{self.history.name}.lock")
        seen: dict[str, str] = {}
        for option, file in files.items():
            if file is None:
                continue
            place = os.path.realpath(file)
            other = seen.setdefault(place, option)
            if other != option:
                raise UsageError(f"{other} and {option} are the same file: {file}", hint="name two files")
            if self.path is not None and Path(place).is_relative_to(os.path.realpath(self.path)):
                raise UsageError(f"{option} {file} is a part of SNAPSHOT", hint="name another file")

    @property
    def scheduled(self) -> bool:
        """Whether a schedule is to be printed."""
        return self.print_cron or self.print_systemd

    @property
    def words(self) -> tuple[str, ...]:
        """The command line again, without what prints a schedule."""
        flags = {
            "--no-frames": self.frames is False, "--plugin": self.plugin, "--full-speed": self.full_speed,
            "--json": self.as_json,
        }  # fmt: skip
        values = {
            "--history": self.history, "--openmetrics": self.openmetrics, "--html": self.html,
            "--lock": self.lock, "--top": self.top, "--procfs": self.procfs, "--sysfs": self.sysfs,
        }  # fmt: skip
        repeated = [("--fail-when", text) for text in self.fail_when]
        repeated += [("--warn-when", text) for text in self.warn_when]
        pairs = [*repeated, *((name, str(value)) for name, value in values.items() if value is not None)]
        return (*(name for name, given in flags.items() if given), *(word for pair in pairs for word in pair))


def run(choices: Choices) -> int:
    """Make the report and return the exit status."""
    thresholds = _thresholds(choices)
    if choices.scheduled:
        return _print_schedule(choices, thresholds)
    if choices.path is None and not choices.full_speed:
        from vmprobe.sources.priority import yield_to_others

        yield_to_others()
    if choices.lock is None:
        return _report(choices, thresholds)
    from vmprobe.sources.single_run import only_run

    with only_run(choices.lock):
        return _report(choices, thresholds)


def _thresholds(choices: Choices) -> list[Threshold]:
    """Return the thresholds; a wrong one is told before anything is read."""
    if not choices.fail_when and not choices.warn_when:
        return []
    from vmprobe.analyses.report_answer import Level
    from vmprobe.analyses.thresholds import parse

    failing = [parse(text, Level.CRITICAL) for text in choices.fail_when]
    return failing + [parse(text, Level.WARNING) for text in choices.warn_when]


def _print_schedule(choices: Choices, thresholds: Sequence[Threshold]) -> int:
    from vmprobe.cli.output import stdout
    from vmprobe.render.schedule import Job, cron_text, systemd_text

    lacking = next((each for each in thresholds if each.metric.frames), None)
    if choices.frames is False and lacking is not None:
        raise UsageError(
            f"threshold {lacking.text!r} takes a scan of page frames, and no run would make one",
            hint="leave out --no-frames or the threshold",
        )
    job = Job(_program(), choices.words, choices.every_minutes or EVERY_MINUTES)
    stdout().write(cron_text(job) if choices.print_cron else systemd_text(job))
    return 0


def _program() -> str:
    """Return the absolute path of the vmprobe in use."""
    for place in (sys.argv[0], str(Path(sys.executable).with_name("vmprobe"))):
        if Path(place).name == "vmprobe" and Path(place).is_file():
            return str(Path(place).absolute())
    found = shutil.which("vmprobe")
    if found is None:
        raise UsageError(
            "the program vmprobe is not installed beside this Python", hint="pip install vmprobe"
        )
    return str(Path(found).absolute())


class Made(NamedTuple):
    """A report, and what it was made of.

    Parameters
    ----------
    answer
        The report, with all owners.
    samples
        Its figures.
    snapshot
        Of which it tells.
    past
        Runs of the history, oldest first, and this one among them once it was compared with them.
    known
        Verified forecasts.
    now
        What the history is to keep of it; None without one.
    """

    answer: Report
    samples: tuple[Sample, ...]
    snapshot: Snapshot
    past: tuple[Kept, ...]
    known: History
    now: Kept | None = None


def _report(choices: Choices, thresholds: Sequence[Threshold]) -> int:
    made = _made(choices)
    if choices.history is not None:
        made = _compared(made)
    if thresholds:
        from vmprobe.analyses.thresholds import hold

        frames = made.answer.frames
        held = tuple(hold(each, made.samples, frames=frames) for each in thresholds)
        made = made._replace(answer=replace(made.answer, thresholds=held))
    return _say(made, choices, _write_files(made, choices))


def _made(choices: Choices) -> Made:
    from vmprobe.analyses.record import NO_HISTORY
    from vmprobe.analyses.report import report
    from vmprobe.analyses.samples import samples
    from vmprobe.cli.options import open_or_take

    cheap = choices.frames is False
    snapshot = open_or_take(choices.path, procfs=choices.procfs, sysfs=choices.sysfs, cheap=cheap)
    known = NO_HISTORY
    if snapshot.has("frames"):  # nothing else is forecast from
        from vmprobe.cli.remembered import remembered

        known = remembered(None, live=choices.path is None and choices.procfs is None)
    answer = report(snapshot, history=known, top=None)
    past = _past(choices.history)
    if choices.path is None:
        answer = _with_cost(answer)
    return Made(answer, samples(answer), snapshot, past, known)


def _with_cost(answer: Report) -> Report:
    from vmprobe.sources.own_cost import own_cost

    spent = own_cost()
    cost = replace(
        answer.cost,
        seconds=spent.seconds,
        cpu_seconds=spent.cpu_seconds,
        max_rss_bytes=spent.max_rss_bytes,
    )
    return replace(answer, cost=cost)


def _past(history: Path | None) -> tuple[Kept, ...]:
    """Return what trends are made of out of the history; nothing without one."""
    if history is None:
        return ()
    from vmprobe.analyses.figures import LEAST_ORDER, NAMES
    from vmprobe.store.history import read

    return read(history, names=NAMES, least_order=LEAST_ORDER)


def _compared(made: Made) -> Made:
    """Return the report with what the history says of it."""
    from vmprobe.analyses.kept import kept
    from vmprobe.analyses.report import shortened
    from vmprobe.analyses.trend import since_last, trend

    now = kept(shortened(made.answer, KEPT_OWNERS), made.samples, made.snapshot.manifest)
    answer = replace(made.answer, since=since_last(made.past, now), trend=trend(made.past, now))
    # A saved snapshot may be older than runs that are kept.
    past = sorted((*made.past, now), key=lambda kept: kept.run.time)
    return made._replace(answer=answer, past=tuple(past), now=now)


def _write_files(made: Made, choices: Choices) -> VmprobeError | None:
    """Write history and files, each whatever becomes of the others; return the first error."""
    errors = []
    for path, write in (
        (choices.history, _append),
        (choices.openmetrics, _write_metrics),
        (choices.html, _write_page),
    ):
        if path is not None:
            try:
                write(path, made)
            except VmprobeError as error:
                errors.append(error)
    return errors[0] if errors else None


def _append(path: Path, made: Made) -> None:
    from vmprobe.store.history import append

    assert made.now is not None
    append(path, made.now)


def _write_metrics(path: Path, made: Made) -> None:
    from vmprobe.render.openmetrics import metrics_text
    from vmprobe.store.single_file import write_whole

    # The node exporter is another user.
    write_whole(path, metrics_text(made.samples).encode(), mode=0o644)


def _write_page(path: Path, made: Made) -> None:
    from vmprobe.analyses.page_inputs import page_inputs
    from vmprobe.render.html import html_page
    from vmprobe.store.single_file import write_whole

    inputs = page_inputs(made.snapshot, made.answer, made.past, made.known)
    write_whole(path, html_page(inputs))


def _say(made: Made, choices: Choices, failed: VmprobeError | None) -> int:
    """Write to standard output, and return the exit status.

    Raises
    ------
    VmprobeError
        The one that writing a file `failed` with, after the report; of a plugin's line only where that would
        be OK or UNKNOWN, since a limit that is crossed is worse.
    """
    from vmprobe.analyses.report_answer import Level

    answer = made.answer
    if choices.plugin:
        from vmprobe.analyses.plugin import STATUS, status_line
        from vmprobe.cli.output import stdout

        line, status = status_line(answer, made.samples)
        if failed is not None and status not in (STATUS[Level.WARNING], STATUS[Level.CRITICAL]):
            raise failed
        stdout().write(f"{line}\n")
        return status
    from vmprobe.analyses.report import shortened
    from vmprobe.analyses.report_layout import layout
    from vmprobe.cli.output import write_answer

    top = choices.top if choices.as_json or choices.top is not None else TOP
    write_answer(shortened(answer, top), layout, as_json=choices.as_json)
    if failed is not None:
        raise failed
    if any(row.crossed and row.level is Level.CRITICAL for row in answer.thresholds):
        return 1
    unknown = next((row for row in answer.thresholds if row.crossed is None), None)
    if unknown is not None:
        raise InputError(f"threshold {unknown.expression!r}: {unknown.reason}")
    return 0

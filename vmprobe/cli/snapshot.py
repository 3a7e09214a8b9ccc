"""``vmprobe snapshot``: take one of this host and write it."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any

import click

from vmprobe.cli.options import debug_option, json_option, root_options

if TYPE_CHECKING:
    from pathlib import Path

    from vmprobe.analyses.parts import Parts
    from vmprobe.store import WrittenSnapshot
    from vmprobe.tables import Snapshot


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    default=None,
    metavar="PATH",
    help="Folder to write.  [default: vmprobe-TIME.vmsnap]",
)
@click.option("--force", is_flag=True, help="Replace an earlier snapshot at PATH.")
@click.option(
    "--pid", "pids", type=click.IntRange(1), multiple=True, metavar="P", help="Only process P; repeatable."
)
@click.option(
    "--tree",
    "trees",
    type=click.IntRange(1),
    multiple=True,
    metavar="P",
    help="Only P and its descendants; repeatable.",
)
@click.option(
    "--cgroup",
    "cgroups",
    multiple=True,
    metavar="PATH",
    help="Only processes in this cgroup and below, as /proc/PID/cgroup prints it; repeatable.",
)
@click.option(
    "--frames/--no-frames",
    default=True,
    help="Read the flags, map count and cgroup of every page frame (default), or leave that out: cheap.",
)
@click.option(
    "--require-frames", is_flag=True, help="Exit 4 where frames may not be read, instead of going on."
)
@click.option(
    "--smaps", is_flag=True, help="Also VMA flags and the kernel's Rss, Pss and Swap; walks page tables."
)
@click.option(
    "--fds/--no-fds", default=True, help="Read which open files are memory or lead to it (default)."
)
@click.option(
    "--sysvipc/--no-sysvipc", default=True, help="Read the System V shared memory segments (default)."
)
@click.option(
    "--ksm-stat/--no-ksm-stat", default=True, help="Read what KSM merged of each process (default)."
)
@click.option("--freeze", is_flag=True, help="Stop the chosen processes (ptrace) while they are read.")
@click.option(
    "--freeze-limit",
    type=click.FloatRange(0.001, 60),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Let them go after this long at the latest.",
)
@click.option("--redact", is_flag=True, help="Replace names and paths by keyed hashes.")
@click.option(
    "--pace",
    type=click.IntRange(1, 100),
    default=100,
    metavar="PERCENT",
    help="Read at most this share of the time; below 100 one thread reads instead of two.",
)
@json_option
@root_options
@debug_option
def snapshot(
    output: str | None,
    pace: int,
    procfs: str | None,
    sysfs: str | None,
    *,
    force: bool,
    as_json: bool,
    **choices: Any,
) -> None:
    """Photograph this host and write the snapshot into a folder.

    What cannot be read is left out and named; the exit status is 0 all the same.
    """
    from vmprobe.cli.output import write_json, write_text
    from vmprobe.cli.progress import progress_line
    from vmprobe.collect import Options, take
    from vmprobe.store import check_target, write

    options = Options(
        pace_percent=pace,
        freeze_limit_seconds=choices.pop("freeze_limit"),
        procfs=procfs or "/proc",
        sysfs=sysfs,
        **choices,
    )
    if options.freeze:
        # Stopped by Ctrl-Z we could not let the others go in time.
        for number in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
            signal.signal(number, signal.SIG_IGN)
    target = _default_name() if output is None else output
    check_target(target, force=force)
    with progress_line() as progress:
        taken = take(options, progress=progress)
    begin = time.perf_counter()
    written = write(taken, target, force=force)
    write_seconds = time.perf_counter() - begin
    if as_json:
        write_json(_answer(taken, written, write_seconds))
    else:
        write_text(_layout(taken, written, write_seconds))


def _default_name() -> str:
    """Return a name that sorts by time."""
    from datetime import UTC, datetime

    from vmprobe.schema import SUFFIX

    return f"vmprobe-{datetime.now(UTC):%Y%m%dT%H%M%SZ}{SUFFIX}"


def _answer(taken: Snapshot, written: WrittenSnapshot, write_seconds: float) -> dict[str, Any]:
    """Return what ``--json`` prints."""
    manifest = taken.manifest
    return {
        "path": str(written.path),
        "bytes": written.nr_bytes,
        "seconds": manifest["time"]["seconds"],
        "write_seconds": round(write_seconds, 6),
        "rows": {name: len(taken.table(name)) for name in taken.tables()},
        "volatility": manifest["volatility"],
        "frozen": manifest["frozen"],
        "unread": manifest["unread"],
    }


def _layout(taken: Snapshot, written: WrittenSnapshot, write_seconds: float) -> Parts:
    from vmprobe.analyses.parts import Fact, Facts, Kind, Note, Parts

    tasks, manifest = taken.table("tasks"), taken.manifest
    facts = [
        Fact("size", written.nr_bytes, Kind.BYTES),
        Fact("taken in", manifest["time"]["seconds"], Kind.SECONDS),
        Fact("written in", write_seconds, Kind.SECONDS),
        Fact("frames", len(taken.table("frames")) if taken.has("frames") else None, Kind.COUNT),
        Fact("processes", len(tasks), Kind.COUNT),
        Fact("address spaces", len(set(tasks.column("mm")[tasks.is_valid("mm")].tolist())), Kind.COUNT),
        Fact("VMAs", len(taken.table("vmas")), Kind.COUNT),
    ]
    missing = tuple(
        f"{entry['what']}: {entry['reason']}"
        + (f" ({entry['count']} times)" if entry["count"] > 1 else "")
        + (f"; needs {entry['needs']}" if entry["needs"] else "")
        for entry in manifest["unread"]
    )
    held = _held(manifest["frozen"])
    parts: list[Facts | Note] = [Facts(f"wrote {written.path}", tuple(facts))]
    if held:
        parts.append(Note("frozen processes", held))
    if missing:
        parts.append(Note("not read", missing))
    return Parts((*parts, Note("", (f"vmprobe show {_shell_word(written.path)}",), verbatim=True)))


def _shell_word(path: Path) -> str:
    """Return a path as a shell takes it, also when it begins like an option."""
    import shlex

    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def _held(entries: list[dict[str, Any]]) -> tuple[str, ...]:
    """Return a few lines on the processes that were to be stopped, however many they are."""
    from collections import Counter

    from vmprobe.units import seconds_text

    stopped = [entry for entry in entries if entry["error"] is None]
    lines = []
    if stopped:
        threads = sum(entry["nr_threads"] for entry in stopped)
        longest = seconds_text(max(entry["stopped_us"] for entry in stopped) / 1e6)
        lines.append(f"stopped: {len(stopped)}, with {threads} threads in all; for {longest} at most")
    if any(entry["released_early"] for entry in stopped):
        lines.append("let go before the reading was over: raise --freeze-limit, or use --no-frames")
    for error, count in Counter(entry["error"] for entry in entries if entry["error"]).most_common():
        lines.append(f"not stopped: {count}: {error}")
    return tuple(lines)

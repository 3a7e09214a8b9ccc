"""Options and arguments that several verbs share, and the snapshot that they speak of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vmprobe.cli.complete import snapshots
from vmprobe.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmprobe.tables import Snapshot

Function = TypeVar("Function", bound="Callable[..., Any]")


def debug_option(function: Function) -> Function:
    """Add ``--debug``; nothing reaches the verb, `vmprobe.cli.main.run` looks at it."""

    def remember(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
        if value and ctx.obj is not None:
            ctx.obj.debug = True

    return click.option(
        "--debug",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=remember,
        help="Show where an error comes from.",
    )(function)


def json_option(function: Function) -> Function:
    """Add ``--json``, which becomes the argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")(
        function
    )


def root_options(function: Function) -> Function:
    """Add ``--procfs`` and ``--sysfs``, for a snapshot that is taken now."""
    texts = {
        "sysfs": "Where the host's /sys is mounted, for a snapshot taken now; a recorded tree has its own.",
        "procfs": "Where the host's /proc is mounted, for a snapshot taken now, or a recorded tree (made by"
        " lab/record.py) to replay.",
    }
    for name, text in texts.items():
        function = click.option(
            f"--{name}",
            type=click.Path(exists=True, file_okay=False),
            default=None,
            metavar="DIR",
            help=text,
        )(function)
    return function


def snapshot_argument(function: Function) -> Function:
    """Add the optional argument SNAPSHOT, which becomes `path`."""
    return click.argument(
        "path",
        metavar="[SNAPSHOT]",
        required=False,
        type=click.Path(readable=False, path_type=Path),
        shell_complete=snapshots,
    )(function)


def open_or_take(
    path: Path | None,
    *,
    procfs: str | None,
    sysfs: str | None,
    pids: tuple[int, ...] = (),
    frames: bool = True,
    cheap: bool = False,
) -> Snapshot:
    """Open the snapshot at `path`, or take one of this host in memory.

    Parameters
    ----------
    path, procfs, sysfs
        What the command line says.
    pids, frames
        Of a snapshot that is taken: the only processes that the question is about, none for all; whether it
        is about frames.
    cheap
        Whether it is about nothing but what takes a moment to read (`vmprobe.collect.Options.cheap`).

    Raises
    ------
    UsageError
        A snapshot is given and a place to take one from as well.
    InputError
        The snapshot cannot be used.
    """
    if path is not None:
        if procfs is not None or sysfs is not None:
            raise UsageError(
                "--procfs and --sysfs say where to take a snapshot, and SNAPSHOT is one already",
                hint="leave out one of the two",
            )
        from vmprobe.store import load

        return load(path)
    from vmprobe.cli.progress import progress_line
    from vmprobe.collect import Options, take

    root = procfs or "/proc"
    if cheap:
        return take(Options.cheap(procfs=root, sysfs=sysfs))
    with progress_line() as progress:
        options = Options(pids=pids, frames=frames, procfs=root, sysfs=sysfs)
        return take(options, progress=progress)

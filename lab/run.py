"""``python -m lab run``: a command in a guest, its output here, its exit status ours."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from lab import guest
from lab.shapes import add_options, from_options


def main(argv: list[str]) -> int:
    """Run one command in a guest and return its exit status.

    Raises
    ------
    LabError
        The guest could not run, or ended early.
    """
    parser = argparse.ArgumentParser("lab run", description="Boot a stock kernel, run COMMAND as root in it.")
    add_options(parser)
    parser.add_argument("--files", type=Path, metavar="DIR", help="new folder for what it puts in $LAB_OUT")
    parser.add_argument("--time-limit", type=float, default=600, metavar="S", help="seconds, default 600")
    parser.add_argument("command", nargs="+", metavar="COMMAND")
    options = parser.parse_args(argv)
    try:
        shape = from_options(options)
    except ValueError as error:
        parser.error(str(error))
    with tempfile.TemporaryDirectory(prefix="vmprobe-lab-") as folder:
        files = options.files or Path(folder) / "out"
        if options.files and files.exists() and any(files.iterdir()):
            parser.error(f"{files} is not empty")
        outcome = guest.run(
            shape, options.command, files, time_limit_seconds=options.time_limit, show=_pass_on
        )
    if outcome.status == guest.TIMED_OUT and outcome.seconds >= options.time_limit:
        sys.stderr.write(f"lab: ended after {options.time_limit:.0f} s, the time limit\n")
    return outcome.status


def _pass_on(out: bytes, err: bytes) -> None:
    for stream, data in ((sys.stdout, out), (sys.stderr, err)):
        if data:
            stream.buffer.write(data)
            stream.flush()

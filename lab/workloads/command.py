"""A command that runs while workloads are held; whatever ends it, nothing is left running."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lab.workloads.memory import SET_CHILD_SUBREAPER, SET_PDEATHSIG, prctl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from types import FrameType
    from typing import NoReturn

    from lab.workloads.made import Truth

END_SECONDS: Final = 10.0
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(argv: list[str], hold: Callable[..., AbstractContextManager[list[Truth]]]) -> int:
    """Do as `lab.workloads.hold.main` says, which gives `lab.workloads.hold.hold`."""
    parser = argparse.ArgumentParser(
        "lab hold",
        description="Make memory layouts, and run COMMAND while they are held, with LAB_PIDS and LAB_TRUTH.",
        usage="lab hold SPEC... [--seed N] [--truth FILE] -- COMMAND ...",
    )
    parser.add_argument("spec", nargs="+", metavar="SPEC", help='such as "holes pages=8192 keep=0.5"')
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the first; the next has N + 1")
    parser.add_argument("--truth", type=Path, metavar="FILE", help="for what the workloads said, as JSON")
    ours, dashes, command = argv, "--" in argv, []
    if dashes:
        ours, command = argv[: argv.index("--")], argv[argv.index("--") + 1 :]
    options = parser.parse_intermixed_args(ours)
    if not command:
        parser.error("a command is needed after --")
    with _signals(), _file(options.truth) as file, hold(*options.spec, seed=options.seed) as truths:
        file.write_text(json.dumps(truths) + "\n", encoding="utf-8")
        pids = [int(truth["pid"]) for truth in truths]
        found = {"LAB_PIDS": " ".join(map(str, pids)), "LAB_TRUTH": str(file)}
        return _run(command, os.environ | found, pids)


@contextmanager
def _file(asked: Path | None) -> Iterator[Path]:
    """Yield where the truth goes: a file that was asked for, or one in memory that cannot be left behind."""
    if asked is not None:
        yield asked.absolute()
        return
    fd = os.memfd_create("truth")
    try:
        yield Path(f"/proc/{os.getpid()}/fd/{fd}")
    finally:
        os.close(fd)


@contextmanager
def _signals() -> Iterator[None]:
    """Turn the first signal that would end us into an exception, and be deaf to more while all is ended."""

    def leave(number: int, _frame: FrameType | None) -> NoReturn:
        for each in SIGNALS:
            # Not SIG_IGN: Python complains of a signal that came just before it.
            signal.signal(each, lambda *_: None)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    before = {number: signal.signal(number, leave) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(command: list[str], environment: dict[str, str], pids: list[int]) -> int:
    """Run a command to its end; when we are ended, end it with all that it started."""
    # What the command leaves behind becomes our child, so that it can be found.
    prctl(SET_CHILD_SUBREAPER, 1)
    process: subprocess.Popen[bytes] | None = None
    # A signal between the start of the command and our knowing of it would leave it running.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        process = subprocess.Popen(
            command,
            env=environment,
            preexec_fn=_before_the_command,  # noqa: PLW1509 - there are no threads
        )
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        status = process.wait()
    except OSError as error:
        sys.stderr.write(f"lab: {command[0]}: {error.strerror}\n")
        return 127 if isinstance(error, FileNotFoundError) else 126
    except BaseException:
        if process is not None:
            process.terminate()
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        _end_orphans(pids)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        prctl(SET_CHILD_SUBREAPER, 0)
    return status if status >= 0 else 128 - status


def _before_the_command() -> None:
    """Let it have signals, and end it with us, should we be killed."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    prctl(SET_PDEATHSIG, signal.SIGTERM)


def _end_orphans(pids: list[int]) -> None:
    """End every child that is no workload, and the children that this makes ours."""
    asked: set[int] = set()
    until = time.monotonic() + END_SECONDS
    while orphans := _children() - set(pids):
        late = time.monotonic() > until
        for pid in orphans if late else orphans - asked:
            # None of them was waited for, so that the number is still its own.
            os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
        asked |= orphans
        for pid in orphans:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.02)


def _children() -> set[int]:
    """Return our children; none where the kernel has no list of them."""
    found: set[int] = set()
    for thread in os.listdir("/proc/self/task"):
        with (
            contextlib.suppress(OSError),
            open(f"/proc/self/task/{thread}/children", encoding="ascii") as file,
        ):
            found |= {int(word) for word in file.read().split()}
    return found

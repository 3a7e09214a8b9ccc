"""``vmprobe VERB``: finds the verb, and turns errors into one line and an exit status.

========  ===========================================================
0         fine; also where another run holds the lock (report --lock)
1         the answer is bad news (a verb says so itself)
2         wrong usage
3         the input could not be read, or the answer not be written
4         not permitted
70        a defect of vmprobe
130       interrupted
141       the reader of our output went away
========  ===========================================================

``report --plugin`` ends as monitoring plugins do instead; each error of ours is UNKNOWN there, 3.
"""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
import threading
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

import vmprobe
from vmprobe.errors import InputError, OutputError, OverlapError, PrivilegeError, UsageError, VmprobeError
from vmprobe.units import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM: Final = "vmprobe"
COMPLETE: Final = "_VMPROBE_COMPLETE"
"""The variable with which a shell asks click for completions."""

VERBS: Final = (
    "snapshot", "show", "check", "vmas", "page", "rmap", "sharing", "frag", "map", "compact", "can-alloc",
    "whatif", "record", "report", "diff", "history", "sql", "doctor",
)  # fmt: skip
"""Verbs in the order of the help; each is the command of that name in ``vmprobe.cli.VERB``, - written _."""

_STATUS: Final[tuple[tuple[type[VmprobeError], int], ...]] = (
    (UsageError, 2),
    (InputError, 3),
    (OutputError, 3),
    (PrivilegeError, 4),
    (OverlapError, 0),
)
CUT_SHORT: Final = "interrupted; no answer was given"
DEFECT: Final = 70
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141


@dataclass
class State:
    """What outlives the parsing of the command line; click hands it to every verb as ``ctx.obj``."""

    debug: bool = False
    plugin: bool = False
    """A monitoring system reads the answer, and takes a status of 1 or 2 for the state of the host."""


class Verbs(click.Group):
    """A group that imports a verb when it is asked for (``typing.override`` needs Python 3.12)."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # type: ignore[explicit-override]
        """Return the verbs."""
        del ctx
        return list(VERBS)

    def get_command(  # type: ignore[explicit-override]
        self, ctx: click.Context, cmd_name: str
    ) -> click.Command | None:
        """Return the command of one verb."""
        del ctx
        if cmd_name not in VERBS:
            return None
        name = cmd_name.replace("-", "_")
        command = getattr(importlib.import_module(f"vmprobe.cli.{name}"), name)
        assert isinstance(command, click.Command)
        return command


@click.group(
    PROGRAM,
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog='Completion: add `eval "$(_VMPROBE_COMPLETE=bash_source vmprobe)"` to ~/.bashrc; zsh_source and '
    "fish_source print the same for those shells.",
)
@click.version_option(vmprobe.__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")
def cli() -> None:
    """Photograph the memory of a running Linux host from /proc, then ask the photograph.

    Every verb that takes a SNAPSHOT takes one of this host in memory when none is given.
    """


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status; nothing but text for people reaches stderr.

    Parameters
    ----------
    argv
        Arguments without the program's name; those of this process by default.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    state = State(plugin=args[:1] == ["report"] and "--plugin" in args)
    try:
        _end_by_signals()
        status = _invoke(args, state)
        _flush()
    except BaseException as error:  # noqa: BLE001 - the one place where an error becomes a status
        ends = isinstance(error, SystemExit | GeneratorExit | BrokenPipeError)
        return _unknown(error) if state.plugin and not ends else _failed(error, state)
    return status


def _end_by_signals() -> None:
    """Let SIGTERM and SIGHUP end a run as Ctrl-C does: processes run again, nothing half-written stays."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP, and means it
            signal.signal(number, signal.default_int_handler)


def _invoke(args: list[str], state: State) -> int:
    """Parse and run; click's own `main` would end a broken pipe with status 1."""
    if COMPLETE in os.environ:
        cli.main(args, PROGRAM)
    if sys.stdout is not None:
        # A name that the terminal's encoding lacks must not stop an answer.
        getattr(sys.stdout, "reconfigure", lambda **_: None)(errors="backslashreplace")
    try:
        with cli.make_context(PROGRAM, args, obj=state) as ctx:
            result: Any = cli.invoke(ctx)
    except click.exceptions.Exit as done:
        return done.exit_code
    return result if isinstance(result, int) else 0


def _flush() -> None:
    """Write what is buffered now, while an error can still be told."""
    if sys.stdout is not None:
        sys.stdout.flush()


def _failed(error: BaseException, state: State) -> int:
    """Tell `error` on stderr and return the exit status."""
    if isinstance(error, SystemExit | GeneratorExit):
        raise error
    if isinstance(error, BrokenPipeError):
        _discard_output()
        return BROKEN_PIPE
    if state.debug and not isinstance(error, click.exceptions.ClickException):
        traceback.print_exception(error)
    if isinstance(error, KeyboardInterrupt | click.exceptions.Abort):
        _complain(CUT_SHORT)
        return INTERRUPTED
    if isinstance(error, click.exceptions.ClickException):
        return _wrong_usage(error)
    if isinstance(error, VmprobeError):
        _complain(error.message, error.hint)
        return next((status for kind, status in _STATUS if isinstance(error, kind)), DEFECT)
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EBADF}:
        _discard_output()
        _complain(f"standard output: {os.strerror(error.errno)}")
        return 3
    hint = None if state.debug else "run again with --debug to see where, and report it"
    _complain(f"a defect: {type(error).__name__}: {error}", hint)
    return DEFECT


def _unknown(error: BaseException) -> int:
    """Tell `error` as a monitoring plugin does: in one line on stdout."""
    from vmprobe.analyses.plugin import unknown_line

    if isinstance(error, click.exceptions.ClickException):
        message = error.format_message()
    elif isinstance(error, VmprobeError):
        message = f"{error.message}; {error.hint}" if error.hint else error.message
    elif isinstance(error, KeyboardInterrupt | click.exceptions.Abort):
        message = CUT_SHORT
    else:
        message = f"a defect: {type(error).__name__}: {error}"
    line, status = unknown_line(plain(message))
    try:
        click.echo(line)
    except OSError:
        _discard_output()  # nobody reads it; the status still tells
    return status


def _wrong_usage(error: click.exceptions.ClickException) -> int:
    """Tell a command line that click refuses."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return error.exit_code
    context = getattr(error, "ctx", None)
    verb = context.command_path if context is not None else PROGRAM
    _complain(error.format_message(), f"`{verb} --help` shows the usage")
    return error.exit_code


def _complain(message: str, hint: str | None = None) -> None:
    """Write a message and its hint to stderr, one line each."""
    if sys.stderr is None:
        return
    lines = [f"{PROGRAM}: {plain(message)}"]
    if hint:
        lines.append(f"hint: {plain(hint)}")
    try:
        sys.stderr.write("\n".join(lines) + "\n")
        sys.stderr.flush()
    except OSError:
        # Nobody listens; the exit status still tells.
        return


def _discard_output() -> None:
    """Send what is still buffered nowhere, so that the interpreter's last flush stays silent."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)

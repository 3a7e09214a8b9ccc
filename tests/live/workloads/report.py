"""What `vmprobe sharing` says of a snapshot, asked through the command line within this process.

Every command of its own would import everything again, which takes seconds in an emulated guest.
"""

from __future__ import annotations

import contextlib
import io
import json
from typing import TYPE_CHECKING, Any

from vmprobe.cli.main import run

if TYPE_CHECKING:
    from pathlib import Path

    Document = dict[str, Any]


class ReportError(Exception):
    """A command of vmprobe failed; the message is what it said."""


def photograph(snapshot: Path, procfs: str | None = None) -> None:
    """Take a snapshot of the whole host, with what smaps tells."""
    _run(
        ["snapshot", "-o", str(snapshot), "--force", "--smaps", *(["--procfs", procfs] if procfs else [])],
        {0},
    )


def reported(snapshot: Path, pid: int | None = None) -> Document:
    """Return the document of `vmprobe sharing`, of the whole host or of one process's part."""
    words = ["sharing", str(snapshot), "--json", *(["--pid", str(pid)] if pid is not None else [])]
    document: Document = json.loads(_run(words, {0, 1}))
    return document


def _run(words: list[str], fine: set[int]) -> str:
    """Run a command line and return what it printed."""
    out, complaints = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(complaints):
        status = run(words)
    if status not in fine:
        raise ReportError(f"vmprobe {words[0]} ended with {status}: {complaints.getvalue().strip()}")
    return out.getvalue()

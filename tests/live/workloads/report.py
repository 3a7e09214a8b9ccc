"""What `vmprobe sharing` says of a snapshot, asked within this process.

Every command of its own would import and survey everything again, which takes seconds in an emulated guest.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from vmprobe.analyses.sharing import Study, sharing
from vmprobe.bridge.sharing import at_frame
from vmprobe.cli.main import run
from vmprobe.render.jsontext import dumps
from vmprobe.store import load

if TYPE_CHECKING:
    from pathlib import Path

    Document = dict[str, Any]


class ReportError(Exception):
    """A command of vmprobe failed; the message is what it said."""


def photograph(snapshot: Path, procfs: str | None = None) -> None:
    """Take a snapshot of the whole host, with what smaps tells.

    Raises
    ------
    ReportError
        It could not be taken.
    """
    words = ["snapshot", "-o", str(snapshot), "--force", "--smaps", *(["--procfs", procfs] if procfs else [])]
    complaints = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(complaints):
        status = run(words)
    if status:
        raise ReportError(f"vmprobe snapshot ended with {status}: {complaints.getvalue().strip()}")


@functools.lru_cache(maxsize=2)
def _study(snapshot: Path) -> Study:
    return Study(load(snapshot))


def reported(snapshot: Path, pid: int | None = None) -> Document:
    """Return the document of `vmprobe sharing --json`, of the whole host or of one process's part."""
    document: Document = json.loads(dumps(sharing(_study(snapshot), pid=pid)))
    return document


def named_at(snapshot: Path, pfns: list[int], mechanism: str) -> tuple[int, int]:
    """Return how many of the frames are named with a mechanism, and how many moved meanwhile."""
    study = _study(snapshot)
    frames = study.facts.frames
    rows = frames.rows(np.array(pfns)).tolist()
    named = [row for row in rows if any(each.mechanism == mechanism for each in at_frame(study.survey, row))]
    return len(named), sum(bool(frames.unstable[row]) for row in rows)

"""What the history keeps of a report."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import uuid4

from vmprobe.store.history import Kept, Owner, Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmprobe.analyses.report_answer import Report
    from vmprobe.metrics import Sample


def kept(report: Report, samples: Sequence[Sample], *, boot_id: str | None) -> Kept:
    """Return a report as a run of the history, under an id of its own.

    Parameters
    ----------
    report
        The report.
    samples
        Of it, as `vmprobe.analyses.samples.samples` gives them.
    boot_id
        Of the boot that it is about, ``host.boot_id`` in the manifest; None where it is not known.
    """
    owners = tuple(
        Owner(row.kind, row.owner, row.pid, row.pageblocks, row.pages, row.trapped_free_pages)
        for row in report.frag.owners or ()
    )
    run = Run(
        id=uuid4().hex,
        time=datetime.fromisoformat(report.time),
        boot_id=boot_id,
        release=report.release,
        frames=report.frames,
        seconds=report.cost.seconds,
    )
    return Kept(run, tuple(samples), owners)

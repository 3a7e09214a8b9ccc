"""What the history keeps of a report."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_OID, uuid5

from vmprobe.store.history import Kept, Owner, Run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vmprobe.analyses.report_answer import Report
    from vmprobe.metrics import Sample


def kept(report: Report, samples: Sequence[Sample], manifest: Mapping[str, Any]) -> Kept:
    """Return a report as a run of the history; two reports on one snapshot are one run.

    Parameters
    ----------
    report
        The report.
    samples
        Of it, as `vmprobe.analyses.samples.samples` gives them.
    manifest
        Of its snapshot.
    """
    owners = tuple(
        Owner(row.kind, row.owner, row.pid, row.pageblocks, row.pages, row.trapped_free_pages)
        for row in report.frag.owners or ()
    )
    boot_id = manifest["host"].get("boot_id")
    # No two snapshots have all of these in common.
    time = manifest["time"]
    photograph = (boot_id, time["start"], time["seconds"], manifest["program"].get("pid"))
    run = Run(
        id=uuid5(NAMESPACE_OID, repr(photograph)).hex,
        time=datetime.fromisoformat(report.time),
        boot_id=boot_id,
        release=report.release,
        frames=report.frames,
        seconds=report.cost.seconds,
    )
    return Kept(run, tuple(samples), owners)

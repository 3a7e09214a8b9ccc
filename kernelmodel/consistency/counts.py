"""Map counts: what page tables add up to against what the kernel counted, each difference with a name.

Mirrors: ``fs/proc/page.c: kpagecount_read``; the rules are those of ``kernelmodel.sharing.reason``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.consistency.violation import Violation, witnesses
from kernelmodel.pageflags import describe
from kernelmodel.sharing.ledger import CountCheck, compare, found_counts
from kernelmodel.sharing.reason import REASON_INFO, Reason, explain

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.host import HostModel

__all__ = ["REASON_INFO", "CountCheck", "Reason", "check_counts"]


def check_counts(model: HostModel) -> tuple[CountCheck | None, NDArray[np.uint8], list[Violation]]:
    """Compare counts frame by frame.

    Returns
    -------
    tuple
        The figures, None where there are no page tables or no counts; the `Reason` of each frame's row as
        uint8; and violations of kind ``count-unexplained``, ``hidden-mappers-bound`` (more hidden entries
        than the hidden processes can have) and ``count-rmap`` (the reverse entries of a frame are not as many
        as the page-table entries that lead to it).
    """
    frames, tables = model.frames, model.tables
    if tables is None or model.entries is None or frames.mapcount is None:
        return None, np.full(len(frames), Reason.NOT_MAPPED, np.uint8), []
    found, nr_outside = found_counts(frames, tables)
    counted, unseen = frames.mapcount, model.unseen
    reasons = explain(
        frames, tables, found, counted, unseen=unseen, zspages=model.zspages, averaged=model.averaged
    )
    checked = compare(frames, found, reasons, nr_outside, unseen)
    violations = witnesses(
        "count-unexplained", reasons == Reason.UNEXPLAINED, lambda row: _describe(model, row, found, counted)
    )
    at_most = checked.hidden_at_most
    if at_most is not None and checked.hidden_entries > at_most:
        nr = checked.hidden_entries
        detail = f"{nr} entries are hidden, those processes have {at_most} resident pages at most"
        violations.append(Violation("hidden-mappers-bound", "unread processes", detail))
    return checked, reasons, violations + _against_rmap(model, found)


def _against_rmap(model: HostModel, found: NDArray[np.int32]) -> list[Violation]:
    entries, frames = model.entries, model.frames
    assert entries is not None
    rows = frames.rows(entries.pfn)
    inside = rows >= 0
    reverse = np.zeros(len(frames), np.int64)
    reverse[rows[inside]] = entries.counts()[inside]
    return witnesses(
        "count-rmap",
        reverse != found,
        lambda row: (
            f"pfn {frames.pfn(row)}",
            f"{reverse[row]} reverse entries, {found[row]} page-table entries lead to it",
        ),
    )


def _describe(
    model: HostModel, row: int, found: NDArray[np.int32], counted: NDArray[np.uint32]
) -> tuple[str, str]:
    flags = describe(int(model.frames.words[row]))
    compared = f"{found[row]} entries found, {counted[row]} counted by the kernel"
    return f"pfn {model.frames.pfn(row)}", f"{compared}, {flags}"

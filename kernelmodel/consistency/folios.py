"""Folios of the model against the marks on their frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.consistency.violation import Violation, witnesses
from kernelmodel.pageflags import mask

if TYPE_CHECKING:
    from kernelmodel.host import HostModel

_HEAD = np.uint64(mask("COMPOUND_HEAD"))
_TAIL = np.uint64(mask("COMPOUND_TAIL"))


def check_folios(model: HostModel) -> list[Violation]:
    """Check that each folio is its head and all its tails, a power of two, naturally aligned.

    Violations are ``folio-order`` (a head alone, a size that is no power of two, or not one more than its
    tails), ``folio-aligned`` and ``tail-without-head``. Folios with an unstable frame are passed by: they may
    have been split or made while they were looked at.
    """
    frames, folios = model.frames, model.folios
    unsure = np.concatenate(([0], np.cumsum(frames.unstable)))
    tails = np.concatenate(([0], np.cumsum((frames.words & _TAIL) != 0)))
    head = frames.rows(folios.head_pfn)
    end = np.minimum(head + folios.nr_pages, len(frames))
    after = np.minimum(end, len(frames) - 1)
    goes_on = ((frames.words[after] & _TAIL) != 0) & (frames.pfns(after) == folios.head_pfn + folios.nr_pages)
    stable = (unsure[end] == unsure[head]) & ~frames.unstable[after]
    nr_tails = tails[end] - tails[head]
    size = folios.nr_pages

    def where(row: int) -> str:
        return f"folio at pfn {folios.head_pfn[row]}"

    def order(row: int) -> tuple[str, str]:
        more = ", and a tail follows" if goes_on[row] else ""
        return where(row), f"{size[row]} pages, {nr_tails[row]} tails among them{more}"

    wrong = (size < 2) | ((size & (size - 1)) != 0) | (nr_tails != size - 1) | goes_on
    wrong |= (frames.words[head] & _HEAD) == 0
    violations = witnesses("folio-order", stable & wrong, order)
    violations += witnesses(
        "folio-aligned",
        stable & ~wrong & ((folios.head_pfn & (size - 1)) != 0),
        lambda row: (where(row), f"{size[row]} pages"),
    )
    covered = np.zeros(len(frames) + 1, np.int64)
    np.add.at(covered, head, 1)
    np.add.at(covered, end, -1)
    orphan = ((frames.words & _TAIL) != 0) & (np.cumsum(covered[:-1]) == 0) & ~frames.unstable
    violations += witnesses(
        "tail-without-head", orphan, lambda row: (f"pfn {frames.pfn(row)}", "in no folio")
    )
    return violations

"""Frames that the kernel counts more mappers of than page tables were found.

Mirrors: ``fs/proc/base.c: proc_pid_readdir`` (what a PID namespace or hidepid leaves out), ``kernel/exit.c:
exit_mm`` (a process without an address space whose page tables still stand).
Fidelity: who it is cannot be told of a single frame; the candidates are those of the whole host.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.sharing.counted import of_rows
from kernelmodel.sharing.mechanism import Certainty, Mechanism
from kernelmodel.sharing.reason import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernelmodel.host import Unseen
    from kernelmodel.sharing.finding import Finding
    from kernelmodel.sharing.view import View


def hidden_certainty(unseen: Unseen) -> Certainty:
    """Return how sure it is that a surplus is of a hidden process: a short-lived one can be it too.

    >>> from kernelmodel.host import Unseen
    >>> [hidden_certainty(Unseen(*of)).word for of in ((1, 9), (3, None, 2), (None, None), (2, None, 2))]
    ['proved', 'likely', 'likely', 'possible']
    """
    if not unseen.lasting:
        return Certainty.POSSIBLE
    if unseen.nr_processes is None or unseen.nr_short_lived != 0:
        return Certainty.LIKELY
    return Certainty.PROVED


def hidden_mappers(view: View) -> Iterator[Finding]:
    """Find frames with more mappers than were found, and lay them on who is left."""
    unseen = view.facts.unseen
    assert view.facts.frames.mapcount is not None
    for mechanism, reason in (
        (Mechanism.HIDDEN_MAPPERS, Reason.HIDDEN_MAPPERS),
        (Mechanism.EXITING_MM, Reason.EXITING_MM),
    ):
        rows = np.flatnonzero(view.ledger.reason == reason)
        counted = view.facts.frames.mapcount[rows].sum(dtype=np.int64)
        nr = int(counted - view.ledger.found[rows].sum(dtype=np.int64))
        told = "?" if unseen.nr_processes is None else unseen.nr_processes
        note = (
            f"{nr} entries beyond those found; {told} processes not read, of which"
            f" {unseen.nr_short_lived or 0} short-lived; {unseen.nr_hidden_threads or 0} threads not listed"
        )
        for finding in of_rows(view, mechanism, hidden_certainty(unseen), rows, note):
            yield replace(finding, nr_entries=nr)

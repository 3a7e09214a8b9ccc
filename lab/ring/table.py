"""The ring's results: a cell for every check in every guest, a figure or the reason why there is none."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final

from lab.errors import DiffersError
from lab.guest import TREE
from lab.ring import (
    NR_ROUNDS,
    checks_frames,
    checks_model,
    checks_pools,
    checks_replay,
    checks_tasks,
    checks_zones,
)
from lab.ring.guests import GUESTS

if TYPE_CHECKING:
    from pathlib import Path

    from lab.ring.check import Check
    from lab.ring.visit import Visit

CHECKS: Final = (
    *checks_frames.CHECKS,
    *checks_model.CHECKS,
    *checks_zones.CHECKS,
    *checks_tasks.CHECKS,
    *checks_pools.CHECKS,
    *checks_replay.CHECKS,
)
"""Every row."""

RESULTS: Final = TREE / ".lab" / "results.json"
NOT_RUN: Final = "not run"


@dataclass
class Column:
    """What one guest gave.

    Parameters
    ----------
    kernel
        Series.
    name
        Of the guest.
    about
        Release and seconds, or why it did not run.
    cells
        Check to figure, or to a reason in parentheses.
    """

    kernel: str
    name: str
    about: str = NOT_RUN
    cells: dict[str, str] = field(default_factory=lambda: {check.name: f"({NOT_RUN})" for check in CHECKS})

    @property
    def id(self) -> str:
        """Kernel and name."""
        return f"{self.kernel} {self.name}"


def empty() -> dict[str, Column]:
    """Return a column for every guest, each cell saying that it did not run."""
    return {guest.id: Column(guest.shape.kernel, guest.name) for guest in GUESTS}


def cell(check: Check, visit: Visit) -> str:
    """Return the figure of one check over all rounds of a guest, or the reason in parentheses.

    Raises
    ------
    DiffersError
        A round differs from its witness.
    """
    reason = check.absent(visit)
    if reason is not None:
        return f"({reason})"
    if len(visit.rounds) < NR_ROUNDS:
        counted = visit.facts["rounds"]
        raise DiffersError(
            f"{counted['quiet']} of {counted['attempts']} rounds were quiet, {NR_ROUNDS} are needed"
        )
    figures = [check.compare(visit, taken) for taken in visit.rounds]
    return f"{figures[-1]}; {len(figures)} of {NR_ROUNDS}"


def text(columns: dict[str, Column]) -> str:
    """Return the table for a terminal: one block a guest."""
    width = max(len(check.name) for check in CHECKS)
    lines = []
    for column in columns.values():
        if column.about == NOT_RUN:
            continue
        lines.append(f"{column.id}: {column.about}")
        lines += [f"  {name:{width}}  {figure}" for name, figure in column.cells.items()]
        lines.append("")
    return "\n".join(lines)


def save(columns: dict[str, Column], path: Path = RESULTS) -> None:
    """Keep the results for docs/support.md; of guests that were not run, those of before."""
    path.parent.mkdir(exist_ok=True)
    if path.exists():
        before = load(path)
        columns = {
            name: before.get(name, column) if column.about == NOT_RUN else column
            for name, column in columns.items()
        }
    path.write_text(json.dumps([asdict(column) for column in columns.values()], indent=1), encoding="utf-8")


def load(path: Path = RESULTS) -> dict[str, Column]:
    """Return the last results.

    Raises
    ------
    OSError
        The ring was never run here.
    """
    columns = [Column(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
    return {column.id: column for column in columns}

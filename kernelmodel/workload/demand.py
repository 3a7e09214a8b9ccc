"""A stream of requests for memory, the same for every policy: who asks for what, when, and for how long.

::

    request      0        1        2               columns, a row a request
    order        0        3        0
    lifetime     2        1        FOREVER         events until it is given back
    events       0  1  ~1  2  ~0                   r: request r arrives; ~r: what r got is given back

Integers alone, so that one seed makes one stream on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel.compaction.zone_layout import Frame
from kernelmodel.errors import InvariantError
from kernelmodel.page_alloc.state import MAX_ZONE_TYPES, NR_PCPTYPES
from kernelmodel.priority import Priority

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOREVER: Final = -1
"""Lifetime of what is never given back."""


@dataclass(frozen=True, eq=False)
class Requests:
    """Columns of equal length, a row a request; all uint8.

    Parameters
    ----------
    order
        log2 of the pages.
    migratetype
        UNMOVABLE, MOVABLE or RECLAIMABLE.
    kind
        The `kernelmodel.compaction.zone_layout.Frame` that its frames become: what help can do with them.
    priority
        A `kernelmodel.priority.Priority`.
    highest_zone
        The highest zone type that will do: DMA 0, DMA32 1, Normal 2, Movable 3.
    cpu
        Who asks.
    source
        Which of `Demand.sources` it belongs to.
    """

    order: NDArray[np.uint8]
    migratetype: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    priority: NDArray[np.uint8]
    highest_zone: NDArray[np.uint8]
    cpu: NDArray[np.uint8]
    source: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.order)


@dataclass(frozen=True, eq=False)
class Demand:
    """A stream.

    Parameters
    ----------
    sources
        Names of what the stream is mixed of.
    requests
        What is asked for.
    events
        int32: ``r`` where request r arrives, ``~r`` where what it got is given back.
    standing_pfn
        int64, where the first requests stand before the stream begins: they do not arrive, and can leave.
        Empty in streams that know no host.
    """

    sources: tuple[str, ...]
    requests: Requests
    events: NDArray[np.int32]
    standing_pfn: NDArray[np.int64]

    @property
    def nr_standing(self) -> int:
        """How many of the requests stand there before the stream begins."""
        return len(self.standing_pfn)

    def validate(self, nr_orders: int = 11) -> None:
        """Check the columns and that every request arrives at most once and leaves at most once, later.

        Raises
        ------
        InvariantError
            ``demand-columns``, ``demand-values`` or ``demand-events``, with the request.
        """
        nr = len(self.requests)
        for field in fields(Requests):
            column = getattr(self.requests, field.name)
            if column.dtype != np.uint8 or column.shape != (nr,):
                raise InvariantError("demand-columns", field.name, f"{column.dtype} {column.shape}")
        highest = {
            "order": nr_orders - 1,
            "migratetype": NR_PCPTYPES - 1,
            "kind": max(Frame),
            "priority": max(Priority),
            "highest_zone": MAX_ZONE_TYPES - 1,
            "source": len(self.sources) - 1,
        }
        for name, most in highest.items():
            above = np.flatnonzero(getattr(self.requests, name) > most)
            if len(above):
                detail = f"{name} {getattr(self.requests, name)[above[0]]}, at most {most}"
                raise InvariantError("demand-values", f"request {above[0]}", detail)
        self._check_events(nr)

    def _check_events(self, nr: int) -> None:
        arrives = self.events >= 0
        number = np.where(arrives, self.events, ~self.events)
        if len(number) and int(number.max()) >= nr:
            raise InvariantError("demand-events", f"request {number.max()}", f"there are {nr}")
        came = np.full(nr, len(self.events), np.int64)
        came[: self.nr_standing] = -1
        for what, chosen in (("arrives", arrives), ("leaves", ~arrives)):
            often = np.flatnonzero(np.bincount(number[chosen], minlength=nr) > 1)
            if len(often):
                raise InvariantError("demand-events", f"request {often[0]}", f"{what} twice")
        at = np.flatnonzero(arrives)
        early = number[at] < self.nr_standing
        if early.any():
            raise InvariantError("demand-events", f"request {number[at][early][0]}", "arrives, and stands")
        came[number[at]] = at
        left = np.flatnonzero(~arrives)
        wrong = came[number[left]] > left
        if wrong.any():
            first = number[left][wrong][0]
            raise InvariantError("demand-events", f"request {first}", "leaves before it came")

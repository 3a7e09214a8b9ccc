"""One comparison of the ring: a question, its witness, and the fault that it must notice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lab.errors import DiffersError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.ring.visit import Round, Visit


def _always(_visit: Visit) -> None:
    return None


@dataclass(frozen=True)
class Check:
    """One row of the ring's table.

    Parameters
    ----------
    name
        What is compared.
    witness
        Who else says it.
    compare
        Returns a figure, or raises `DiffersError`.
    plant
        Returns the round with a fault in its snapshot, on which `compare` must raise.
    absent
        Returns why this guest cannot answer, or None when it can.
    """

    name: str
    witness: str
    compare: Callable[[Visit, Round], str]
    plant: Callable[[Visit, Round], Round]
    absent: Callable[[Visit], str | None] = _always


def equal(found: Any, expected: Any, what: str) -> None:
    """Demand equality: in a quiet guest nothing less will do.

    Raises
    ------
    DiffersError
        They differ.
    """
    if found != expected:
        raise DiffersError(f"{what}: vmprobe {found}, witness {expected}")

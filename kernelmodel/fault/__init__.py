"""A simulated machine: what touching, forking and unmapping do to frames and page tables.

`machine` offers the operations, `memory` holds frames and entries and tells who watches, `types` says what
those are, and `check` holds everything against everything.
"""

from kernelmodel.fault.machine import Machine
from kernelmodel.fault.memory import Memory
from kernelmodel.fault.types import (
    ZERO_PFN,
    Area,
    Frame,
    MapObserver,
    Move,
    Pte,
    VmaChange,
    VmaObserver,
)

__all__ = [
    "ZERO_PFN",
    "Area",
    "Frame",
    "Machine",
    "MapObserver",
    "Memory",
    "Move",
    "Pte",
    "VmaChange",
    "VmaObserver",
]

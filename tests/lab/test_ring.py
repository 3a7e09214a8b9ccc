"""Every kernel, every shape: the snapshot equals its witnesses, and each of them sees a planted fault."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab.errors import DiffersError
from lab.ring.guests import GUESTS, Guest
from lab.ring.table import CHECKS, cell

if TYPE_CHECKING:
    from lab.ring.check import Check
    from tests.lab.conftest import Ring

pytestmark = pytest.mark.lab


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
@pytest.mark.parametrize("guest", GUESTS, ids=lambda guest: guest.id)
def test_the_snapshot_equals_its_witness(ring: Ring, guest: Guest, check: Check) -> None:
    visit = ring.visit(guest)
    cells = ring.columns[guest.id].cells
    cells[check.name] = "FAILED"
    cells[check.name] = cell(check, visit)
    if check.absent(visit) is None:
        planted = check.plant(visit, visit.rounds[-1])
        with pytest.raises(DiffersError):
            check.compare(visit, planted)

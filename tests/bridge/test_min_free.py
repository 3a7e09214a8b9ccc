"""What khugepaged would have vm.min_free_kbytes be: what it was where khugepaged had set it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.synthetic import snapshot
from vmprobe.bridge.zones import recommended_min_free
from vmprobe.store import load

SNAPSHOTS = Path(__file__).parents[2] / "fixtures" / "snapshots"


@pytest.mark.parametrize("name", ["6.1-compacting", "6.12-compacting", "6.1-two-nodes", "6.12-two-nodes"])
def test_it_is_what_guests_with_huge_pages_had(name: str) -> None:
    guest = load(SNAPSHOTS / f"{name}.vmsnap")
    named = guest.table("counters").rows("source", "name", "value")
    (printed,) = [value for source, name, value in named if (source, name) == ("sysctl", "min_free_kbytes")]
    assert recommended_min_free(guest) == printed


def test_what_it_hangs_on_may_be_missing() -> None:
    assert recommended_min_free(snapshot()) is None, "no setting was read"
    guest = load(SNAPSHOTS / "6.12-compacting.vmsnap")
    unordered = type(guest)({**guest.manifest, "pageblock_order": None}, guest.source)
    assert recommended_min_free(unordered) is None

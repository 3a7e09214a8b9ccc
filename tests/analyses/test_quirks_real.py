"""vmprobe.analyses.quirks on flag words of real kernels (fixtures/proc/README.md)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.synthetic import rows, snapshot
from vmprobe.analyses.quirks import quirks
from vmprobe.analyses.show import show
from vmprobe.schema import TABLES
from vmprobe.tables import Table

if TYPE_CHECKING:
    from vmprobe.tables import Snapshot

PROC = Path(__file__).parents[2] / "fixtures" / "proc"
GUESTS = sorted(path.parent.parent.name for path in PROC.glob("*/task/kpageflags_of_pagemap"))
NEVER_SWITCHED_ON = rows("counters", "source scope name value", ("ksm", "", "pages_shared", 0))


def words(guest: str, *files: str) -> np.ndarray:
    return np.concatenate([np.frombuffer((PROC / guest / file).read_bytes(), np.uint64) for file in files])


def taken(flags: np.ndarray) -> Snapshot:
    table = Table(TABLES["frames"], {"flags": flags}, flags.size)
    return snapshot(frames=table, counters=NEVER_SWITCHED_ON)


def statuses(flags: np.ndarray) -> dict[str, str]:
    return {finding.id: finding.status for finding in quirks(taken(flags))}


def test_both_kernels_are_there() -> None:
    assert {guest.split("-")[0] for guest in GUESTS} == {"6.1", "6.12"}


@pytest.mark.parametrize("guest", GUESTS)
def test_ksm_is_told_from_the_words(guest: str) -> None:
    """KSM was never switched on: 6.1 says so, 6.12 sets the bit on every anonymous page."""
    flags = words(guest, "task/kpageflags_of_pagemap", "mixed/kpageflags")
    assert statuses(flags)["ksm-on-all-anon"] == ("present" if guest.startswith("6.12") else "absent")
    found = show(taken(flags)).frames
    assert found is not None
    counts = {row.name: row.nr_frames for row in found.classes}
    assert "ksm" not in counts
    assert counts["anonymous"] > 100


@pytest.mark.parametrize(("guest", "status"), [("6.1-1node", "absent"), ("6.12-1node", "present")])
def test_tails_repeat_their_head_or_not(guest: str, status: str) -> None:
    assert statuses(words(guest, "task/kpageflags_of_pagemap"))["tails-repeat-head"] == status


@pytest.mark.parametrize("guest", ["6.1-1node", "6.12-1node"])
def test_the_workloads_huge_page_is_anonymous_as_a_whole(guest: str) -> None:
    """One huge page (512 frames) and its other written pages: 650 on 6.1, 651 on 6.12."""
    found = show(taken(words(guest, "task/kpageflags_of_pagemap"))).frames
    assert found is not None
    counts = {row.name: row.nr_frames for row in found.classes}
    assert counts["anonymous"] == {"6.1-1node": 650, "6.12-1node": 651}[guest]
    assert (counts["zero page"], counts["shmem"], counts["reserved"]) == (8, 31, 1)


def test_slab_junk_is_there_on_6_12() -> None:
    assert statuses(words("6.12-1node", "mixed/kpageflags"))["slab-junk-anon-ksm"] == "present"


def test_holes_of_6_12_are_reported() -> None:
    assert statuses(words("6.12-2node", "hole/kpageflags"))["nopage-not-reported"] == "absent"

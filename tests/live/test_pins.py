"""Pages that a child of ours pins: every one is located, and no page beside them."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from lab.errors import UnavailableError
from lab.workloads import hold
from vmprobe.bridge.pins import pinned_frames
from vmprobe.collect import Options, take
from vmprobe.formats import pagemap

pytestmark = [pytest.mark.live, pytest.mark.root]
PAGE = os.sysconf("SC_PAGE_SIZE")


def made_frames(pid: int, area: dict[str, Any]) -> list[int]:
    """Return the frames of the pages that the child says it pinned."""
    with open(f"/proc/{pid}/pagemap", "rb") as file:
        file.seek(area["start"] // PAGE * 8)
        words = pagemap.decode(file.read(area["nr_pages"] * 8))
    chosen = [page for first, end in area["pinned"] for page in range(first, end)]
    return sorted(pagemap.frames(words[chosen]).tolist())


@pytest.mark.parametrize("spec", ["pinned pages=700 spread=7", "pinned pages=600"])
def test_every_pinned_page_is_located(spec: str, root_only: None) -> None:
    try:
        with hold(spec) as (truth,):
            wanted = made_frames(truth["pid"], truth["areas"][0])
            with_pins = pinned_frames(take(Options(pids=(truth["pid"],))))
            again = made_frames(truth["pid"], truth["areas"][0])
    except UnavailableError as error:
        pytest.skip(str(error))
    assert len(set(wanted)) == truth["nr_pinned"]
    assert wanted == again, "a pinned page does not move"
    assert with_pins.pfn.tolist() == wanted
    assert with_pins.nr_outstanding is not None
    assert with_pins.nr_unlocated is not None
    nr_here = len(wanted)
    assert with_pins.nr_outstanding - with_pins.nr_unlocated == min(nr_here, with_pins.nr_outstanding)


def test_pages_that_are_not_pinned_are_not_located(root_only: None) -> None:
    with hold("holes pages=512") as (truth,):
        found = pinned_frames(take(Options(pids=(truth["pid"],))))
    assert len(found.pfn) == 0
    assert np.array_equal(found.nr_unlocated, found.nr_outstanding)

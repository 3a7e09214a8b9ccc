"""The indices of fragmentation are those that this host's kernel prints, in every cell."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.live.extfrag import differences, without_the_one

TREE = Path(__file__).parents[2]


@pytest.mark.live
@pytest.mark.root
@pytest.mark.usefixtures("root_only")
def test_every_cell_is_what_debugfs_prints() -> None:
    command = [sys.executable, "-m", "tests.live.extfrag"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=TREE, timeout=60)
    reading = json.loads(done.stdout)
    if "skip" in reading:
        pytest.skip(reading["skip"])
    assert len(reading["buddyinfo"].splitlines()) == len(reading["unusable_index"].splitlines()) >= 1
    assert differences(reading) == []


READING = {
    "buddyinfo": "Node 0, zone      DMA      3      0      0 \n",
    "unusable_index": "Node 0, zone      DMA 0.000 1.000 1.000 \n",
    "extfrag_index": "Node 0, zone      DMA -1.000  0.167  0.417 \n",
}


def test_a_kernel_that_says_something_else_is_told() -> None:
    assert differences(READING) == []
    other = {**READING, "buddyinfo": READING["buddyinfo"].replace("3 ", "4 ")}
    assert differences(other) == [
        ("extfrag_index", ("0 DMA", 1), "0.167", "0.250"),
        ("extfrag_index", ("0 DMA", 2), "0.417", "0.500"),
    ]
    assert differences({**READING, "unusable_index": ""})[0] == (
        "unusable_index",
        ("0 DMA", 0),
        None,
        "0.000",
    )
    more = {**READING, "extfrag_index": READING["extfrag_index"] + "Node 1, zone DMA 0.000 0.000 0.000 \n"}
    assert len(differences(more)) == 3
    assert len(differences(READING, {"extfrag_index": without_the_one})) == 2

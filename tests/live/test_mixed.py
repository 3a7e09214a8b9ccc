"""Gigabytes made fast, here a few MiB of them: what a mixed workload says against what the kernel shows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab.errors import LabError, UnavailableError
from lab.workloads import hold, look, mixed
from lab.workloads.made import DisagreesError
from lab.workloads.memory import DONTNEED, Area

pytestmark = pytest.mark.live
PAGES = 4096
PRESENT = np.uint64(1 << 63)


def present(truth: dict[str, Any]) -> np.ndarray:
    (area,) = truth["areas"]
    with open(f"/proc/{truth['pid']}/pagemap", "rb") as file:
        file.seek(area["start"] // 4096 * 8)
        return (np.frombuffer(file.read(area["nr_pages"] * 8), np.uint64) & PRESENT) != 0


def test_what_is_kept_is_there_and_the_same_again_by_seed() -> None:
    spec = f"mixed pages={PAGES} pieces=7 keep=0.3"
    found = []
    for seed in (1, 1, 2):
        with hold(spec, seed=seed) as (truth,):
            found.append(present(truth))
            assert truth["nr_kept"] == round(0.3 * PAGES) == found[-1].sum()
    assert (found[0] == found[1]).all()
    assert (found[0] != found[2]).any()


def test_runs_are_as_long_as_asked() -> None:
    with hold(f"mixed pages={PAGES} pattern=clustered cluster=64 keep=0.5", seed=3) as (truth,):
        changes = np.count_nonzero(np.diff(present(truth)))
    assert PAGES / 64 / 2 < changes < 2 * PAGES / 64


def test_pipes_and_files_come_in_between(tmp_path: Path) -> None:
    spec = f"mixed pages={PAGES} pieces=8 pipes=5 cache=300K cache_pieces=3 dirty=1 folder={tmp_path}"
    with hold(spec) as (truth,):
        files = sorted(next(tmp_path.iterdir()).iterdir())
        assert [path.name for path in files] == ["0", "1", "2"]
        assert sum(path.stat().st_size for path in files) == truth["nr_cache_bytes"] == 300 << 10
        links = [os.readlink(path) for path in Path(f"/proc/{truth['pid']}/fd").iterdir()]
        assert len({link for link in links if link.startswith("pipe:")}) >= truth["nr_pipes"] == 5
    assert list(tmp_path.iterdir()) == []


def test_pins_are_pins_of_kept_pages() -> None:
    try:
        with hold(f"mixed pages={PAGES} pins=100") as (truth,):
            assert look.status(truth["pid"])["VmPin"].split()[0] == "400"
            pinned = [page for first, end in truth["areas"][0]["pinned"] for page in range(first, end)]
            assert len(pinned) == truth["nr_pinned"] == 100
            assert present(truth)[pinned].all()
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ("pages=4 pieces=5", "at least a page in a piece"),
        ("pages=64 pattern=stripes", "random or clustered"),
        ("pages=64 keep=1", "between 0 and 1"),
        ("pages=64 pipes=-1", "at least 0"),
        ("pages=64 dirty=2", "dirty=2: 0 or 1"),
        ("pages=64 cache_pieces=65", "cache_pieces=65: 0 to 64"),
        ("pages=64 pattern=clustered cluster=0.5", "runs of a mean of"),
        ("pages=64 pins=33", "pins=33: 32 pages are kept"),
        ("pages=1000000", "the limit is"),
    ],
)
def test_what_cannot_be_is_refused(parameters: str, why: str) -> None:
    with pytest.raises(LabError, match=why), hold(f"mixed {parameters}"):
        pass


def test_a_page_too_many_or_too_few_is_noticed() -> None:
    with Area(64) as area:
        area.stamp(1)
        mixed._expect(area, [(0, 64)])
        area.advise(DONTNEED, 5, 6)
        mixed._expect(area, [(0, 5), (6, 64)])
        for wrong in ([(0, 64)], [(0, 5), (7, 64)]):
            with pytest.raises(DisagreesError, match="1 of 64"):
                mixed._expect(area, wrong)

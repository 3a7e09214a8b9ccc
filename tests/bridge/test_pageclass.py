"""vmprobe.bridge.pageclass: every frame in one class, holes apart."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.synthetic import CLASSES, NR_FRAMES, frames, snapshot
from vmprobe.bridge.memmap import frame_runs
from vmprobe.bridge.pageclass import Classes, classes

if TYPE_CHECKING:
    from vmprobe.tables import Snapshot


def of(shot: Snapshot, *, trust_ksm: bool = True) -> Classes:
    return classes(shot, frame_runs(shot), trust_ksm=trust_ksm)


def test_classes_are_those_counted_by_hand() -> None:
    found = of(snapshot())
    assert {count.name: count.nr_frames for count in found.counts} == CLASSES
    assert sum(CLASSES.values()) == found.nr_frames == NR_FRAMES
    assert found.holes_known


def test_without_iomem_holes_stay_among_the_unknown() -> None:
    found = of(snapshot(without=("resources",)))
    assert not found.holes_known
    assert found.nr_holes == 0
    assert found.nr_unknown == CLASSES["unknown"] + CLASSES["hole"]


def test_ksm_that_is_not_trusted_is_anonymous() -> None:
    found = {count.name: count.nr_frames for count in of(snapshot(), trust_ksm=False).counts}
    assert "ksm" not in found
    assert found["anonymous"] == CLASSES["anonymous"] + CLASSES["ksm"]


def test_tails_of_old_kernels_follow_their_head() -> None:
    runs = [
        (("LRU", "SWAPBACKED", "COMPOUND_HEAD", "THP"), 1),
        (("COMPOUND_TAIL", "THP"), 15),
        (("LRU", "COMPOUND_HEAD", "THP"), 1),
        (("COMPOUND_TAIL", "THP"), 3),
    ]
    found = {count.name: count.nr_frames for count in of(snapshot(frames=frames(runs))).counts}
    assert found == {"shmem": 16, "file": 4}


def test_unstable_frames_of_a_mixed_run_go_to_those_that_can_change() -> None:
    shot = snapshot(frames=frames([((), 4096)], unstable=(5, 6, 7)))
    assert {c.name: (c.nr_frames, c.nr_unstable) for c in of(shot).counts} == {
        "hole": (512, 0),
        "unknown": (3584, 3),
    }


@pytest.mark.parametrize("step", [-1, 1])
def test_a_class_count_that_is_off_is_noticed(step: int) -> None:
    found = of(snapshot())
    found.validate()
    first = replace(found.counts[0], nr_frames=found.counts[0].nr_frames + step)
    with pytest.raises(AssertionError, match="4096"):
        replace(found, counts=(first, *found.counts[1:])).validate()


def test_more_unstable_frames_than_frames_are_noticed() -> None:
    found = of(snapshot())
    first = replace(found.counts[0], nr_unstable=found.counts[0].nr_frames + 1)
    with pytest.raises(AssertionError, match="unstable"):
        replace(found, counts=(first, *found.counts[1:])).validate()

"""`vmprobe check` as a function: verdict, figures, what is missing and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bridge.test_model import mappings, vmas
from tests.synthetic import snapshot
from vmprobe.analyses.check import check
from vmprobe.analyses.check_layout import layout
from vmprobe.analyses.parts import Note
from vmprobe.errors import SnapshotError
from vmprobe.store import load

FIXTURES = sorted((Path(__file__).parents[2] / "fixtures" / "snapshots").glob("*.vmsnap"))


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=pytest.mark.slow if p.stem.startswith("6.1-") else ()) for p in FIXTURES],
    ids=lambda path: path.stem,
)
def test_snapshots_of_quiet_guests_are_consistent_and_nothing_is_unexplained(path: Path) -> None:
    answer = check(load(path))
    assert answer.ok
    assert answer.missing == ()
    assert answer.violations == ()
    assert answer.buddy is not None
    # Those that are compacted next are photographed at once, while per-CPU lists give back what they had.
    moving = {"within_drift"} if path.stem.endswith("-compacting") else set()
    assert {zone.status for zone in answer.buddy.zones} <= {"exact"} | moving
    assert answer.rmap is not None
    rmap = answer.rmap
    assert rmap.unexplained == 0
    explained = sum(rmap.explained.values())
    assert rmap.counts_match + rmap.unstable + explained == rmap.frames_mapped
    assert rmap.counts_match > 14_000
    assert set(rmap.explained) <= {"zsmalloc"}
    assert ("zsmalloc" in rmap.explained) == (path.stem == "6.1-swapping")
    assert answer.vmas is not None
    assert answer.vmas.violations == 0
    assert answer.vmas.vmas > 200


def test_there_are_fixtures() -> None:
    assert len(FIXTURES) == 14


def test_what_is_missing_has_its_reason() -> None:
    answer = check(snapshot(without=("mappings",), vmas=vmas((1, 10, 21, ""), (1, 20, 30, ""))))
    assert {row.part: row.reason for row in answer.missing} == dict.fromkeys(
        ("rmap", "watermarks"), "not in this snapshot"
    )
    assert answer.rmap is None
    assert "vmas-overlap" in {violation.kind for violation in answer.violations}
    assert answer.vmas is not None
    assert (answer.vmas.address_spaces, answer.vmas.vmas, answer.vmas.violations) == (1, 2, 1)


def test_hidden_frame_numbers_are_named() -> None:
    whole = mappings((1, 0, 12, 1, "present", 1))
    columns = {name: values for name, values in whole.columns.items() if name != "pfn"}
    hidden = type(whole)(whole.schema, columns, len(whole), whole.valid)
    answer = check(snapshot(vmas=vmas((1, 10, 20, "")), mappings=hidden))
    reasons = {row.part: row.reason for row in answer.missing}
    assert reasons["rmap"].endswith("the kernel hides frame numbers from who lacks CAP_SYS_ADMIN")


def test_without_frames_vmas_are_still_checked() -> None:
    answer = check(snapshot(without=("frames",), vmas=vmas((1, 10, 20, ""))))
    assert answer.ok
    assert (answer.buddy, answer.rmap) == (None, None)
    (verdict,) = (part.lines[0] for part in layout(answer).parts[:1] if isinstance(part, Note))
    assert verdict == "Consistent: address spaces."


def test_nothing_to_check_is_an_error() -> None:
    with pytest.raises(SnapshotError, match="nothing in it can be checked"):
        check(snapshot(without=("frames", "mappings")))

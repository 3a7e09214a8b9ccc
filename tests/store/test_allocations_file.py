"""A recording in its folder: whole or not there, and what is damaged is told in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vmprobe
from vmprobe.collect.allocations import FORMAT
from vmprobe.errors import InputError, OutputError
from vmprobe.store.allocations import DTYPES, read, write_recording
from vmprobe.store.arrays_file import read_arrays, write_arrays

FIXTURE = Path(__file__).parents[2] / "fixtures" / "snapshots" / "6.12-quiet.vmsnap"


def columns(nr: int) -> dict[str, Any]:
    made: dict[str, Any] = {name: np.zeros(nr, dtype) for name, dtype in DTYPES.items()}
    made["time_ns"] = np.arange(nr, dtype=np.int64)
    made["pfn"] = np.arange(nr, dtype=np.int64) * 3
    return made


COUNT = {"node": 0, "zone": "DMA", "nr_free": [1, 2], "pcp_pages": None}
MANIFEST: dict[str, Any] = {
    "format": FORMAT, "boot_id": None, "release": "6.12", "events": 5, "lost": 0, "before_time": "then",
    "counts_at_start": [COUNT], "counts_at_end": [COUNT | {"pcp_pages": 3}],
}  # fmt: skip


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in MANIFEST.items() if name != key}


LATE = np.array([0, 9, 2, 3, 4])


def told(path: Path, manifest: dict[str, Any]) -> None:
    (path / "recording.json").write_text(json.dumps(manifest))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    snapshot = vmprobe.load(str(FIXTURE))
    made = tmp_path / "made.vmrec"
    write_recording(made, columns(5), MANIFEST, (snapshot, snapshot))
    return made


def test_it_comes_back(path: Path) -> None:
    found = read(path)
    assert found.pfn.tolist() == [0, 3, 6, 9, 12]
    assert {name: getattr(found, name).dtype for name in DTYPES} == {
        name: np.dtype(dtype) for name, dtype in DTYPES.items()
    }
    for each in (found.before, found.after):
        assert vmprobe.load(str(each)).has("frames")


def test_a_name_that_is_taken_is_refused(path: Path) -> None:
    snapshot = vmprobe.load(str(FIXTURE))
    with pytest.raises(OutputError, match="made"):
        write_recording(path, columns(1), {}, (snapshot, snapshot))
    assert read(path).manifest["events"] == 5


def test_nothing_stays_of_one_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = vmprobe.load(str(FIXTURE))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vmprobe.store.allocations.write_arrays", full)
    with pytest.raises(OutputError, match="No space left"):
        write_recording(tmp_path / "x.vmrec", columns(1), {}, (snapshot, snapshot))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "recording.json").unlink(), "recording.json: No such file"),
        (lambda path: (path / "recording.json").write_text("[1]"), "not the manifest"),
        (
            lambda path: (path / "recording.json").write_text(
                json.dumps({"format": FORMAT | {"version": 9}})
            ),
            "vmprobe-allocations 9, not",
        ),
        (
            lambda path: told(path, MANIFEST | {"events": 6}),
            "not the 6 events",
        ),
        *(
            (lambda path, key=key: told(path, without(key)), f"{key} is missing")
            for key in ("boot_id", "lost", "before_time", "counts_at_start", "counts_at_end")
        ),
        (lambda path: told(path, MANIFEST | {"lost": "many"}), "lost is missing or damaged"),
        (lambda path: (path / "events.npz").write_bytes(b"PK\3\4"), "events.npz: not what it should be"),
        (lambda path: (path / "events.npz").unlink(), "events.npz: No such file"),
        (
            lambda path: write_arrays(
                path / "events.npz", columns(5) | {"time_ns": np.array([0, 9, 2, 3, 4])}
            ),
            "event 2 is before",
        ),
        (
            lambda path: write_arrays(path / "events.npz", columns(5) | {"order": np.zeros(5)}),
            "order is float64",
        ),
        (
            lambda path: write_arrays(path / "events.npz", columns(5) | {"kind": np.full(5, 3, np.uint8)}),
            "event 0 is of a kind that there is not",
        ),
        (lambda path: write_arrays(path / "events.npz", {"pfn": np.zeros(5)}), "not the 5 events"),
    ],
)
def test_damage_is_told_in_one_line(path: Path, damage: Any, message: str) -> None:
    damage(path)
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert "vmprobe record" in str(caught.value.hint)


def test_arrays_that_hold_code_are_not_unpacked(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.array([{}], dtype=object))
    with pytest.raises(InputError, match="not what it should be"):
        read_arrays(tmp_path / "x.npz", "hint")


@pytest.mark.parametrize(
    "row",
    [
        7,
        {},
        *(COUNT | {"nr_free": nr_free} for nr_free in ([-5], ["x"], 3)),
        COUNT | {"node": None},
        COUNT | {"zone": 3},
        COUNT | {"pcp_pages": -1},
    ],
    ids=str,
)
def test_counts_that_count_no_zone_are_told(path: Path, row: Any) -> None:
    told(path, MANIFEST | {"counts_at_end": [COUNT, row]})
    with pytest.raises(InputError, match=r"recording\.json: counts_at_end: .* counts no zone"):
        read(path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"order": 200}, "has an order above 32"),
        ({"order": 1, "pfn": 7}, "is about a block that lies askew"),
        ({"order": 1, "pfn": 7, "kind": 1}, "is about a block that lies askew"),
        ({"pfn": -2}, "is about no page frame"),
        ({"pfn": -1, "kind": 1}, "is about no page frame"),
        ({"pfn": 1 << 60}, "is about no page frame"),
    ],
    ids=str,
)
def test_events_that_no_kernel_tells_are_named(path: Path, values: dict[str, int], message: str) -> None:
    made = columns(5)
    for name, value in values.items():
        made[name][2] = value
    write_arrays(path / "events.npz", made)
    with pytest.raises(InputError, match=f"events.npz: event 2 {message}"):
        read(path)


def test_an_allocation_that_failed_is_no_damage(path: Path) -> None:
    made = columns(5)
    made["pfn"][2], made["order"][2] = -1, 3
    write_arrays(path / "events.npz", made)
    assert read(path).pfn[2] == -1

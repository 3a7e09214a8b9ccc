"""What the page shows besides the report."""

from __future__ import annotations

from dataclasses import replace

from tests.compactable import host
from vmprobe.analyses.page_inputs import last_real, page_inputs
from vmprobe.analyses.record import NO_HISTORY, History
from vmprobe.analyses.report import report

HOST = {"release": "6.99", "boot_id": "b"}


def document(**changed: object) -> dict[str, object]:
    return {
        "release": "6.99", "boot_id": "b", "time": "2026-01-02T00:00:00+00:00",
        "free_blocks": {"real": [3, 2, 1]}, **changed,
    }  # fmt: skip


def test_everything_is_of_the_same_zones() -> None:
    snapshot = host()
    found = page_inputs(snapshot, report(snapshot, top=None), (), NO_HISTORY)
    zones = [(zone.node, zone.zone) for zone in found.map.zones]
    assert [(zone.node, zone.zone) for zone in found.pages] == zones
    assert [(curve.node, curve.zone) for curve in found.curves] == zones
    assert found.map.forecast.strategy == "linux"
    assert sum(nr << order for order, nr in enumerate(found.free_mass.before)) == 3237
    assert (found.free_mass.real, found.free_mass.real_time, found.series) == (None, None, ())


def test_without_frames_there_are_free_lists_alone() -> None:
    snapshot = host()
    told = replace(report(snapshot, top=None), frames=False)
    found = page_inputs(snapshot, told, (), NO_HISTORY)
    assert (found.map, found.pages, found.curves) == (None, None, ())
    assert found.free_mass.forecast is None
    listed = [zone.free_blocks for zone in told.frag.zones if zone.free_blocks is not None]
    assert found.free_mass.before == (tuple(map(sum, zip(*listed, strict=True))) if listed else None)


def test_without_zones_there_is_no_map_as_the_report_has_no_forecast() -> None:
    snapshot = host().released("zones")
    told = report(snapshot, top=None)
    assert told.frames
    found = page_inputs(snapshot, told, (), NO_HISTORY)
    assert (found.map, found.pages, found.curves, found.free_mass.forecast) == (None, None, (), None)


def test_without_processes_or_counters_there_is_a_map() -> None:
    """A forecast takes neither."""
    for tables in (("tasks", "mappings", "vmas"), ("counters",)):
        snapshot = host().released(*tables)
        found = page_inputs(snapshot, report(snapshot, top=None), (), NO_HISTORY)
        assert found.map is not None
        assert found.map.forecast is not None


def test_the_last_real_run_is_of_this_host_and_kernel() -> None:
    later = document(time="2026-01-03T00:00:00+00:00", free_blocks={"real": [9]})
    assert last_real(History((document(), later)), HOST) == ((9,), "2026-01-03T00:00:00+00:00")
    assert last_real(History((document(), document(release="6.1"))), HOST).free_blocks == (3, 2, 1)
    assert last_real(History((document(boot_id="another"),)), HOST) == (None, None)
    assert last_real(History((document(boot_id="another"),), live=True), HOST).free_blocks == (3, 2, 1)
    assert last_real(History((document(free_blocks=None), {"release": "6.99", "boot_id": "b"})), HOST) == (
        None,
        None,
    )

"""vmprobe.analyses.quirks: for each quirk a snapshot that has it, one that has not, one that cannot tell."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from tests.synthetic import ANON, FILE, LARGE, MANIFEST, frames, rows, snapshot
from vmprobe.analyses.evidence import Evidence
from vmprobe.analyses.quirks import QUIRKS, quirks, trust_ksm

if TYPE_CHECKING:
    from vmprobe.tables import Snapshot, Table

HOLE = ((), 512)
RAM = (FILE, 3584)
MAPPINGS = "mm vma vpn nr_pages kind pfn swap_type exclusive file soft_dirty uffd_wp unstable"


def of(*runs: tuple[tuple[str, ...], int]) -> Snapshot:
    return snapshot(frames=frames(list(runs)))


def entry(kind: str, swap_type: int | None) -> Table:
    return rows("mappings", MAPPINGS, (1, 0, 9, 3, kind, None, swap_type, False, False, False, False, False))


def zones(present: int, managed: int) -> Table:
    names = (
        "node zone start_pfn spanned_pages present_pages managed_pages nr_free wmark_min wmark_low wmark_high"
    )
    return rows("zones", names, (0, "Normal", 0, present, present, managed, 0, 1, 2, 3))


def ksm(shared: int) -> Table:
    return rows("counters", "source scope name value", ("ksm", "", "pages_shared", shared))


def told(**changed: Any) -> dict[str, Any]:
    return copy.deepcopy({key: MANIFEST[key] for key in ("host", "sources")}) | changed


def config(value: dict[str, bool] | None) -> Snapshot:
    return snapshot(manifest=told(host=MANIFEST["host"] | {"config": value}))


def scan(stale: bool | None) -> Snapshot:
    return snapshot(manifest=told(scan_ioctl={"supported": True, "stale_walk_end": stale}))


NONE = snapshot(without=("frames", "mappings", "zones", "counters", "resources"))
MERGED = (*ANON[:-1], "KSM")
TAIL = ("COMPOUND_TAIL", "THP")

CASES: list[tuple[str, str, Snapshot]] = [
    ("nopage-not-reported", "present", of(RAM, HOLE)),
    ("nopage-not-reported", "absent", of(RAM, (("NOPAGE",), 512))),
    ("nopage-not-reported", "unknown", of(RAM)),
    ("nopage-not-reported", "unknown", snapshot(without=("resources",))),
    ("nopage-not-reported", "unknown", NONE),
    ("ksm-on-all-anon", "present", snapshot(frames=frames([(MERGED, 9)]), counters=ksm(0))),
    ("ksm-on-all-anon", "present", snapshot(frames=frames([((*ANON, "KSM"), 1)]), counters=ksm(5))),
    ("ksm-on-all-anon", "absent", snapshot(frames=frames([(MERGED, 9), (ANON, 1)]), counters=ksm(0))),
    ("ksm-on-all-anon", "unknown", snapshot(frames=frames([(MERGED, 9)]), counters=ksm(5))),
    ("ksm-on-all-anon", "unknown", snapshot(frames=frames([(MERGED, 9)]), without=("counters",))),
    ("ksm-on-all-anon", "unknown", of((("SLAB", "ANON", "KSM"), 4))),
    ("ksm-on-all-anon", "unknown", NONE),
    ("slab-junk-anon-ksm", "present", of((("SLAB",), 5), (("SLAB", "ANON"), 1))),
    ("slab-junk-anon-ksm", "absent", of((("SLAB",), 5), (ANON, 3))),
    ("slab-junk-anon-ksm", "unknown", of(RAM)),
    ("slab-junk-anon-ksm", "unknown", NONE),
    ("lru-missing-on-fresh", "present", of((ANON, 5), (("ANON", "SWAPBACKED", "MMAP"), 1))),
    ("lru-missing-on-fresh", "absent", of((ANON, 5), ((*TAIL, "ANON"), 3), (("SLAB", "ANON"), 1))),
    ("lru-missing-on-fresh", "unknown", of(RAM)),
    ("lru-missing-on-fresh", "unknown", NONE),
    ("uptodate-on-free", "present", of((("BUDDY",), 5), (("BUDDY", "UPTODATE"), 1))),
    ("uptodate-on-free", "absent", of((("BUDDY",), 5), (FILE, 1))),
    ("uptodate-on-free", "unknown", of(RAM)),
    ("uptodate-on-free", "unknown", NONE),
    *(("marker-as-swap", "present", snapshot(mappings=entry(kind, 31)))
      for kind in ("guard", "uffd-wp", "poisoned", "marker")),
    ("marker-as-swap", "absent", snapshot(mappings=entry("swap", 0))),
    ("marker-as-swap", "unknown", NONE),
    ("frame-bearing-swap-types", "present", snapshot(mappings=entry("frame-entry", 25))),
    ("frame-bearing-swap-types", "absent", snapshot(mappings=entry("swap", 0))),
    ("frame-bearing-swap-types", "unknown", NONE),
    ("deferred-memory", "present", snapshot(frames=frames([((), 1000)]), zones=zones(1000, 900))),
    ("deferred-memory", "absent", snapshot(frames=frames([(("RESERVED",), 95)]), zones=zones(1000, 900))),
    ("deferred-memory", "unknown", snapshot(without=("zones",))),
    ("deferred-memory", "unknown", NONE),
    ("averaged-mapcounts", "present", config({"NO_PAGE_MAPCOUNT": True})),
    ("averaged-mapcounts", "absent", config({"NO_PAGE_MAPCOUNT": False})),
    ("averaged-mapcounts", "unknown", config({})),
    ("averaged-mapcounts", "unknown", config(None)),
    ("scan-stale-walk-end", "present", scan(True)),
    ("scan-stale-walk-end", "absent", scan(False)),
    ("scan-stale-walk-end", "unknown", scan(None)),
    ("tails-repeat-head", "present", of(((*LARGE, "COMPOUND_HEAD"), 1), ((*LARGE, "COMPOUND_TAIL"), 3))),
    ("tails-repeat-head", "absent", of(((*LARGE, "COMPOUND_HEAD"), 1), (TAIL, 3))),
    ("tails-repeat-head", "unknown", of((FILE, 9), (TAIL, 3))),
    ("tails-repeat-head", "unknown", NONE),
]  # fmt: skip


@pytest.mark.parametrize("index", range(len(CASES)), ids=[f"{i}-{c[0]}-{c[1]}" for i, c in enumerate(CASES)])
def test_each_quirk_is_told_from_the_data(index: int) -> None:
    quirk, status, shot = CASES[index]
    found = {finding.id: finding for finding in quirks(shot)}[quirk]
    assert (found.status, bool(found.evidence)) == (status, True)


def test_every_quirk_has_all_three_cases() -> None:
    assert {(quirk.id, s) for quirk in QUIRKS for s in ("present", "absent", "unknown")} == {
        c[:2] for c in CASES
    }


def test_the_kernel_version_is_never_asked() -> None:
    """The same data under another release give the same findings."""
    old = snapshot(manifest=told(host=MANIFEST["host"] | {"release": "2.6.32"}))
    assert quirks(old) == quirks(snapshot())


def test_every_row_of_the_table_is_complete() -> None:
    assert len({quirk.id for quirk in QUIRKS}) == len(QUIRKS)
    for quirk in QUIRKS:
        assert all((quirk.title, quirk.kernels, quirk.remedy)), quirk.id
        assert quirk.commit == "" or (len(quirk.commit) == 12 and int(quirk.commit, 16)), quirk.id


def test_ksm_is_trusted_only_where_it_is_shown_to_be_true() -> None:
    assert trust_ksm(Evidence(snapshot()))
    assert not trust_ksm(Evidence(NONE))
    assert not trust_ksm(Evidence(snapshot(frames=frames([(MERGED, 9)]), counters=ksm(0))))

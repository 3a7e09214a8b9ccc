"""Verdict and advice: each rule with the figures that trip it, and with those that just do not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vmprobe.analyses.frag_answer import Frag, Held, Kcompactd, NodeScore, ZoneRow
from vmprobe.analyses.report_answer import Level, Obtainable
from vmprobe.analyses.report_words import Figures, advice, level, verdict
from vmprobe.bridge.blockers import OwnerRow

CONTENTS = {
    "free": 500, "movable_only": 300, "one_unmovable_page_only": 0, "mixed": 10, "unmovable": 190,
    "unknown": 0, "absent": 24,
}  # fmt: skip
ZONE = ZoneRow(
    0, "Normal", 9000, 0, (0,) * 11, (0,) * 11, (0,) * 11, (0,) * 11, CONTENTS, (0,) * 11, "exact", 0, 0
)
FRAG = Frag(
    page_size=4096, pageblock_order=9, zones=(ZONE,), blockers=(), owners=(), owners_left_out=0,
    held=Held(1000, 200, 5000, 0, 0, 0), contiguity=(), score_order=9, nodes=(NodeScore(0, 40),),
    score_percent=40, kcompactd=Kcompactd(20, 80, 90), missing=(),
)  # fmt: skip
HUGE = Obtainable(9, 2 << 20, 100, 100, 100, 100, 110)
SMALL = Obtainable(4, 64 << 10, 4000, 4000, 4000, 4000, 4000)
SLAB = OwnerRow("slab", None, None, 30, 5, 10, 900, 700)
UNKNOWN = OwnerRow("unknown", "flag word 0", None, 90, 50, 0, 900, 700)


def figures(huge: dict[str, Any] | None = None, frag: dict[str, Any] | None = None, **rest: Any) -> Figures:
    """Figures of a host that is well, but for what is given."""
    made = Figures(replace(FRAG, **(frag or {})), replace(HUGE, **(huge or {})), SMALL, 120, True, 0, 0)
    return made._replace(**rest)


def gains(now: int, mid: int, low: int | None = None) -> dict[str, int]:
    return {"now": now, "low": mid if low is None else low, "mid": mid, "high": mid, "after_eviction": mid}


NO_FRAMES: dict[str, Any] = {"low": None, "mid": None, "high": None, "after_eviction": None}


@pytest.mark.parametrize(
    ("asked", "bad"),
    [
        (figures(), Level.OK),
        (figures({"now": None}), Level.UNKNOWN),
        # No huge page now: bad, and worse where nothing gives one though there is room.
        (figures(gains(0, 5)), Level.WARNING),
        (figures(gains(0, 0)), Level.CRITICAL),
        (figures(gains(0, 0), room=0), Level.WARNING),
        (figures({**gains(0, 0), "after_eviction": 1}), Level.WARNING),
        (figures({**gains(0, 0), "high": 1}), Level.WARNING),
        # Without frames nobody knows what compaction would give.
        (figures({"now": 0, **NO_FRAMES}, frames=False), Level.WARNING),
        (figures({"now": 1, **NO_FRAMES}, frames=False), Level.OK),
        (figures(small=replace(SMALL, now=0)), Level.CRITICAL),
        (figures(small=replace(SMALL, now=None)), Level.OK),
        (figures(frag={"nodes": (NodeScore(0, 90), NodeScore(1, 0))}), Level.OK),
        (figures(frag={"nodes": (NodeScore(0, 0), NodeScore(1, 91))}), Level.WARNING),
        (figures(frag={"nodes": None}), Level.OK),
    ],
)
def test_levels(asked: Figures, bad: Level) -> None:
    assert level(asked) is bad
    assert verdict(asked).level is bad


NONE_NOW = "No block of 2.0 MiB can be had now"
HUNDRED = "100 blocks of 2.0 MiB can be had now, and compaction gives no more"
IN_PIECES = "; 95.0 % of what is free on node 1 is in smaller pieces than 2.0 MiB"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (figures(), HUNDRED),
        (
            figures(gains(100, 150, low=140) | {"high": 160}),
            "100 blocks of 2.0 MiB can be had now, 150 after compaction (140 to 160)",
        ),
        (figures(gains(0, 5)), f"{NONE_NOW}, 5 after compaction"),
        (
            figures({**gains(0, 0), "after_eviction": 7}),
            f"{NONE_NOW}, and compaction gives none, but 7 with page cache dropped",
        ),
        (figures(gains(0, 0)), f"{NONE_NOW}, and compaction gives none, nor does dropping page cache"),
        (
            figures(gains(0, 0) | {"after_eviction": None}, room=0),
            f"{NONE_NOW}, and compaction gives none; memory is short rather than fragmented",
        ),
        (figures({"now": 1, **NO_FRAMES}), "1 block of 2.0 MiB can be had now"),
        (figures({"now": None, **NO_FRAMES}), "How many blocks of 2.0 MiB can be had is not known"),
        (figures(frag={"nodes": (NodeScore(0, 3), NodeScore(1, 95))}), f"{HUNDRED}{IN_PIECES}"),
    ],
)
def test_sentences(asked: Figures, said: str) -> None:
    assert verdict(asked).sentence == f"{said}; nobody is in the way."
    unseen = verdict(asked._replace(frames=False)).sentence
    assert unseen == f"{said}; who is in the way is not known without a scan of page frames."


@pytest.mark.parametrize(
    ("owners", "said"),
    [
        ((SLAB, UNKNOWN), "slab, holding pages in 20 pageblocks"),
        ((UNKNOWN,), "unknown: flag word 0, holding pages in 90 pageblocks"),
        (
            (SLAB, OwnerRow("process", "db", 7, 300, 300, 300, 9, 0)),
            "slab, holding pages in 20 pageblocks",
        ),
        (
            (SLAB, OwnerRow("process", "db", 7, 300, 30, 200, 9, 0)),
            "process db (pid 7), holding pages in 100 pageblocks",
        ),
        ((OwnerRow("cgroup", "/a/b", None, 2, 1, 1, 9, 0),), "cgroup /a/b, holding pages in 1 pageblock"),
        ((OwnerRow("pinned", "vm", 9, 5, 1, 1, 9, 0),), "pinned: vm (pid 9), holding pages in 4 pageblocks"),
    ],
)
def test_who_is_most_in_the_way_holds_blocks_that_are_not_its_own(
    owners: tuple[OwnerRow, ...], said: str
) -> None:
    assert verdict(figures(frag={"owners": owners})).sentence.endswith(f"; most in the way is {said}.")


def commands(asked: Figures) -> list[str]:
    lines = advice(asked)
    found = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    # Each command comes after a sentence that says what for.
    assert all(not lines[i - 1].startswith("$ ") for i, line in enumerate(lines) if line.startswith("$ "))
    return found


def test_a_host_that_is_well_is_left_alone() -> None:
    assert advice(figures()) == ()
    assert advice(figures({"now": 1, **NO_FRAMES}, frames=False)) == ()


def test_without_frames_they_are_asked_for_once_something_is_wrong() -> None:
    assert commands(figures({"now": 0, **NO_FRAMES}, frames=False)) == ["vmprobe report"]
    assert commands(figures({"now": None, **NO_FRAMES}, frames=False)) == ["vmprobe report"]


@pytest.mark.parametrize(
    ("now", "mid", "much"), [(100, 125, True), (100, 124, False), (0, 1, True), (3, 3, False)]
)
def test_compaction_is_proposed_where_it_gives_much(now: int, mid: int, much: bool) -> None:
    said = commands(figures(gains(now, mid), frag={"kcompactd": None}))
    assert ("vmprobe compact --order 9" in said) is much
    assert ("vmprobe compact --verify --yes" in said) is much


def test_a_forecast_that_was_never_verified_is_verified_first() -> None:
    (first, _, second, _) = advice(figures(gains(100, 200, low=150), frag={"kcompactd": None}))
    assert first.endswith("to give 100 blocks of 2.0 MiB more (at least 50):")
    assert "none was verified" in second
    known = commands(figures(gains(100, 200), frag={"kcompactd": None}, verified=3))
    assert known == ["vmprobe compact --order 9", "echo 1 > /proc/sys/vm/compact_memory"]


def test_page_cache_is_dropped_where_compaction_gives_nothing() -> None:
    drop = "sync; echo 1 > /proc/sys/vm/drop_caches; echo 1 > /proc/sys/vm/compact_memory"
    assert drop in commands(figures({**gains(0, 0), "after_eviction": 7}))
    assert drop not in commands(figures({**gains(0, 1), "after_eviction": 7}))
    assert drop not in commands(figures(gains(0, 0)))


@pytest.mark.parametrize(
    ("owner", "named"),
    [
        # Pageblocks, alone, full: of 1,000 in all.
        (OwnerRow("process", "db", 7, 50, 20, 10, 9, 0), True),
        (OwnerRow("process", "db", 7, 50, 19, 10, 9, 0), False),
        (OwnerRow("process", "db", 7, 50, 50, 50, 9, 0), False),
        (OwnerRow("pinned", "db", 7, 50, 20, 0, 9, 0), True),
        (OwnerRow("cgroup", "/a", None, 50, 50, 0, 9, 0), False),
        (OwnerRow("process", None, None, 50, 50, 0, 9, 0), False),
    ],
)
def test_a_process_is_named_that_alone_keeps_pageblocks(owner: OwnerRow, named: bool) -> None:
    assert any("once it is restarted" in line for line in advice(figures(frag={"owners": (owner,)}))) is named


@pytest.mark.parametrize(
    ("kcompactd", "score", "wanted"),
    [
        (Kcompactd(20, 80, 90), 60, 51),
        (Kcompactd(20, 80, 90), 31, 80),
        (Kcompactd(20, 80, 90), 30, None),  # kernels differ about what would start it there
        (Kcompactd(20, 80, 90), 91, None),  # it is at work
        (Kcompactd(0, 100, 100), 95, 20),
        (Kcompactd(60, 40, 50), 51, None),
        (Kcompactd(90, None, None), 51, None),
        (None, 60, None),
    ],
)
def test_kcompactd_is_told_to_start(kcompactd: Kcompactd | None, score: int, wanted: int | None) -> None:
    host = {"kcompactd": kcompactd, "nodes": (NodeScore(0, score),)}
    said = [line for line in commands(figures(gains(100, 200), frag=host)) if "proactiveness" in line]
    assert said == ([] if wanted is None else [f"sysctl vm.compaction_proactiveness={wanted}"])
    idle = commands(figures(gains(100, 101), frag=host))
    assert not any("proactiveness" in line for line in idle), "compaction gives little"


@pytest.mark.parametrize(
    ("least", "mixed", "raised"),
    [(2730, 110, True), (2730, 100, False), (21600, 200, False), (21500, 200, True), (None, 200, False)],
)
def test_more_is_left_free_where_types_mix_for_want_of_it(
    least: int | None, mixed: int, raised: bool
) -> None:
    contents = CONTENTS | {"mixed": mixed - 1, "one_unmovable_page_only": 1, "free": 510 - mixed}
    zones = (replace(ZONE, pageblocks=contents),)
    asked = figures(frag={"zones": zones}, min_free_kbytes=least, recommended_kbytes=24000)
    assert commands(asked) == (["sysctl vm.min_free_kbytes=24000"] if raised else [])


def test_who_holds_huge_pages_is_looked_at_where_they_lack() -> None:
    assert "vmprobe can-alloc --order 9" in commands(figures(gains(0, 0)))
    assert "vmprobe can-alloc --order 9" not in commands(figures(gains(0, 0), frames=False))


def test_what_does_not_add_up_is_checked() -> None:
    assert commands(figures(unexplained=1)) == ["vmprobe check"]
    assert commands(figures(frag={"zones": (replace(ZONE, frames_agree="violated"),)})) == ["vmprobe check"]
    assert commands(figures(frag={"zones": (replace(ZONE, frames_agree="within_drift"),)})) == []

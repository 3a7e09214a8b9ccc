"""What ``vmprobe compact`` and ``can-alloc`` answer, refuse and say."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.compactable import ANON, FREE, RUNS, SLAB, counters, frames_of, host, zones
from tests.synthetic import rows, snapshot
from vmprobe.analyses import can_alloc as asking
from vmprobe.analyses.can_alloc import can_alloc
from vmprobe.analyses.can_alloc_advice import COMPACT, DROP, Asked, advice
from vmprobe.analyses.can_alloc_answer import Verdict
from vmprobe.analyses.can_alloc_layout import SAYS
from vmprobe.analyses.can_alloc_layout import layout as layout_can_alloc
from vmprobe.analyses.compact import SINGLE_ENTRY, History, compact, compare, prepared
from vmprobe.analyses.compact_layout import layout, layout_comparison
from vmprobe.analyses.compact_words import REASONS
from vmprobe.bridge.blockers import BlockerRow, Blockers, blockers
from vmprobe.bridge.can_alloc import Chances, chances
from vmprobe.bridge.compact import STRATEGIES, Stop
from vmprobe.cli.compact import STRATEGIES as OFFERED
from vmprobe.cli.main import run
from vmprobe.errors import PrivilegeError, SnapshotError, UsageError
from vmprobe.render.jsontext import to_plain
from vmprobe.store import write

if TYPE_CHECKING:
    from pathlib import Path

KEYS = [
    "strategy", "order", "before", "after", "gained_blocks", "interval", "moves_pages", "evicted_pages",
    "migrate_scanned", "free_scanned", "ptes_patched", "address_spaces", "tlb_flushes", "cost_us",
    "minimum_moves_pages", "ratio_to_minimum", "status", "hazards", "blocked",
]  # fmt: skip
"""The names of the issue, in its order."""


def said(report: Any) -> str:
    """Return all that a report says, in one line."""
    lines = []
    for part in report.parts:
        lines += [str(part.title), *map(str, getattr(part, "lines", ()))]
        lines += [" ".join(map(str, row)) for row in getattr(part, "rows", ())]
        lines += [f"{fact.label} {fact.value}" for fact in getattr(part, "facts", ())]
    return " ".join(lines)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_keys_are_those_of_the_issue_in_sum_and_by_zone(strategy: str) -> None:
    answer = compact(host(counters=counters(SwapFree=4 * 90)), strategy)
    document = to_plain(answer)
    assert list(document)[: len(KEYS)] == KEYS
    assert [(zone["node"], zone["zone"]) for zone in document["zones"]] == [(0, "DMA32"), (0, "Normal")]
    for zone in document["zones"]:
        assert list(zone)[: len(KEYS)] == KEYS
    for key in ("gained_blocks", "moves_pages", "evicted_pages", "ptes_patched", "minimum_moves_pages"):
        assert document[key] == sum(zone[key] for zone in document["zones"]), key
    for side in ("before", "after"):
        each = [zone[side]["free_blocks"] for zone in document["zones"]]
        assert document[side]["free_blocks"] == [sum(column) for column in zip(*each, strict=True)]
    assert set(document["cost_us"]) == {"low", "mid", "high"}
    assert document["interval"][0] <= document["gained_blocks"] <= document["interval"][1]


def test_every_strategy_is_offered_and_compared() -> None:
    assert OFFERED == STRATEGIES
    answer = compare(host())
    assert [side.strategy for side in answer.strategies] == [*STRATEGIES, SINGLE_ENTRY]
    for side in answer.strategies[:-1]:
        alone = compact(host(), side.strategy)
        for field in fields(side):
            assert getattr(side, field.name) == getattr(alone, field.name), (side.strategy, field.name)
    text = said(layout_comparison(answer))
    assert all(name in text for name in (*STRATEGIES, SINGLE_ENTRY))
    assert "4 blocks could be cleared by blit, 3 with one reverse entry" in text


def test_the_verdict_says_what_was_asked_and_what_can_be_had() -> None:
    some = said(layout(compact(host(), "plan", count=2)))
    assert some.startswith(
        " The cheapest moves would gain 2 blocks of 2.0 MiB: 1 now, 3 then. It copies 58 pages"
    )
    assert "the fewest by which that can be gained" in some
    less = said(layout(compact(host(), "plan", count=7)))
    assert "would gain 3 of the 7 blocks of 2.0 MiB" in less
    pinned = said(layout(compact(host(counters=counters(nr_foll_pin_acquired=52)), "plan")))
    assert "would gain 3 blocks of 2.0 MiB (anything from 1 to 3)" in pinned
    one = said(layout(compact(host(), "gravity", zones=((None, "Normal"),))))
    assert "By zone" not in one


def test_a_zone_that_is_given_up_names_the_folio() -> None:
    large = ("UPTODATE", "LRU", "DIRTY")
    folio = [((*large, "COMPOUND_HEAD"), 1), ((*large, "COMPOUND_TAIL"), 31)]
    # A dirty folio of 32 pages at the bottom, single pages everywhere, and free memory in single pages only.
    runs = [*folio, (ANON, 1000), *((ANON, 1), (FREE, 1)) * 508, (SLAB, 2048)]
    answer = compact(host(frames=frames_of(runs, {32: 2016})), "linux")
    assert (answer.status, answer.stops) == ("contended", (Stop(0, dirty=True),))
    assert "It would give up at page frame 0: a large folio that is dirty" in said(layout(answer))
    assert [row.pages for row in answer.hazards if row.hazard == "dirty large folios"] == [32]
    clean = [(tuple(flag for flag in flags if flag != "DIRTY"), nr) for flags, nr in runs]
    answer = compact(host(frames=frames_of(clean, {32: 2016})), "linux")
    assert (answer.status, answer.stops) == ("complete", ())
    assert "give up" not in said(layout(answer))
    crowded = host(frames=frames_of(runs, {32: 2016}))
    assert chances(crowded, prepared(crowded), 1)[1], "can-alloc says sync, too"
    assert not chances(host(), prepared(host()), 1)[1]
    full = [(SLAB, 2048), (("UPTODATE", "LRU"), 2000), (FREE, 48)]
    answer = compact(host(frames=frames_of(full, {})), "linux")
    assert (answer.status, [stop.dirty for stop in answer.stops]) == ("contended", [False])
    assert "no free page is left to move it to" in said(layout(answer))


def test_zones_and_orders_that_are_not_there_are_refused() -> None:
    with pytest.raises(UsageError, match="no zone 1:Normal") as refused:
        compact(host(), zones=((None, "Normal"), (1, "Normal")))
    assert refused.value.hint == "its zones with memory are 0:DMA32, 0:Normal"
    for order in (0, 11):
        with pytest.raises(UsageError, match=f"order {order}"):
            compare(host(), order)
    bare = {name: host().table(name) for name in host().tables() if name != "zones"}
    with pytest.raises(SnapshotError, match="zones are"):
        compact(snapshot(without=("zones", "free_areas"), **bare))


def test_without_frames_it_is_refused_with_the_privilege() -> None:
    unread = [{"what": "kpageflags", "reason": "no", "needs": "root", "lost": "frames.flags", "count": 1}]
    bare = snapshot(without=("frames",), manifest={"unread": unread})
    for ask in (compact, compare, can_alloc):
        with pytest.raises(PrivilegeError, match="needs root"):
            ask(bare)


def document(boot_id: str, moves: float, release: str = "6.99.0-test") -> dict[str, Any]:
    return {
        "boot_id": boot_id, "release": release, "error": {"moves_percent": moves, "gained_percent": 1.0},
        "forecast": {"interval": [1, 2], "status": "complete"},
        "actual": {"gained_blocks": 2, "status": "complete"},
    }  # fmt: skip


def test_the_record_is_that_of_the_same_host() -> None:
    own = str(host().manifest["host"]["boot_id"])
    kept = (document(own, 0.5), document("another", -4.0), document(own, 9.0, "6.0"))
    saved = compact(host(), history=History(kept)).record
    assert (saved.runs, saved.moves_percent_worst) == (1, 0.5)
    live = compact(host(), history=History(kept, live=True)).record
    assert (live.runs, live.moves_percent_worst) == (2, 4.0)
    assert "No forecast was verified here yet" in said(layout(compact(host())))
    assert "pages moved, worst error 4.0" in said(layout(compact(host(), history=History(kept, live=True))))
    unread = compact(host(), history=History(unread=("x: no",)))
    assert "record: x: no" in said(layout(unread))


def test_what_is_missing_is_named() -> None:
    answer = compact(snapshot(without=("vmas", "mappings", "free_areas"), **{
        name: host().table(name) for name in ("frames", "zones", "resources")
    }))  # fmt: skip
    assert [part.part for part in answer.missing] == ["page-table entries", "types of pageblocks", "pins"]
    assert (answer.ptes_patched, answer.address_spaces) == (None, None)


def test_every_reason_has_words() -> None:
    reasons = {row.reason for strategy in STRATEGIES for row in compact(host(), strategy).blocked}
    assert reasons
    assert reasons <= set(REASONS)


LADDER = {
    Verdict.NOW: {"now": 5},
    Verdict.COMPACTION: {"low": 5},
    Verdict.UNCERTAIN: {"mid": 5},
    Verdict.EVICTION: {"after_eviction_low": 5},
    Verdict.PROCESSES: {"movable": 5},
    Verdict.REBOOT: {"windows": 5},
    Verdict.NEVER: {},
}
NAMES = [field.name for field in fields(Chances)]


def owners(*kinds: tuple[str, int]) -> Blockers:
    each = tuple(BlockerRow(kind, nr, nr, 0, nr, 0) for kind, nr in kinds)
    return replace(blockers(host(), 9), kinds=each)


@pytest.mark.parametrize("verdict", LADDER)
def test_the_verdict_is_the_first_that_is_true(verdict: Verdict) -> None:
    reached: dict[str, int] = {}
    for lower in reversed(LADDER):
        reached = {**reached, **LADDER[lower]}
        if lower == verdict:
            break
    total = Chances(**{name: reached.get(name, 4) for name in NAMES})
    assert asking._verdict(total, owners(), 5) == verdict
    if verdict != Verdict.NEVER:
        assert asking._verdict(total, owners(), 6) == Verdict.NEVER


@pytest.mark.parametrize("name", ["high", "after_eviction", "at_most"])
def test_what_may_be_is_uncertain(name: str) -> None:
    total = Chances(**{each: 5 if each == name else 4 for each in NAMES})
    assert asking._verdict(total, owners(), 5) == Verdict.UNCERTAIN


def test_only_what_ends_with_a_process_counts_for_it() -> None:
    total = Chances(**dict.fromkeys(NAMES, 4))
    assert asking._verdict(total, owners(("process", 1)), 5) == Verdict.PROCESSES
    assert asking._verdict(total, owners(("pinned", 1), ("slab", 9)), 6) == Verdict.NEVER
    assert asking._verdict(total, owners(("slab", 9)), 5) == Verdict.NEVER


def test_each_verdict_has_words_and_a_next_step() -> None:
    assert set(SAYS) == set(Verdict)
    asked = Asked(9, 3, 4096, 10)

    def next_step(
        verdict: Verdict, asked: Asked = asked, *, dirty: bool = False, likely: bool = False
    ) -> str:
        return advice(verdict, asked, ("a 1", "b 2", "c 3", "d 4"), dirty=dirty, likely=likely)

    pool = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
    assert next_step(Verdict.NOW).endswith(f"echo $(($(cat {pool}) + 3)) > {pool}")
    assert next_step(Verdict.COMPACTION) == COMPACT
    assert next_step(Verdict.COMPACTION, dirty=True) == f"sync; {COMPACT}"
    assert next_step(Verdict.EVICTION, dirty=True) == f"{DROP}; {COMPACT}", "which begins with a sync"
    again = "vmprobe can-alloc --order 9 --count 3"
    assert next_step(Verdict.UNCERTAIN, likely=True) == f"{COMPACT}; {again}"
    assert next_step(Verdict.UNCERTAIN) == f"{DROP}; {COMPACT}; {again}"
    assert next_step(Verdict.PROCESSES) == "end who holds them: a 1, b 2, c 3 and 1 more"
    assert "too little memory" in advice(Verdict.PROCESSES, asked, (), dirty=False, likely=False)
    assert "hugepagesz=2M hugepages=3" in next_step(Verdict.REBOOT)
    assert next_step(Verdict.NEVER)
    gigantic, odd = Asked(18, 1, 4096, 10), Asked(12, 1, 4096, 10)
    assert "hugepages-1048576kB" in next_step(Verdict.COMPACTION, gigantic)
    assert "alloc_contig_range" in next_step(Verdict.COMPACTION, odd)
    assert "hugepages" not in next_step(Verdict.NOW, odd) + next_step(Verdict.REBOOT, odd)


def test_an_answer_has_the_keys_of_the_issue_and_names_who_blocks() -> None:
    answer = can_alloc(host(), 9, 8)
    written = to_plain(answer)
    names = ["order", "count", "now", "after_compaction", "after_eviction", "verdict", "blockers", "advice"]
    assert list(written)[: len(names)] == names
    assert set(written["after_compaction"]) == {"low", "mid", "high"}
    assert [(row["owner"], row["kind"], row["pageblocks"]) for row in written["blockers"]] == [
        (None, "slab", 2)
    ]
    assert answer.verdict == Verdict.REBOOT
    text = said(layout_can_alloc(answer))
    assert text.startswith(" Not without a reboot: 8 blocks of 2.0 MiB.")
    assert "slab None None 2" in text
    assert "Who is in the way" not in said(layout_can_alloc(can_alloc(host(), 3)))
    kept = zones(reserve=1700)
    assert "kept by the watermark" in said(layout_can_alloc(can_alloc(host(zones=kept), 9, 3)))


def test_processes_in_the_way_are_named() -> None:
    huge = [(("HUGE", "MMAP"), 512), *RUNS[2:]]
    tasks = rows("tasks", "pid comm mm frozen", (70, "holder", 1, False))
    from tests.bridge.test_model import mappings

    asked = host(
        frames=frames_of(huge, {0: 512}), tasks=tasks, mappings=mappings((1, 0, 0, 512, "present", 0))
    )
    answer = can_alloc(asked, 9, 7)
    assert answer.verdict == Verdict.PROCESSES
    assert answer.advice == "end who holds them: holder 70"
    assert [row.pid for row in answer.blockers if row.kind == "process"] == [70]


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("compact --strategy plan --count 3", 0),
        ("compact --strategy plan --count 4", 1),
        ("compact --strategy plan", 0),
        ("compact --zone 0:Normal --zone DMA32 --compare", 0),
        ("compact --zone Movable", 2),
        ("compact --zone :DMA32", 2),
        ("compact --zone 0:", 2),
        ("compact --order 11", 2),
        ("compact --compare --strategy plan", 2),
        ("compact --yes", 2),
        ("compact --verify", 2),
        ("can-alloc --count 1 --order 3", 0),
        ("can-alloc --count 900", 1),
    ],
)
def test_exit_status(
    words: str,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    write(host(), tmp_path / "host.vmsnap")
    verb, *options = words.split()
    assert run([verb, str(tmp_path / "host.vmsnap"), *options]) == status
    out, err = capsys.readouterr()
    assert bool(out) == (status != 2)
    assert bool(err) == (status == 2)


def test_without_processes_or_counters_it_says_what_it_lacks() -> None:
    for ask in (compact, compare):
        missing = {part.part for part in ask(host().released("tasks", "mappings", "vmas")).missing}
        assert "page-table entries" in missing
        missing = {part.part: part.reason for part in ask(host().released("counters")).missing}
        assert "the newest kernel" in missing["rules of the scanners"]
        assert "pins" in missing


def test_a_history_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that was asked for is an error; that of the user is done without, and said so."""
    write(host(), tmp_path / "host.vmsnap")
    folder = tmp_path / "vmprobe" / "forecasts.jsonl"
    folder.mkdir(parents=True)
    words = ["compact", str(tmp_path / "host.vmsnap"), "--json"]
    assert run([*words, "--history", str(folder)]) == 2, "click refuses a folder"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    capsys.readouterr()
    assert run(words) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["missing"][-1] == {"part": "record", "reason": f"{folder}: is no plain file"}

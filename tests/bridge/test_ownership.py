"""Whose each frame is: by hand, against an oracle on fixtures, and what is planted in one is found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kernelmodel.holder import (
    CGROUP_TAG,
    HOLDER_NAMES,
    HOLDERS,
    NOBODY,
    PINNED_TAG,
    PROCESS_TAG,
    TAG_VERDICTS,
    Holder,
)
from kernelmodel.movability import Movability, Verdict
from kernelmodel.pageclass import PageClass, classify
from kernelmodel.pageflags import mask
from tests.before_after import ANON, FILE, FREE, areas, before, entries, tasks
from tests.oracles import diff as oracle
from tests.ownerships import by_kind, check, slowly
from vmprobe.bridge.diff import compare_frames, ownership
from vmprobe.bridge.ownership import Rank
from vmprobe.bridge.standing import standing
from vmprobe.store import load
from vmprobe.tables import MemoryTables, Snapshot, Table, from_rows

FIXTURES = Path(__file__).parents[2] / "fixtures" / "snapshots"


def test_a_process_is_known_by_pid_and_start_time() -> None:
    # The same pid: another process is there now, in the same frames.
    then = before(mappings=entries((1, 0, 16, 100, 2048), (2, 1, 16, 512, 3072)))
    again = tasks((70, 500, "worker", 1, 100), (80, 601, "leaver", 2, 512))
    other = compare_frames(ownership(then), ownership(before(tasks=again)), 9)
    assert [(row.old.pid, row.new.pid, row.frames) for row in other.changes] == [(80, 80, 512)]
    # Another name and another address space: exec.
    changed = before(
        tasks=tasks((70, 500, "worker", 1, 100), (80, 600, "renamed", 5, 512)), vmas=areas(1, 5),
        mappings=entries((1, 0, 16, 100, 2048), (5, 1, 16, 512, 3072)),
    )  # fmt: skip
    assert compare_frames(ownership(then), ownership(changed), 9).changed == 0
    # Two processes of one address space, of which the first ended.
    two = tasks((70, 500, "worker", 1, 100), (79, 550, "first", 2, 512), (80, 600, "leaver", 2, 512))
    assert compare_frames(ownership(before(tasks=two)), ownership(then), 9).changed == 0


def test_a_page_of_several_is_told_of_the_oldest() -> None:
    shared = entries((1, 0, 16, 100, 2048), (2, 1, 16, 512, 3072), (1, 0, 600, 20, 3072))
    for starts, pid in (((500, 600), 70), ((600, 500), 80)):
        made = tasks((70, starts[0], "worker", 1, 100), (80, starts[1], "leaver", 2, 512))
        whose = ownership(before(tasks=made, mappings=shared))
        found = [whose.owners[owner].pid for owner in whose.owner_of[whose.codes[[3072, 3091, 3092]]]]
        assert found == [pid, pid, 80]


def kind_of(tag: int, page_class: int) -> str:
    """Return what the oracle calls a frame."""
    if tag in NAMED:
        return NAMED[tag]
    if Verdict(int(TAG_VERDICTS[tag])) in {Verdict.YES, Verdict.IF}:
        return MOVING.get(PageClass(page_class), "kernel")
    return {NOBODY: "free" if tag == Movability.FREE else "hole"}.get(int(HOLDERS[tag])) or HOLDER_NAMES[
        Holder(int(HOLDERS[tag]))
    ]


NAMED = {
    PROCESS_TAG: "process",
    PINNED_TAG: "pinned",
    CGROUP_TAG: "cgroup",
    int(Movability.PGTABLE): "page tables",
}
MOVING = {
    PageClass.FILE: "page cache", PageClass.SHMEM: "shared memory", PageClass.ANON: "anonymous",
    PageClass.KSM: "anonymous", PageClass.SWAPCACHE: "anonymous",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", ["6.12-shared", "6.1-fragmented", "6.12-swapping"])
def test_owners_on_fixtures_are_those_of_one_frame_at_a_time(name: str) -> None:
    snapshot = load(FIXTURES / f"{name}.vmsnap")
    found, whose = standing(snapshot), ownership(snapshot)
    pfns = [pfn for start, end in whose.ranges.tolist() for pfn in range(start, end)]
    kinds = list(map(kind_of, found.tags.tolist(), found.memmap.by_word(classify).tolist()))
    present = snapshot.table("mappings").rows("kind", "pfn", "nr_pages", "mm")
    runs = [(pfn, nr, mm) for kind, pfn, nr, mm in present if kind == "present" and pfn is not None]
    processes = [row for row in snapshot.table("tasks").rows("pid", "start_time", "mm") if row[2] is not None]
    inodes = snapshot.table("frames").column("memcg").tolist()
    expected = oracle.owners_of_frames(pfns, kinds, runs, processes, dict(zip(pfns, inodes, strict=True)))
    names = []
    for owner in whose.owners:
        key = owner.pid if owner.members else owner.key
        named = owner.members or owner.kind in {*oracle.MAPPED, *oracle.CHARGED}
        names.append(f"{owner.kind}/{key}" if named else owner.kind)
    got = {pfn: names[whose.owner_of[code]] for pfn, code in zip(pfns, whose.codes.tolist(), strict=True)}
    assert got == expected
    ranks = whose.rank_of[whose.codes]
    verdicts = TAG_VERDICTS[found.tags]
    for verdict, rank in ((Verdict.FREE, Rank.FREE), (Verdict.UNKNOWN, Rank.UNKNOWN)):
        assert np.array_equal(verdicts == verdict, ranks == rank)
    assert np.array_equal(verdicts == Verdict.NO, np.isin(ranks, (Rank.STAYS, Rank.ABSENT)))
    assert {"process", "page cache", "free"} <= {text.partition("/")[0] for text in got.values()}


def planted(snapshot: Snapshot, seed: int) -> Snapshot:
    """Return a later look at a fixture: pages of all sorts came and went in pageblocks chosen by chance."""
    rng = np.random.default_rng(seed)
    table = snapshot.table("frames")
    flags, unstable = table.column("flags").copy(), table.column("unstable").copy()
    runs: list[tuple[int, int, int]] = []
    for block in rng.permutation(len(flags) >> 9)[:120].tolist():
        first = block << 9
        for word in rng.choice(5, rng.integers(1, 3), replace=False).tolist():
            start, nr = first + int(rng.integers(0, 500)), int(rng.integers(1, 12))
            names = (("SLAB",), FILE, ANON, (), FREE)[word]
            flags[start : start + nr] = mask(*names)
            if names is ANON:
                runs.append((start, nr, 9000 + 16 * block))
        if rng.random() < 0.2:
            flags[first : first + 512] = mask(*FREE)
        unstable[first : first + 512] |= rng.random(512) < rng.choice((0, 0, 0.2, 1))
    tables = {name: snapshot.table(name) for name in snapshot.tables()}
    columns = table.columns | {"flags": flags, "unstable": unstable}
    tables["frames"] = replace(table, columns=columns)
    mm = max(mm for (mm,) in tables["tasks"].rows("mm") if mm is not None) + 1
    vma = len(tables["vmas"])
    tables["tasks"] = _appended(tables["tasks"], tasks((4711, 10**9, "eater", mm, 50)), skip=1)
    tables["vmas"] = _appended(tables["vmas"], areas(mm))
    made = sorted({vpn: (mm, vma, vpn, nr, pfn) for pfn, nr, vpn in runs}.values())
    tables["mappings"] = _appended(tables["mappings"], entries(*made))
    return Snapshot(snapshot.manifest, MemoryTables(tables))


def _appended(table: Table, more: Table, skip: int = 0) -> Table:
    names = [column.name for column in table.schema.columns if table.has(column.name)]
    return from_rows(table.schema, names, [*table.rows(*names), *list(more.rows(*names))[skip:]])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_changes_planted_in_a_fixture_are_all_found(seed: int) -> None:
    old = load(FIXTURES / "6.12-quiet.vmsnap")
    then, now = ownership(old), ownership(planted(old, seed))
    found = compare_frames(then, now, 9)
    check(by_kind(found), slowly(then), slowly(now), 9, tuple((z.start_pfn, z.end_pfn) for z in now.zones))
    assert found.broken.pageblocks
    assert found.broken.unstable
    assert found.freed.pageblocks
    kinds = {row.owner.kind for row in found.broken.owners}
    assert {"slab", "page cache", "process"} <= kinds
    assert ("eater", 4711) in {row.owner[1:3] for row in found.broken.owners}

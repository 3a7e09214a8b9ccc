"""The committed snapshots: readable for ever, whole, free of this machine's names, as their makers said.

They are real ones of format 1.0: a change that stops one of these tests breaks other people's files.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lab.fixtures import FIXTURES, FOLDER, MAX_BYTES, SEED, checked, readme
from lab.kernels import KERNELS
from vmprobe.analyses.show import show
from vmprobe.bridge.memmap import flag_counts
from vmprobe.cli.main import VERBS
from vmprobe.store import load

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NAMES = [f"{series}-{fixture.name}" for series in KERNELS for fixture in FIXTURES]


def slow_where_old(names: Iterable[str]) -> list[Any]:
    """Return parameters of which the quick run leaves out the older kernel's."""
    return [
        pytest.param(name, marks=pytest.mark.slow if name.startswith("6.1-") or name == "6.1" else ())
        for name in names
    ]


def opened(name: str) -> Any:
    """Open a fixture."""
    return load(FOLDER / f"{name}.vmsnap")


def truths(name: str, workload: str) -> list[dict[str, Any]]:
    """Return what the workloads of one name said they made."""
    told = json.loads((FOLDER / f"{name}.truth.json").read_text())
    return [truth for truth in told if truth["workload"] == workload]


def entries(snapshot: Any, pid: int, kind: str) -> dict[int, tuple[Any, ...]]:
    """Return virtual page number to (pfn, swap type, swap offset) of one process."""
    (mm,) = [mm for found, mm in snapshot.table("tasks").rows("pid", "mm") if found == pid]
    names = ("mm", "kind", "vpn", "nr_pages", "pfn", "swap_type", "swap_offset")
    found = {}
    for owner, is_kind, vpn, nr_pages, *where in snapshot.table("mappings").rows(*names):
        if owner == mm and is_kind == kind:
            pfn, area, offset = where
            for i in range(nr_pages):
                found[vpn + i] = (
                    pfn if pfn is None else pfn + i,
                    area,
                    offset if offset is None else offset + i,
                )
    return found


@pytest.mark.parametrize("name", slow_where_old(NAMES))
def test_it_opens_whole_and_small_and_names_nobody(name: str) -> None:
    snapshot = opened(name)
    minor = 1 if name.endswith("-compacting") else 0
    assert snapshot.manifest["format"] == {"name": "vmprobe-snapshot", "version": [1, minor]}
    assert checked(FOLDER / f"{name}.vmsnap") <= MAX_BYTES
    assert snapshot.manifest["host"]["release"].startswith(name.partition("-")[0] + ".")
    for table in snapshot.tables():
        assert len(snapshot.table(table)) == snapshot.manifest["tables"][table]["rows"]
    answer = show(snapshot)
    assert answer.frames is not None
    assert sum(row.nr_frames for row in answer.frames.classes) == len(snapshot.table("frames"))


@pytest.mark.parametrize("name", slow_where_old(name for name in NAMES if not name.endswith("-compacting")))
def test_free_frames_are_the_free_pages_of_a_still_guest(name: str) -> None:
    snapshot = opened(name)
    rows = list(snapshot.table("free_areas").rows("order", "nr_free", "nr_free_after"))
    before, after = (sum(row[look] << row[0] for row in rows) for look in (1, 2))
    assert before == after == flag_counts(snapshot)["BUDDY"]


@pytest.mark.parametrize("series", slow_where_old(KERNELS))
def test_swapped_pages_are_where_their_maker_saw_them(series: str) -> None:
    snapshot = opened(f"{series}-swapping")
    areas = set()
    for truth in truths(f"{series}-swapping", "swapped"):
        (area,) = truth["areas"]
        found = entries(snapshot, truth["pid"], "swap")
        expected = {
            area["start"] // 4096 + first + i: (None, kind, offset + i)
            for first, nr, kind, offset in truth["slots"]
            for i in range(nr)
        }
        assert found == expected
        areas |= {kind for _, kind, _ in found.values()}
    assert areas == {0, 1}


@pytest.mark.parametrize("series", slow_where_old(KERNELS))
def test_kept_pages_are_present_and_freed_ones_are_not(series: str) -> None:
    snapshot = opened(f"{series}-fragmented")
    holes = truths(f"{series}-fragmented", "holes")
    assert {truth["parameters"]["pattern"] for truth in holes} == {"random", "clustered"}
    for truth in holes:
        (area,) = truth["areas"]
        present = entries(snapshot, truth["pid"], "present")
        first = area["start"] // 4096
        there = [vpn - first for vpn in present if first <= vpn < first + area["nr_pages"]]
        assert sorted(there) == [i for low, high in area["kept"] for i in range(low, high)]


@pytest.mark.parametrize("series", slow_where_old(KERNELS))
def test_forks_share_what_no_child_wrote(series: str) -> None:
    snapshot = opened(f"{series}-shared")
    for truth in truths(f"{series}-shared", "forks"):
        (private,) = [area for area in truth["areas"] if area["name"] == "private"]
        first = private["start"] // 4096
        parents = entries(snapshot, truth["pid"], "present")
        for child in truth["children"]:
            own = {i for low, high in child["own"] for i in range(low, high)}
            theirs = entries(snapshot, child["pid"], "present")
            for i in range(private["nr_pages"]):
                assert (parents[first + i][0] != theirs[first + i][0]) == (i in own)


@pytest.mark.parametrize("series", slow_where_old(KERNELS))
def test_two_nodes_and_huge_pages_are_there(series: str) -> None:
    zones = {(node, zone) for node, zone, nr in opened(f"{series}-two-nodes").table("zones").rows(
        "node", "zone", "present_pages") if nr}  # fmt: skip
    assert zones == {(0, "DMA"), (0, "DMA32"), (1, "Normal")}
    pools = opened(f"{series}-huge-pages")
    assert flag_counts(pools)["HUGE"] == 32 * 512
    assert np.count_nonzero(pools.table("frames").column("mapcount")) > 0


def test_the_page_about_them_is_what_their_makers_write() -> None:
    assert (FOLDER / "README.md").read_text() == readme(FOLDER)
    assert all(seed >= SEED for seed in (t["seed"] for n in NAMES for t in truths(n, "forks")))


VERB_WORDS = {
    "show": [["show", "{0}"], ["show", "{0}", "--json"]],
    "check": [["check", "{0}"], ["check", "{0}", "--json"]],
    "vmas": [["vmas", "{0}"], ["vmas", "{0}", "--json"]],
    "page": [["page", "{0}", "22737"], ["page", "{0}", "22737", "--json"]],
    "sharing": [["sharing", "{0}"], ["sharing", "{0}", "--json", "--group", "comm"]],
    "rmap": [["rmap", "{0}"], ["rmap", "{0}", "--json"]],
    "frag": [["frag", "{0}"], ["frag", "{0}", "--json"]],
    "map": [["map", "{0}"], ["map", "{0}", "--json"]],
    "compact": [["compact", "{0}"], ["compact", "{0}", "--json", "--strategy", "plan"]],
    "can-alloc": [["can-alloc", "{0}"], ["can-alloc", "{0}", "--json", "--order", "3"]],
    "whatif": [["whatif", "{0}", "--policy", "buddy-lifo", "--steps", "3000", "--seeds", "1"]],
    "report": [["report", "{0}"]],
    "diff": [["diff", "{0}", "{0}", "--json"]],
    "sql": [["sql", "{0}", "SELECT count(*) FROM frames"]],
    "doctor": [["doctor", "{0}"], ["doctor", "{0}", "--json"]],
}
"""What each verb that asks a snapshot is asked; a verb that is missing here fails the test below."""

STRANGER = """
import contextlib, io, os, sys
sys.path[:0] = {path!r}
from vmprobe.cli.main import run
# Once as we are: every module is loaded then, also where nobody may not read the interpreter's own files.
for words in {commands!r}[:{warm}]:
    with contextlib.redirect_stdout(io.StringIO()):
        run(words)
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
assert os.listdir("/proc") == [], os.listdir("/proc")
for words in {commands!r}:
    print("#", *words, flush=True)
    status = run(words)
    assert status == 0, (words, status)
"""


@pytest.mark.root
@pytest.mark.slow
def test_every_offline_verb_answers_a_stranger_without_proc(tmp_path: Path) -> None:
    """As nobody, in a mount namespace whose /proc is empty; the snapshots as git makes them in a clone."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to make a mount namespace with an empty /proc")
    assert set(VERB_WORDS) == set(VERBS) - {"snapshot", "history", "record"}
    copy = tmp_path / "snapshots"
    subprocess.run(["cp", "-r", str(FOLDER), str(copy)], check=True)
    subprocess.run(["chmod", "-R", "u=rwX,go=rX", str(copy)], check=True)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.owner() == "root" and str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    commands = [
        [word.format(copy / f"{name}.vmsnap") for word in words]
        for name in NAMES
        for asked in VERB_WORDS.values()
        for words in asked
    ]
    script = STRANGER.format(path=sys.path, commands=commands, warm=len(commands) // len(NAMES))
    hidden = 'mount -t tmpfs -o mode=755 none /proc && exec "$0" -c "$1"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", hidden, sys.executable, script],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(re.findall(r"^# ", done.stdout, re.MULTILINE)) == len(commands)
    assert len(re.findall(r"^Snapshot$", done.stdout, re.MULTILINE)) == len(NAMES)


def test_a_truth_that_is_one_page_off_would_be_seen() -> None:
    """The comparisons above can fail: a swap slot moved by one is not found."""
    name = f"{next(iter(KERNELS))}-swapping"
    truth = truths(name, "swapped")[0]
    first, _, kind, offset = truth["slots"][0]
    vpn = truth["areas"][0]["start"] // 4096 + first
    assert entries(opened(name), truth["pid"], "swap")[vpn] != (None, kind, offset + 1)


def test_sql_reads_them_as_any_parquet_reader_would() -> None:
    import duckdb

    path = FOLDER / f"{NAMES[0]}.vmsnap" / "frames.parquet"
    counted = duckdb.sql(f"SELECT count(*) FROM '{path}'").fetchall()
    assert counted == [(len(opened(NAMES[0]).table("frames")),)]

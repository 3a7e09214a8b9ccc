"""vmprobe.analyses.page on a host made by hand, where every number can be stated."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rich.console import Console

from tests.synthetic import ANON, MANIFEST, PAGE, RUNS, rows, snapshot
from tests.synthetic import frames as frame_table
from vmprobe.analyses.page import page
from vmprobe.analyses.page_answer import FreeBlock
from vmprobe.analyses.page_layout import layout
from vmprobe.errors import InputError, PrivilegeError, SnapshotError, UsageError
from vmprobe.render.jsontext import dumps
from vmprobe.render.text import print_parts
from vmprobe.schema import TABLES
from vmprobe.tables import Coded, Snapshot, Table

if TYPE_CHECKING:
    from vmprobe.analyses.page_answer import Page

# The host made by hand: vmas, counts and cgroups on top of tests/synthetic.py.

VMAS = rows(
    "vmas",
    "vma mm start end perms vm_flags pgoff dev inode name",
    (0, 1, 0, 600 * PAGE, "rw-p", None, 0, "00:00", 0, ""),
    (1, 2, 0, 200 * PAGE, "r--s", None, 0, "08:01", 7, "/data (deleted)"),
    (2, 2, 300 * PAGE, 301 * PAGE, "---p", None, 0, "00:00", 0, ""),
    (3, 2, 302 * PAGE, 303 * PAGE, "rw-p", "rd wr pf io", 0, "00:05", 9, "/dev/thing"),
    (4, 2, 303 * PAGE, 304 * PAGE, "r--p", None, 0, "00:00", 0, "[vvar]"),
)
FIRST_ANON = 1412


def host(*, counts: dict[int, int] | None = None, without: tuple[str, ...] = (), **replaced: Any) -> Snapshot:
    """The synthetic host with VMAs, map counts (as many as entries, but for `counts`) and cgroups."""
    table = frame_table(RUNS, unstable=(FIRST_ANON + 2,))
    mapcount = np.zeros(len(table), np.uint32)
    mapcount[1412:1924] = 1
    mapcount[2010:2090] = 1
    for pfn, count in (counts or {}).items():
        mapcount[pfn] = count
    memcg = Coded(np.arange(len(table)) % 3, (0, 40, 41))
    table = replace(table, columns={**table.columns, "mapcount": mapcount, "memcg": memcg})
    tables: dict[str, Any] = {
        "frames": table,
        "vmas": VMAS,
        "cgroups": rows("cgroups", "inode path", (40, "/a"), (1, "/")),
    }
    kept = {name: table for name, table in (tables | replaced).items() if name not in without}
    return snapshot(without=without, **kept)


def reasons(answer: Page) -> dict[str, str]:
    return {row.part: row.reason for row in answer.missing}


@pytest.mark.parametrize(
    ("pfn", "page_class", "verdict"),
    [
        (0, "reserved", "no"), (100, "free", "free"), (1060, "free", "free"), (1124, "slab", "no"),
        (1364, "slab", "no"), (1380, "page table", "no"), (1412, "anonymous", "yes"),
        (1924, "anonymous", "if"), (1934, "ksm", "yes"), (1938, "shmem", "yes"), (2002, "swap cache", "yes"),
        (2008, "file", "yes"), (2308, "file", "yes"), (2310, "file", "yes"), (2324, "zero page", "no"),
        (2325, "driver", "unknown"), (2327, "kernel", "no"), (2377, "unknown", "unknown"),
        (3584, "hole", "no"),
    ],
)  # fmt: skip
def test_the_use_of_each_frame(pfn: int, page_class: str, verdict: str) -> None:
    answer = page(host(), pfn)
    assert answer.movable is not None
    assert (answer.page_class, answer.movable.verdict) == (page_class, verdict)


def test_processes_that_share_an_address_space_are_all_named() -> None:
    answer = page(host(), FIRST_ANON + 1)
    assert [(row.pid, row.comm, row.address, row.vma_start, row.vma_name, row.perms) for row in
            answer.mappings or ()] == [
        (70, "worker", 17 * PAGE, 0, "", "rw-p"), (71, "worker", 17 * PAGE, 0, "", "rw-p"),
    ]  # fmt: skip
    assert (answer.entries, answer.mapcount, answer.unseen_mappers, answer.mechanism) == (1, 1, 0, None)


def test_the_cgroup_of_a_frame() -> None:
    told = [page(host(), pfn) for pfn in (0, 1, 2)]
    assert [answer.memcg for answer in told] == [None, "/a", None]
    assert [reasons(answer).get("memcg") for answer in told] == [
        "charged to no cgroup", None, "no cgroup in the snapshot has inode 41",
    ]  # fmt: skip


def test_mappers_that_were_not_seen() -> None:
    answer = page(host(counts={FIRST_ANON: 4, 2010: 3}), FIRST_ANON)
    assert answer.movable is not None
    assert (answer.unseen_mappers, answer.mechanism, answer.movable.verdict) == (3, "hidden-mappers", "if")
    of_file = page(host(counts={2010: 3}), 2010)
    assert of_file.movable is not None
    assert (of_file.unseen_mappers, of_file.movable.verdict) == (2, "yes")
    fewer = page(host(counts={FIRST_ANON: 0}), FIRST_ANON)
    assert (fewer.unseen_mappers, fewer.mechanism) == (0, "unexplained")


def test_counts_of_different_moments_say_nothing_of_pins() -> None:
    answer = page(host(counts={FIRST_ANON + 2: 4}), FIRST_ANON + 2)
    assert answer.movable is not None
    assert (answer.unstable, answer.mechanism, answer.unseen_mappers) == (True, "unstable", None)
    assert answer.movable.verdict == "yes"
    assert "changed" in reasons(answer)["unseen_mappers"]


def test_averages_say_nothing_of_pins_either() -> None:
    config = {"host": {**MANIFEST["host"], "config": {"NO_PAGE_MAPCOUNT": True}}}
    head = ((*ANON, "COMPOUND_HEAD", "THP"), 1)
    tail = ((*ANON, "COMPOUND_TAIL", "THP"), 3)
    table = frame_table([head, tail])
    table = replace(table, columns={**table.columns, "mapcount": np.array([1, 1, 1, 1], np.uint32)})
    two = rows("mappings", "mm vma vpn nr_pages kind pfn", (1, 0, 16, 2, "present", 0))
    answer = page(host(frames=table, mappings=two, manifest=config), 3)
    assert answer.movable is not None
    assert (answer.mechanism, answer.unseen_mappers) == ("large-folio-average", None)
    assert (answer.entries, answer.movable.verdict) == (0, "yes")
    assert page(host(frames=table, mappings=two), 3).movable.verdict == "if"  # type: ignore[union-attr]


def test_what_is_not_in_the_snapshot_is_null_with_a_reason() -> None:
    bare = page(host(frames=frame_table(RUNS)), FIRST_ANON)
    assert (bare.mapcount, bare.memcg, bare.unseen_mappers) == (None, None, None)
    assert reasons(bare) == {
        "mapcount": "not in this snapshot",
        "memcg": "not in this snapshot: kpagecgroup: No such file or directory",
        "unseen_mappers": "not in this snapshot",
    }
    for gone in ("vmas", "mappings"):
        without = page(host(without=(gone,)), FIRST_ANON)
        assert (without.mappings, without.entries, without.unseen_mappers) == (None, None, None)
        assert reasons(without)["mappings"] == reasons(without)["unseen_mappers"] == "not in this snapshot"
    hidden = rows("mappings", "mm vma vpn nr_pages kind", (1, 0, 16, 400, "present"))
    assert "CAP_SYS_ADMIN" in reasons(page(host(mappings=hidden), FIRST_ANON))["mappings"]


def test_a_frame_whose_word_could_not_be_read() -> None:
    table = host().table("frames")
    read = np.ones(len(table), np.bool_)
    read[FIRST_ANON] = False
    answer = page(host(frames=replace(table, valid={"flags": read})), FIRST_ANON)
    assert answer.movable is not None
    assert (answer.page_class, answer.flags, answer.folio, answer.movable.verdict) == (
        None,
        None,
        None,
        "unknown",
    )
    assert {"class", "folio"} <= set(reasons(answer))
    assert "flag word could not be read" in text(answer).splitlines()[0]


def test_zones_that_interleave_are_not_guessed() -> None:
    names = (
        "node zone start_pfn spanned_pages present_pages managed_pages nr_free wmark_min wmark_low wmark_high"
    )
    one = (0, "Normal", 0, 3000, 1500, 1500, 0, 0, 0, 0)
    two = (1, "Normal", 1000, 3000, 1500, 1500, 0, 0, 0, 0)
    made = host(zones=rows("zones", names, one, two))
    assert (page(made, 500).node, page(made, 3500).node, page(made, 2000).node) == (0, 1, None)
    assert reasons(page(made, 2000))["zone"] == "in the spans of node 0 Normal and node 1 Normal"
    assert reasons(page(made, 4050))["zone"] == "outside every zone"


@pytest.mark.parametrize(
    ("pid", "page_number", "kind", "meaning"),
    [
        (70, 701, "swap", "slot 78 of swap area 0"),
        (90, 150, "none", "file's page may be cached"),
        (90, 300, "none", "may not be accessed"),
        (90, 302, "none", "shows no entries of this VMA"),
        (90, 303, "none", "shows no entries of this VMA"),
        (71, 440, "none", "never touched"),
        (70, 800, "guard", "SIGSEGV"),
    ],
)
def test_addresses_that_no_page_stands_behind(pid: int, page_number: int, kind: str, meaning: str) -> None:
    answer = page(host(), at=(pid, page_number * PAGE + 9))
    assert answer.at is not None
    assert (answer.at.kind, answer.pfn, answer.at.address) == (kind, None, page_number * PAGE)
    assert meaning in answer.at.meaning
    assert [row.part for row in answer.missing] == ["page"]
    assert meaning in text(answer).splitlines()[0].replace("\n", " ") or meaning in " ".join(
        text(answer).split()
    )


def test_an_entry_outside_every_vma_is_still_an_answer() -> None:
    """Lists of VMAs tear: entry 700 of mm 1 lies behind the only VMA."""
    answer = page(host(), at=(70, 700 * PAGE))
    assert answer.at is not None
    assert (answer.at.kind, answer.at.vma_start, answer.at.perms) == ("swap", None, None)


def test_an_entry_that_holds_a_frame_leads_to_it() -> None:
    answer = page(host(), at=(90, 100 * PAGE))
    assert answer.at is not None
    assert (answer.at.kind, answer.pfn, answer.page_class) == ("frame-entry", 2001, "shmem")
    device = rows("mappings", "mm vma vpn nr_pages kind pfn", (2, 1, 5, 1, "frame-entry", 1 << 30))
    gone = page(host(mappings=device), at=(90, 5 * PAGE))
    assert (gone.pfn, gone.page_class) == (1 << 30, None)
    assert "no frame of the host" in gone.missing[0].reason


@pytest.mark.parametrize(
    ("question", "error", "message"),
    [
        ({"pfn": 4096}, UsageError, "no page frame 4096"),
        ({"at": (4, 0)}, UsageError, "process 4 is not in the snapshot"),
        ({"at": (2, 0)}, UsageError, r"process 2 \(kthreadd\) is a kernel thread"),
        (
            {"at": (1, 0)},
            InputError,
            r"memory of process 1 \(init\) is not in the snapshot: Permission denied",
        ),
        ({"at": (91, 0)}, InputError, r"process 91 \(\?\) is not in the snapshot: vanished"),
        ({"at": (90, 250 * PAGE)}, UsageError, "0xfa000 lies in no VMA of process 90"),
    ],
)
def test_questions_that_name_nothing(question: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        page(host(), **question)


def test_the_remedy_is_named() -> None:
    with pytest.raises(UsageError) as raised:
        page(host(), at=(90, 250 * PAGE))
    assert raised.value.hint == "the nearest are 0x0-0xc8000 and 0x12c000-0x12d000"
    with pytest.raises(UsageError) as raised:
        page(host(), 9999)
    assert raised.value.hint == "its frames are 0 to 4095"
    chosen = host(manifest={"options": {**MANIFEST["options"], "pids": [70]}})
    with pytest.raises(UsageError) as raised:
        page(chosen, at=(4, 0))
    assert raised.value.hint == "it was taken of chosen processes only"


def test_a_host_that_hides_its_frames_is_a_matter_of_privilege_and_a_snapshot_is_not() -> None:
    entry = {
        "what": "kpageflags",
        "reason": "Permission denied",
        "needs": "root",
        "lost": "frames.flags",
        "count": 1,
    }
    refused: dict[str, Any] = {"without": ("frames",), "manifest": {"unread": [entry]}}
    with pytest.raises(PrivilegeError, match=r"kpageflags.*needs root"):
        page(snapshot(**refused), 5)
    with pytest.raises(SnapshotError, match=r"host.vmsnap: page frames are not in this snapshot: kpageflags"):
        page(snapshot(path="host.vmsnap", **refused), 5)
    hidden = rows("mappings", "mm vma vpn nr_pages kind swap_type", (1, 0, 16, 4, "present", None),
                  (1, 0, 30, 1, "swap", None))  # fmt: skip
    with pytest.raises(PrivilegeError, match="needs CAP_SYS_ADMIN"):
        page(host(mappings=hidden), at=(70, 17 * PAGE))
    with pytest.raises(SnapshotError, match="frame numbers are hidden in it"):
        page(replace(host(mappings=hidden), path="x"), at=(70, 17 * PAGE))
    assert "hides where to" in page(host(mappings=hidden), at=(70, 30 * PAGE)).at.meaning  # type: ignore[union-attr]
    with pytest.raises(SnapshotError, match="table vmas is not in this snapshot"):
        page(snapshot(), at=(70, 0))


def text(answer: Page) -> str:
    out = io.StringIO()
    print_parts(layout(answer), Console(file=out, width=200, no_color=True))
    return out.getvalue()


def test_the_first_line_says_it_all() -> None:
    lines = {
        pfn: text(page(host(counts={2010: 3}), pfn)).splitlines()[0] for pfn in (FIRST_ANON, 2010, 100, 2324)
    }
    assert lines[FIRST_ANON] == f"pfn {FIRST_ANON}: anonymous page, mapped by 2 processes, movable"
    assert lines[2010] == (
        "pfn 2010: file page, mapped by 1 process, with 2 mappings that could not be seen, movable"
    )
    assert lines[100] == "pfn 100: free page, part of a 16.0 KiB free block"
    assert lines[2324] == "pfn 2324: the shared zero page, not movable"
    assert text(page(host(), 2310)).splitlines()[0] == (
        "pfn 2310: file page, part of a 64.0 KiB folio, mapped by nobody, movable"
    )


def test_a_page_that_is_mapped_twice_by_one_process() -> None:
    twice = rows("mappings", "mm vma vpn nr_pages kind pfn", (2, 1, 5, 1, "present", 2010),
                 (2, 1, 9, 1, "present", 2010))  # fmt: skip
    answer = page(host(mappings=twice, counts={2010: 2}), 2010)
    assert [row.address for row in answer.mappings or ()] == [5 * PAGE, 9 * PAGE]
    assert "mapped by 1 process at 2 addresses" in text(answer)


def test_json_has_the_names_that_were_promised() -> None:
    told = json.loads(dumps(page(host(), FIRST_ANON).document()))
    assert list(told)[:12] == [
        "pfn", "class", "flags", "folio", "node", "zone", "pageblock", "mapcount", "memcg", "mappings",
        "unseen_mappers", "movable",
    ]  # fmt: skip
    assert {"head_pfn": FIRST_ANON, "order": 0}.items() <= told["folio"].items()
    assert set(told["mappings"][0]) == {"pid", "comm", "address", "vma_start", "vma_name", "perms"}
    assert set(told["movable"]) == {"verdict", "reason"}
    assert told["flags"] == ["UPTODATE", "LRU", "MMAP", "ANON", "SWAPBACKED", "OWNER_2"]
    assert {"start_pfn": 1024, "end_pfn": 1536, "order": 9, "free": 100, "movable": 124, "unmovable": 288,
            "unknown": 0, "verdict": "mixed"}.items() <= told["pageblock"].items()  # fmt: skip


def test_tables_are_not_decoded_for_one_row() -> None:
    """A column of a frame may be coded (a snapshot just taken) or plain (one from disk)."""
    schema = TABLES["frames"]
    coded, plain = Coded(np.array([1, 0]), (0, 40)), np.array([40, 0], np.uint64)
    flags = np.array([0, 0], np.uint64)
    for memcg in (coded, plain):
        table = Table(schema, {"flags": flags, "memcg": memcg}, 2)
        assert [page(host(frames=table), pfn).memcg for pfn in (0, 1)] == ["/a", None]


def test_the_free_block_is_the_one_of_the_frames_own_zone() -> None:
    """The run of free frames [100, 1124) goes through two zones, which meet at 1024."""
    found = {pfn: page(host(), pfn).free_block for pfn in (1023, 1060)}
    assert found == {1023: FreeBlock(512, 9), 1060: FreeBlock(1024, 6)}


@pytest.mark.parametrize(("allowed", "verdict"), [(1, "yes"), (0, "no"), (None, "if")])
def test_the_sysctl_decides_on_mlocked_memory(allowed: int | None, verdict: str) -> None:
    table = frame_table([((*ANON, "UNEVICTABLE", "MLOCKED"), 1)])
    told = [("sysctl", "vm", "compact_unevictable_allowed", allowed)][: allowed is not None]
    counters = rows("counters", "source scope name value", ("ksm", "", "run", 0), *told)
    answer = page(host(frames=table, counters=counters), 0)
    assert answer.movable is not None
    assert answer.movable.verdict == verdict

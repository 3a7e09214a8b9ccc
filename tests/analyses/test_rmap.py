"""`vmprobe rmap` as a function: maps by hand and by brute force, stale entries, refusals, what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kernelmodel.rmap.survey import FrameKind
from tests.oracles.rmap_survey import Host, Vma
from tests.synthetic import MANIFEST, PAGE, frames, rows, snapshot
from vmprobe.analyses.parts import Note
from vmprobe.analyses.rmap import Stale, rmap
from vmprobe.analyses.rmap_layout import layout
from vmprobe.bridge.rmap import mapped
from vmprobe.errors import InputError, PrivilegeError, SnapshotError, UsageError
from vmprobe.store import load
from vmprobe.tables import Table

if TYPE_CHECKING:
    from vmprobe.tables import Snapshot

FIXTURES = Path(__file__).parents[2] / "fixtures" / "snapshots"
VMA_NAMES = "vma mm start end perms vm_flags pgoff dev inode name"
RUN_NAMES = "mm vma vpn nr_pages kind pfn exclusive file soft_dirty uffd_wp unstable"
TASK_NAMES = "pid ppid start_time comm mm kernel_thread frozen error"


def areas(*made: tuple[int, int, int, str, int, int, str]) -> Table:
    """Make VMAs of mm, first page, end page, perms, page offset, inode, name."""
    table = [
        (
            row,
            mm,
            start * PAGE,
            end * PAGE,
            perms,
            "pf" if name == "pfnmap" else "",
            pgoff,
            "08:01",
            inode,
            name,
        )
        for row, (mm, start, end, perms, pgoff, inode, name) in enumerate(made)
    ]
    return rows("vmas", VMA_NAMES, *table)


def entries(*runs: tuple[int, int, int, int, int, str]) -> Table:
    """Make runs of mm, VMA, first page, pages, frame, and letters: x is exclusive, f is file."""
    made = [
        (mm, vma, vpn, nr, "present", pfn, "x" in letters, "f" in letters, False, False, False)
        for mm, vma, vpn, nr, pfn, letters in runs
    ]
    return rows("mappings", RUN_NAMES, *made)


def tasks(*made: tuple[int, int, int, int | None]) -> Table:
    """Make processes of pid, parent, start time, mm."""
    return rows(
        "tasks",
        TASK_NAMES,
        *((pid, ppid, start, f"p{pid}", mm, False, False, None) for pid, ppid, start, mm in made),
    )


FAMILY = tasks((70, 1, 500, 1), (90, 70, 600, 2))
AREAS = areas(
    (1, 10, 14, "rw-p", 0, 0, "[heap]"),
    (1, 20, 24, "r--s", 3, 7, "/file"),
    (2, 10, 14, "rw-p", 0, 0, "[heap]"),
    (2, 40, 41, "r--s", 4, 7, "/file"),
)
ENTRIES = entries(
    (1, 0, 10, 1, 50, ""), (1, 0, 11, 2, 60, "x"), (1, 1, 20, 1, 70, "f"), (1, 1, 21, 1, 71, "f"),
    (2, 2, 10, 1, 50, ""), (2, 2, 11, 1, 80, "x"), (2, 3, 40, 1, 71, "f"),
)  # fmt: skip


def host(**replaced: Any) -> Snapshot:
    return snapshot(
        **{"without": ("frames",), "vmas": AREAS, "mappings": ENTRIES, "tasks": FAMILY} | replaced
    )


def test_a_small_host_by_hand() -> None:
    answer = rmap(host())
    # Frames 50, 60, 61, 70, 71, 80. Somebody unseen maps 70 as well: it is not exclusive.
    single, chain, objects = answer.maps
    assert answer.frames_by_kind == {"file": 2, "anonymous": 4, "ksm": 0}
    assert (answer.frames, answer.entries, answer.families) == (6, 8, 1)
    assert (single.map, single.frames_served, single.served_permille, single.visits_max) == (
        "single",
        3,
        500,
        1,
    )
    assert (chain.frames_served, chain.visits_per_lookup, chain.visits_max) == (6, round(8 / 6, 2), 2)
    # The parent's pages visit both heaps, the child's own page only its own. Page 3 of the file lies in one
    # VMA, page 4 in both.
    assert (objects.frames_served, objects.visits_per_lookup) == (6, round((2 * 3 + 1 + 1 + 2) / 6, 2))
    assert (objects.visits_max, objects.false_visits) == (2, 2)
    assert objects.visits_per_lookup_at_most == round((2 * 4 + 1 + 2) / 6, 2)
    assert (answer.frames_without_object, answer.frames_at_two_offsets) == (0, 0)
    # 3560 present pages in the zones of the made-up host.
    assert [row.bytes for row in answer.maps] == [16 * 3560, 8 * 3560 + 2 * 64, 2 * 32 + 2 * 104 + 3 * 64]
    assert single.bytes_per_frame == round(16 * 3560 / 6, 2)
    assert {row.stale for row in answer.maps} == {None}


def test_one_process() -> None:
    answer = rmap(host(), pid=90)
    assert (answer.comm, answer.frames, answer.entries) == ("p90", 3, 5)
    assert answer.maps[0].bytes == 3 * 16
    first = layout(answer).parts[0]
    assert isinstance(first, Note)
    assert first.lines[0].startswith(
        "One entry a frame, as in 1998, serves 33.3 % of the 3 frames that process 90"
    )


def test_frames_that_no_map_counts_are_left_out() -> None:
    words = [(("ANON", "KSM"), 51), (("ZERO_PAGE", "RESERVED"), 1), (("ANON",), 48)]
    made = {
        "frames": frames(words),
        "without": (),
        "vmas": areas((1, 10, 20, "rw-p", 0, 0, ""), (1, 30, 32, "rw-s", 0, 9, "pfnmap")),
        "mappings": entries(
            (1, 0, 10, 1, 50, ""), (1, 0, 11, 1, 51, ""), (1, 0, 12, 1, 51, ""), (1, 1, 30, 1, 90, "")
        ),
    }
    answer = rmap(host(**made))
    assert (answer.frames, answer.entries) == (1, 1)
    assert answer.frames_by_kind == {"file": 0, "anonymous": 0, "ksm": 1}
    assert (answer.maps[2].frames_served, answer.maps[2].bytes) == (1, 32 + 64)
    assert answer.maps[0].bytes == 16 * 100


def test_ksm_is_believed_only_where_the_kernel_means_it() -> None:
    """Where every anonymous frame has the bit and one of them is exclusive, it means nothing."""
    words = [((), 50), (("ANON", "KSM", "OWNER_2"), 1), (("ANON", "KSM"), 30), ((), 19)]
    answer = rmap(host(frames=frames(words), without=()))
    assert answer.frames_by_kind == {"file": 2, "anonymous": 4, "ksm": 0}


def test_a_frame_of_no_object() -> None:
    vdso = areas((1, 10, 12, "r-xp", 0, 0, "[vdso]"), (2, 30, 32, "r-xp", 0, 0, "[vdso]"))
    answer = rmap(host(vmas=vdso, mappings=entries((1, 0, 10, 1, 5, "f"), (2, 1, 30, 1, 5, "f"))))
    assert (answer.frames, answer.maps[2].frames_served, answer.frames_without_object) == (1, 0, 1)
    assert answer.maps[2].visits_per_lookup is None


def test_forked_memory_that_one_of_both_moved() -> None:
    moved = areas((1, 10, 14, "rw-p", 0, 0, ""), (2, 30, 34, "rw-p", 0, 0, ""))
    answer = rmap(host(vmas=moved, mappings=entries((1, 0, 10, 1, 5, ""), (2, 1, 30, 1, 5, ""))))
    assert (answer.maps[2].frames_served, answer.frames_at_two_offsets) == (0, 1)


def test_what_was_not_looked_at_is_told() -> None:
    assert rmap(host()).notes == ("Without flag words zero pages and KSM pages count as anonymous.",)
    unread = rows("tasks", TASK_NAMES, (5, 1, 1, "x", None, False, False, "vanished"))
    chosen = {"options": MANIFEST["options"] | {"pids": [70]}}
    notes = rmap(snapshot(vmas=AREAS, mappings=ENTRIES, tasks=unread, manifest=chosen)).notes
    assert notes == (
        "Only chosen processes are in the snapshot; what others map with them is not counted.",
        "1 process could not be read; what they map is not counted.",
    )


def test_nothing_mapped() -> None:
    answer = rmap(host(mappings=entries()))
    assert (answer.frames, [row.served_permille for row in answer.maps]) == (0, [1000] * 3)
    first = layout(answer).parts[0]
    assert isinstance(first, Note)
    assert first.lines == ("No frame is mapped: there is nothing to compare.",)


@pytest.mark.parametrize("name", ["6.1-shared", "6.12-shared", "6.1-swapping", "6.12-huge-pages"])
def test_real_hosts(name: str) -> None:
    taken = load(FIXTURES / f"{name}.vmsnap")
    answer = rmap(taken, since=taken)
    single, chain, objects = answer.maps
    assert chain.frames_served == answer.frames == objects.frames_mapped
    # The page of the vdso is the one that nothing in /proc names.
    assert answer.frames - objects.frames_served == answer.frames_without_object == 1
    assert answer.frames_at_two_offsets == 0
    assert single.frames_served < objects.frames_served
    # Forks are what makes the difference between the two bounds.
    assert objects.visits_per_lookup is not None
    assert objects.visits_per_lookup_at_most is not None
    assert objects.visits_per_lookup + 0.5 < objects.visits_per_lookup_at_most
    assert sum(answer.frames_by_kind.values()) == answer.frames
    assert answer.stale is not None
    assert answer.stale.right == answer.stale.recorded == single.frames_served
    assert [row.stale for row in answer.maps] == [0, 0, 0]


@pytest.mark.slow
def test_a_real_host_by_brute_force() -> None:
    taken = load(FIXTURES / "6.12-quiet.vmsnap")
    numbers: dict[tuple[str, int], int] = {}
    names = ("mm", "start", "end", "perms", "pgoff", "dev", "inode")
    vmas = []
    for mm, start, end, perms, pgoff, dev, inode in taken.table("vmas").rows(*names):
        backing = numbers.setdefault((dev, inode), len(numbers)) if inode else -1
        first = pgoff if inode else start // PAGE
        vmas.append(Vma(mm, start // PAGE, end // PAGE, first, backing, perms.endswith("p")))
    pages, kinds = {}, {}
    for vma, vpn, nr, pfn, file in taken.table("mappings").rows("vma", "vpn", "nr_pages", "pfn", "file"):
        for page in range(nr):
            pages[vma, vpn + page] = pfn + page
            kinds[pfn + page] = "file" if file else "anon"
    processes = list(taken.table("tasks").rows("pid", "ppid", "mm"))
    mm_of = {pid: mm for pid, _, mm in processes if mm is not None}
    parents = {mm: mm_of[ppid] for _, ppid, mm in processes if mm is not None and ppid in mm_of}
    expected = Host(vmas, pages, kinds, parents).answer()
    answer = rmap(taken)
    served = [pfn for pfn, nr in expected.nr_entries.items() if expected.found[pfn] == nr]
    visits = sum(expected.visits[pfn] for pfn in served)
    objects = answer.maps[2]
    assert (objects.frames_mapped, objects.frames_served) == (len(expected.nr_entries), len(served))
    assert objects.visits_per_lookup == round(visits / len(served), 2)
    at_most = sum(expected.visits_at_most[pfn] for pfn in served)
    assert objects.visits_per_lookup_at_most == round(at_most / len(served), 2)
    assert objects.false_visits == visits - sum(expected.found[pfn] for pfn in served)
    assert answer.families == expected.nr_families


def later(**replaced: Any) -> Snapshot:
    time = MANIFEST["time"] | {"start": "2026-01-02T03:05:00+00:00"}
    return host(**{"manifest": {"time": time}} | replaced)


def followed(before: Snapshot, after: Snapshot, pid: int | None = None) -> Stale:
    found = rmap(after, since=before, pid=pid).stale
    assert found is not None
    return found


STACK = areas((1, 100, 104, "rw-p", 0, 0, "[stack]"), (2, 50, 60, "rw-p", 0, 0, ""))
PAGES = entries((1, 0, 100, 4, 10, "x"), (2, 1, 50, 10, 20, "x"))


def test_a_stack_that_grew_and_a_head_that_went() -> None:
    before = host(vmas=STACK, mappings=PAGES)
    after = later(
        vmas=areas((1, 98, 104, "rw-p", 0, 0, "[stack]"), (2, 53, 60, "rw-p", 0, 0, "")),
        mappings=entries((1, 0, 100, 4, 10, "x"), (2, 1, 53, 7, 23, "x")),
    )
    found = followed(before, after)
    assert (found.recorded, found.right, found.entries, found.linear_right) == (14, 0, 11, 11)
    assert [(row.cause, row.entries, row.processes) for row in found.by_cause] == [
        ("trimmed head", 7, 1),
        ("stack growth", 4, 1),
    ]
    example = found.by_cause[1].example
    assert (example.pid, example.comm) == (70, "p70")
    assert (example.old_start, example.new_start) == (100 * PAGE, 98 * PAGE)
    assert example.right_offset - example.recorded_offset == 2 * PAGE
    assert [(row.reason, row.entries) for row in found.not_followed] == [("unmapped", 3)]
    only = followed(before, after, pid=70)
    assert (only.recorded, [row.cause for row in only.by_cause]) == (4, ["stack growth"])
    answer = rmap(after, since=before)
    assert [row.stale for row in answer.maps] == [11, 0, 0]
    first = layout(answer).parts[0]
    assert isinstance(first, Note)
    assert "11 of 14 entries of the earlier snapshot would lead to a wrong address now" in first.lines[0]


def test_memory_that_moved_is_right_by_the_kernels_rule_alone() -> None:
    before = host(vmas=STACK, mappings=PAGES)
    after = later(
        vmas=areas((1, 100, 104, "rw-p", 0, 0, "[stack]"), (2, 150, 160, "rw-p", 0, 0, "")),
        mappings=entries((1, 0, 100, 4, 10, "x"), (2, 1, 150, 10, 20, "x")),
    )
    found = followed(before, after)
    assert [(row.cause, row.entries) for row in found.by_cause] == [("mremap", 10)]
    assert (found.linear_right, found.linear_by_rule) == (10, 10)
    layout(rmap(after, since=before))


def test_processes_are_known_by_pid_and_start_time() -> None:
    before = host(vmas=STACK, mappings=PAGES)
    again = later(vmas=STACK, mappings=PAGES, tasks=tasks((70, 1, 500, 1), (90, 70, 601, 2)))
    assert [(row.reason, row.entries) for row in followed(before, again).not_followed] == [
        ("process gone", 10)
    ]
    hidden = later(vmas=STACK, mappings=PAGES, tasks=tasks((70, 1, 500, 1), (90, 70, 600, None)))
    assert [row.reason for row in followed(before, hidden).not_followed] == ["process unread"]
    chosen = {"time": MANIFEST["time"], "options": MANIFEST["options"] | {"pids": [70]}}
    one = host(vmas=STACK, mappings=PAGES, tasks=tasks((70, 1, 500, 1)), manifest=chosen)
    assert [row.reason for row in followed(before, one).not_followed] == ["process unread"]


def test_address_spaces_may_change_their_numbers() -> None:
    before = host(vmas=STACK, mappings=PAGES)
    swapped = later(
        vmas=areas((1, 50, 60, "rw-p", 0, 0, ""), (2, 100, 104, "rw-p", 0, 0, "[stack]")),
        mappings=entries((1, 0, 50, 10, 20, "x"), (2, 1, 100, 4, 10, "x")),
        tasks=tasks((70, 1, 500, 2), (90, 70, 600, 1)),
    )
    found = followed(before, swapped)
    assert (found.right, found.entries, found.not_followed) == (14, 0, ())


def boot(name: str | None) -> dict[str, Any]:
    return {"host": MANIFEST["host"] | {"boot_id": name}}


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (host(manifest=boot("a")), host(manifest=boot("b")), r"it is of another boot \(a\) than"),
        (host(manifest=boot(None)), host(manifest=boot(None)), "the boot id is not in both snapshots"),
        (later(), host(), "it is the later one"),
    ],
)
def test_snapshots_that_do_not_follow_one_another(before: Snapshot, after: Snapshot, text: str) -> None:
    with pytest.raises(SnapshotError, match=text):
        rmap(after, since=before)


def test_refusals() -> None:
    with pytest.raises(SnapshotError, match="table vmas is not in this snapshot"):
        rmap(snapshot())
    with pytest.raises(SnapshotError, match="table mappings is not in this snapshot"):
        rmap(snapshot(without=("mappings",), vmas=AREAS))
    columns = {name: values for name, values in ENTRIES.columns.items() if name != "pfn"}
    hidden = Table(ENTRIES.schema, columns, len(ENTRIES), ENTRIES.valid)
    with pytest.raises(PrivilegeError, match="needs CAP_SYS_ADMIN"):
        rmap(host(mappings=hidden))
    with pytest.raises(SnapshotError, match=r"a\.vmsnap: frame numbers are hidden in it"):
        rmap(host(mappings=hidden, path="a.vmsnap"))
    with pytest.raises(UsageError, match="process 4711 is not in the snapshot"):
        rmap(host(), pid=4711)
    with pytest.raises(InputError, match="the memory of process 90"):
        rmap(host(tasks=tasks((90, 1, 5, None))), pid=90)


def test_kinds_are_taken_from_the_page_tables() -> None:
    found = mapped(host(), trust_ksm=True)
    assert found is not None
    assert [FrameKind(kind).name for kind in found.kind.tolist()] == ["ANON"] * 3 + ["FILE"] * 2 + ["ANON"]
    assert found.exclusive.tolist() == [False, True, True, False, False, True]

"""The whole collector on recorded trees of real guests: figures against the files, and what moves."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.recorded import PAGE, PROC, add_task, photograph, pid_of, pid_of_other, tree
from vmprobe.collect import Options, take
from vmprobe.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from vmprobe.tables import Snapshot

SHAPES = sorted(p.name for p in PROC.iterdir() if p.is_dir())


@pytest.fixture(params=SHAPES)
def recorded(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tree(request.param, tmp_path)


def entries(snapshot: Snapshot) -> dict[int, tuple[Any, ...]]:
    """Return every page-table entry by virtual page number: the runs of the table, spelled out."""
    columns = ("vpn", "nr_pages", "kind", "pfn", "swap_type", "swap_offset", "exclusive", "file")
    found = {}
    for vpn, nr, kind, pfn, area, slot, exclusive, file in snapshot.table("mappings").rows(*columns):
        for i in range(nr):
            frame = None if pfn is None else pfn + i
            found[vpn + i] = (kind, frame, area, None if slot is None else slot + i, exclusive, file)
    return found


def test_every_present_entry_is_where_the_kernel_had_it(recorded: Path) -> None:
    found = entries(photograph(recorded))
    nr_present = 0
    with (recorded / str(pid_of(recorded)) / "pagemap").open("rb") as file:
        # An independent walk of the same file, area by area of maps, word by word.
        for line in (recorded / str(pid_of(recorded)) / "maps").read_text().splitlines():
            start, end = (int(word, 16) for word in line.split()[0].split("-"))
            if start >> 63:
                continue
            file.seek(start // PAGE * 8)
            for i, (word,) in enumerate(struct.iter_unpack("<Q", file.read((end - start) // PAGE * 8))):
                vpn = start // PAGE + i
                if word >> 63:
                    nr_present += 1
                    expected = (
                        "present",
                        word & (1 << 55) - 1,
                        None,
                        None,
                        bool(word >> 56 & 1),
                        bool(word >> 61 & 1),
                    )
                    assert found.pop(vpn) == expected, hex(vpn)
                elif not word >> 62 & 1:
                    assert vpn not in found, hex(vpn)
    assert nr_present > 500
    assert {kind for kind, *_ in found.values()} <= {"swap", "uffd-wp"}, (
        "only these are captured beside present ones"
    )


def test_markers_are_not_swap_and_swap_is_what_smaps_counts(recorded: Path) -> None:
    found = entries(photograph(recorded))
    kinds = [entry[0] for entry in found.values()]
    smaps = (recorded / str(pid_of(recorded)) / "smaps").read_text()
    swap_kib = sum(map(int, re.findall(r"^Swap: +(\d+) kB$", smaps, re.MULTILINE)))
    assert kinds.count("uffd-wp") == 4
    assert kinds.count("swap") == swap_kib // 4


def test_vmas_are_the_lines_of_maps(recorded: Path) -> None:
    text = (recorded / str(pid_of(recorded)) / "maps").read_text().splitlines()
    rows = list(
        photograph(recorded).table("vmas").rows("start", "end", "perms", "pgoff", "dev", "inode", "name")
    )
    assert len(rows) == len(text)
    for line, (start, end, perms, pgoff, dev, inode, name) in zip(text, rows, strict=True):
        spelled = f"{start:08x}-{end:08x} {perms} {pgoff * PAGE:08x} {dev} {inode}"
        assert line.rstrip() == (f"{spelled:<73}{name}" if name else spelled)


def test_smaps_gives_flags_and_the_kernels_sums(recorded: Path) -> None:
    table = photograph(recorded, smaps=True).table("vmas")
    text = (recorded / str(pid_of(recorded)) / "smaps").read_text()
    for column, word in (("rss_bytes", "Rss"), ("pss_bytes", "Pss"), ("swap_bytes", "Swap")):
        printed = [int(kib) * 1024 for kib in re.findall(rf"^{word}: +(\d+) kB$", text, re.MULTILINE)]
        assert table.column(column).tolist() == printed
    assert [f.rstrip() for f in re.findall(r"^VmFlags: (.*)$", text, re.MULTILINE)] == list(
        table.column("vm_flags")
    )
    assert not photograph(recorded).table("vmas").has("rss_bytes"), "absent, not zero"


def test_frames_hold_the_words_of_the_files(recorded: Path) -> None:
    snapshot = photograph(recorded)
    frames = snapshot.table("frames")
    for name, column in (("kpageflags", "flags"), ("kpagecount", "mapcount"), ("kpagecgroup", "memcg")):
        data = (recorded / name).read_bytes()
        nr = min(len(frames), len(data) // 8)
        assert frames.column(column)[:nr].tolist() == list(struct.unpack(f"<{nr}Q", data[: nr * 8])), name
        assert not frames.column(column)[nr:].any()
    assert frames.column("pfn").tolist() == list(range(len(frames)))
    assert snapshot.manifest["frame_ranges"] == [[0, len(frames)]]


def test_free_lists_and_zones_are_what_was_printed(recorded: Path) -> None:
    snapshot = photograph(recorded)
    printed = [line.split() for line in (recorded / "buddyinfo").read_text().splitlines()]
    expected = [
        (int(w[1].rstrip(",")), w[3], order, int(nr)) for w in printed for order, nr in enumerate(w[4:])
    ]
    assert list(snapshot.table("free_areas").rows("node", "zone", "order", "nr_free")) == expected
    managed = list(
        map(int, re.findall(r"^ +managed +(\d+)$", (recorded / "zoneinfo").read_text(), re.MULTILINE))
    )
    assert snapshot.table("zones").column("managed_pages").tolist() == managed
    assert snapshot.manifest["volatility"]["free_pages_before"] == sum(n << o for _, _, o, n in expected)


def test_zone_and_node_counters_stay_apart(tmp_path: Path) -> None:
    snapshot = photograph(tree("6.12-2node", tmp_path))
    rows = list(snapshot.table("counters").rows("source", "scope", "name", "value"))
    anon = {
        scope: value for source, scope, name, value in rows if (source, name) == ("zoneinfo", "nr_anon_pages")
    }
    assert set(anon) == {"node 0", "node 1"}
    text = (tmp_path / "proc" / "vmstat").read_text()
    total = int(re.search(r"^nr_anon_pages (\d+)$", text, re.MULTILINE)[1])  # type: ignore[index]
    assert abs(sum(anon.values()) - total) < 200, "the two files were read a moment apart"


def test_a_second_look_finds_nothing_in_a_still_tree_and_everything_that_moved(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    still = photograph(root)
    assert (
        still.manifest["volatility"]["entries_changed"] == still.manifest["volatility"]["frames_changed"] == 0
    )
    assert not still.table("mappings").column("unstable").any()
    chosen = [vpn for vpn, entry in sorted(entries(still).items()) if entry[0] == "present"][7:12]
    before = entries(still)

    def move_then_read(stage: str, done: int, total: int) -> None:
        # Between the two looks one page after another gets another frame, and one frame another owner.
        if stage.startswith("map counts") and done == total:
            for vpn in chosen:
                word = 1 << 63 | (before[vpn][1] + 0x100)
                with (root / str(pid_of(root)) / "pagemap").open("r+b") as file:
                    file.seek(vpn * 8)
                    file.write(struct.pack("<Q", word))
            with (root / "kpageflags").open("r+b") as file:
                file.seek(9 * 8)
                file.write(struct.pack("<Q", 1 << 7))

    moved = take(Options(procfs=str(root), sysfs=str(root)), progress=move_then_read)
    assert moved.manifest["volatility"]["entries_changed"] == len(chosen)
    assert moved.manifest["volatility"]["frames_changed"] == 1
    runs = moved.table("mappings")
    marked = [v for v, n, u in runs.rows("vpn", "nr_pages", "unstable") if u for v in range(v, v + n)]
    assert set(chosen) <= set(marked)
    frames = moved.table("frames")
    unstable = set(np.flatnonzero(frames.column("unstable")).tolist())
    wanted = {before[vpn][1] + shift for vpn in chosen for shift in (0, 0x100)} | {9}
    assert unstable == {pfn for pfn in wanted if pfn < len(frames)}


def write_word(path: Path, index: int, word: int) -> None:
    with path.open("r+b") as file:
        file.seek(index * 8)
        file.write(struct.pack("<Q", word))


def test_an_entry_that_is_there_only_at_the_second_look_is_a_change(root: Path) -> None:
    """Its frame is not stable: somebody maps it by now who was not seen to."""
    pagemap = root / str(pid_of(root)) / "pagemap"
    first = next(iter(entries(photograph(root))))
    before = entries(photograph(root))
    new = next(vpn for vpn in range(first, first + 5000) if vpn not in before)

    def appear(stage: str, done: int, total: int) -> None:
        if stage.startswith("map counts") and done == total:
            write_word(pagemap, new, 1 << 63 | 77)

    snapshot = take(Options(procfs=str(root), sysfs=str(root)), progress=appear)
    assert new not in entries(snapshot)
    assert snapshot.manifest["volatility"]["entries_changed"] == 1
    assert np.flatnonzero(snapshot.table("frames").column("unstable")).tolist() == [77]


def test_a_frame_that_changed_and_changed_back_is_unstable(root: Path) -> None:
    """Equal flags at both looks, but in between it was mapped though it has no MMAP, or free and charged."""
    flags = struct.unpack("<1024Q", (root / "kpageflags").read_bytes()[:8192])
    unmapped = next(pfn for pfn, word in enumerate(flags) if not word >> 10 & 3)
    free = next(pfn for pfn, word in enumerate(flags) if word >> 10 & 1)
    write_word(root / "kpagecount", unmapped, 1)
    write_word(root / "kpagecgroup", free, 4711)
    snapshot = photograph(root)
    assert np.flatnonzero(snapshot.table("frames").column("unstable")).tolist() == sorted((unmapped, free))


def test_flags_that_only_keep_books_do_not_make_a_frame_unstable(root: Path) -> None:
    def flip(stage: str, done: int, total: int) -> None:
        if stage.startswith("map counts") and done == total:
            with (root / "kpageflags").open("r+b") as file:
                word = struct.unpack("<Q", file.read(8))[0]
                file.seek(0)
                file.write(struct.pack("<Q", word ^ (1 << 2 | 1 << 6 | 1 << 25)))

    snapshot = take(Options(procfs=str(root), sysfs=str(root)), progress=flip)
    assert snapshot.manifest["volatility"]["frames_changed"] == 0


def test_no_frames_reads_no_frame_file(root: Path) -> None:
    snapshot = photograph(root, frames=False)
    assert not snapshot.has("frames")
    assert {s["name"] for s in snapshot.manifest["sources"]}.isdisjoint(
        {"kpageflags", "kpagecount", "kpagecgroup"}
    )
    assert len(snapshot.table("mappings")) == len(photograph(root).table("mappings"))


def test_two_processes_with_one_page_table_are_found_by_evidence(root: Path) -> None:
    add_task(PROC / "6.12-1node" / "task", root, pid=77)
    snapshot = photograph(root)
    rows = list(snapshot.table("tasks").rows("pid", "mm", "mm_evidence"))
    assert [(mm, evidence) for _, mm, evidence in rows] == [(0, "exclusive-frames")] * 2
    assert len(entries(snapshot)) == sum(snapshot.table("mappings").column("nr_pages").tolist())


def test_a_fork_is_not_taken_for_sharing(root: Path) -> None:
    """The same tree, but every entry says that its frame is mapped more than once, as after a fork."""
    add_task(PROC / "6.12-1node" / "task", root, pid=77)
    for pid in (77, pid_of_other(root, 77)):
        with (root / str(pid) / "pagemap").open("r+b") as file:
            for vpn, (kind, *_) in entries(photograph(root)).items():
                if kind == "present":
                    file.seek(vpn * 8)
                    (word,) = struct.unpack("<Q", file.read(8))
                    file.seek(vpn * 8)
                    file.write(struct.pack("<Q", word & ~(1 << 56)))
    assert [mm for (mm,) in photograph(root).table("tasks").rows("mm")] == [0, 1]


def test_hidden_frames_are_null_and_say_so(root: Path) -> None:
    with (root / str(pid_of(root)) / "pagemap").open("r+b") as file:
        for vpn in entries(photograph(root)):
            file.seek(vpn * 8)
            (word,) = struct.unpack("<Q", file.read(8))
            file.seek(vpn * 8)
            file.write(struct.pack("<Q", word >> 55 << 55))
    snapshot = photograph(root)
    assert not snapshot.table("mappings").has("pfn")
    assert {"mappings.pfn"} <= {e["lost"] for e in snapshot.manifest["unread"]}
    assert {e[1] for e in entries(snapshot).values()} == {None}


def test_selection_by_pid_tree_and_cgroup(root: Path) -> None:
    pid = pid_of(root)
    child = add_task(PROC / "6.12-1node" / "task", root, pid=77)
    text = (child / "stat").read_text()
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    fields[1] = str(pid)
    (child / "stat").write_text(f"{head}) {' '.join(fields)}\n")
    add_task(PROC / "6.12-1node" / "task", root, pid=78)
    (root / "78" / "cgroup").write_text("0::/lab/tasks\n")

    def chosen(**choices: Any) -> set[int]:
        return {p for (p,) in photograph(root, frames=False, **choices).table("tasks").rows("pid")}

    assert chosen(pids=(pid,)) == {pid}
    assert chosen(trees=(pid,)) == {pid, 77}
    assert chosen(cgroups=("/lab/task",)) == {pid, 77}, "and not /lab/tasks, which only begins like it"
    assert chosen(cgroups=("/lab",)) == {pid, 77, 78}
    for missing in ({"pids": (99,)}, {"trees": (99,)}, {"cgroups": ("/none",)}):
        with pytest.raises(InputError):
            chosen(**missing)


def test_redaction_leaves_no_name_and_keeps_equality(root: Path) -> None:
    plain, redacted = photograph(root), photograph(root, redact=True)
    names = {name for (name,) in plain.table("vmas").rows("name") if name.startswith("/")}
    shown = repr([list(redacted.table(t).rows()) for t in ("tasks", "vmas", "swap_areas", "resources")])
    assert names
    for secret in {part for name in names for part in re.split(r"[/ .:]", name) if len(part) > 4} - {
        "(deleted)",
        "memfd",
    }:
        assert secret not in shown, secret
    assert "/lab" not in shown
    for label in ("[heap]", "[stack]", "(deleted)", "System RAM"):
        assert label in shown
    pairs = zip(
        (n for (n,) in plain.table("vmas").rows("name")),
        (n for (n,) in redacted.table("vmas").rows("name")),
        strict=True,
    )
    forward: dict[str, str] = {}
    for name, hashed in pairs:
        assert forward.setdefault(name, hashed) == hashed
    assert len(set(forward.values())) == len(forward)
    assert redacted.manifest["host"]["boot_id"] is None
    inodes = {inode for (inode,) in plain.table("vmas").rows("inode")}
    hashed = {inode for (inode,) in redacted.table("vmas").rows("inode")}
    assert inodes & hashed == {0}, "an inode leads to its path"
    assert len(inodes) == len(hashed)
    chosen = photograph(root, redact=True, cgroups=("/lab/task",)).manifest["options"]["cgroups"]
    assert len(chosen) == 1
    assert "lab" not in chosen[0]
    again = photograph(root, redact=True)
    assert list(again.table("vmas").rows("name")) != list(redacted.table("vmas").rows("name")), (
        "a key of its own"
    )

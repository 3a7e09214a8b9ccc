"""What workloads say against what the kernel shows of them; each comparison must notice one page too many."""

from __future__ import annotations

import array
import copy
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import termios
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from kernelmodel import pageflags
from lab.errors import LabError, UnavailableError
from lab.workloads import WORKLOADS, hold
from lab.workloads.children import TREE
from vmprobe.formats import pagemap, smaps, status

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.live
PAGE = 4096
PRESENT, SWAP, FILE, ONCE = (1 << bit for bit in (63, 62, 61, 56))
LAB_HOLD = (sys.executable, "-m", "lab", "hold")
EVERY = ("slab objects=300", "pagecache bytes=64K", "forks children=2 pages=64", "holes pages=64")


@contextmanager
def held(*specs: str) -> Iterator[list[dict[str, Any]]]:
    """Hold workloads; what cannot run here skips with the workload's own reason."""
    with ExitStack() as stack:
        try:
            truths = stack.enter_context(hold(*specs))
        except UnavailableError as error:
            pytest.skip(str(error))
        yield truths


def words(pid: int, area: dict[str, Any]) -> np.ndarray:
    with open(f"/proc/{pid}/pagemap", "rb") as file:
        file.seek(area["start"] // PAGE * 8)
        return pagemap.decode(file.read(area["nr_pages"] * 8))


def pages(ranges: list[list[int]]) -> list[int]:
    return [page for first, end in ranges for page in range(first, end)]


def having(found: np.ndarray, *bits: int) -> list[int]:
    """Return the pages with all bits set."""
    mask = np.uint64(sum(bits))
    return np.flatnonzero(found & mask == mask).tolist()


def vma(pid: int, area: dict[str, Any]) -> smaps.SmapsRow:
    rows = smaps.parse(Path(f"/proc/{pid}/smaps").read_bytes())
    return next(row for row in rows if row.vma.start == area["start"])


def task(pid: int) -> status.TaskStatus:
    return status.parse(Path(f"/proc/{pid}/status").read_bytes())


def frame_words(name: str, found: np.ndarray) -> list[int]:
    """Return kpagecount or kpageflags of each entry; root alone is shown frame numbers."""
    pfns = pagemap.frames(found).tolist()
    with open(f"/proc/{name}", "rb", buffering=0) as file:
        return [int.from_bytes(os.pread(file.fileno(), 8, pfn * 8), "little") for pfn in pfns]


def compare_holes(truth: dict[str, Any]) -> None:
    (area,) = truth["areas"]
    assert having(words(truth["pid"], area), PRESENT) == pages(area["kept"])
    assert sorted(pages(area["kept"]) + pages(area["freed"])) == list(range(area["nr_pages"]))
    row = vma(truth["pid"], area)
    assert row.vma.end - row.vma.start == area["nr_pages"] * PAGE
    assert row.fields["Rss"] * 1024 == truth["nr_kept"] * PAGE


def compare_pagecache(truth: dict[str, Any]) -> None:
    folder = Path(truth["folder"])
    assert sorted(os.listdir(folder)) == sorted(file["name"] for file in truth["files"])
    for file in truth["files"]:
        found = os.stat(f"/proc/{truth['pid']}/fd/{file['fd']}")
        assert (found.st_ino, found.st_size) == (file["inode"], file["bytes"])
        with open(folder / file["name"], "rb", buffering=0) as opened:
            # Fails rather than read from the disk; an old tmpfs does not know how to, and has none.
            flags = 0 if truth["filesystem"] == "tmpfs" else os.RWF_NOWAIT
            cached = bytearray(file["nr_pages"] * PAGE)
            assert os.preadv(opened.fileno(), [cached], 0, flags) == file["bytes"]
    assert [a["file"] for a in truth["areas"]] == [f["name"] for f in truth["files"] if f["use"] == "mapped"]
    for area in truth["areas"]:
        row = vma(truth["pid"], area)
        assert row.vma.offset == area["first_page"] * PAGE
        assert row.vma.name == str(folder / area["file"])
        assert row.fields["Rss"] * 1024 == area["nr_pages"] * PAGE
        assert having(words(truth["pid"], area), PRESENT, FILE) == pages(area["read"])
        if truth["filesystem"] != "tmpfs":  # whose pages are always dirty
            dirty = row.fields["Private_Dirty"] + row.fields["Shared_Dirty"]
            assert dirty == (row.fields["Rss"] if truth["dirty"] else 0)


def compare_slab(truth: dict[str, Any]) -> None:
    assert sorted(map(int, os.listdir(truth["folder"]))) == pages(truth["kept"])
    assert truth["nr_kept"] == round(truth["parameters"]["keep"] * truth["nr_made"])


def compare_pipes(truth: dict[str, Any]) -> None:
    for reader, writer, inode, nr_bytes in truth["pipes"]:
        for fd in (reader, writer):
            assert os.readlink(f"/proc/{truth['pid']}/fd/{fd}") == f"pipe:[{inode}]"
        mine = os.open(f"/proc/{truth['pid']}/fd/{reader}", os.O_RDONLY | os.O_NONBLOCK)
        waiting = array.array("i", [0])
        fcntl.ioctl(mine, termios.FIONREAD, waiting)
        os.close(mine)
        assert waiting[0] == nr_bytes
    assert sum(pipe[3] for pipe in truth["pipes"]) == truth["nr_pages"] * PAGE == truth["bytes"]


def compare_pinned(truth: dict[str, Any]) -> None:
    assert task(truth["pid"]).fields["VmPin"].split()[0] == str(truth["vm_pin_kib"])
    (area,) = truth["areas"]
    text = Path(f"/proc/{truth['pid']}/fdinfo/{truth['fd']}").read_text()
    found = re.findall(r"^ *\d+: 0x([0-9a-f]+)/(\d+)$", text, re.MULTILINE)
    assert int(re.search(r"^UserBufs:\t(\d+)$", text, re.MULTILINE)[1]) == truth["nr_buffers"]  # type: ignore[index]
    pinned = [(int(at, 16) - area["start"], int(nr)) for at, nr in found]
    assert pinned == [(first * PAGE, (end - first) * PAGE) for first, end in area["pinned"]]
    assert having(words(truth["pid"], area), PRESENT) == pages(area["written"])


def compare_forks(truth: dict[str, Any]) -> None:
    private, shared, file = truth["areas"]
    family = {truth["pid"]: private["own"]} | {c["pid"]: c["own"] for c in truth["children"]}
    children = Path(f"/proc/{truth['pid']}/task/{truth['pid']}/children").read_text().split()
    assert list(map(int, children)) == list(family)[1:]
    rewritten = np.zeros(private["nr_pages"], int)
    for child in truth["children"]:
        rewritten[pages(child["own"])] += 1
    for pid, own in family.items():
        assert task(pid).state == "S"
        found = words(pid, private)
        assert having(found, PRESENT) == list(range(private["nr_pages"]))
        assert having(found, ONCE) == pages(own)
        if os.geteuid() == 0:
            counts = len(family) - rewritten
            if pid != truth["pid"]:
                counts[pages(own)] = 1
            assert frame_words("kpagecount", found) == counts.tolist()
        for area, ranges in ((shared, shared["written"]), (file, file["read"])):
            found = words(pid, area)
            assert having(found, PRESENT, FILE) == pages(ranges)
            if os.geteuid() == 0:
                assert set(frame_words("kpagecount", found)) == {len(family)}
        assert vma(pid, file).vma.inode == file["inode"]


def compare_huge(truth: dict[str, Any]) -> None:
    (area,) = truth["areas"]
    shown = vma(truth["pid"], area).fields
    field, flag = {"thp": ("AnonHugePages", "THP"), "hugetlb": ("Private_Hugetlb", "HUGE")}[area["name"]]
    assert shown[field] == truth["nr_huge"] * 2048
    found = words(truth["pid"], area)
    assert having(found, PRESENT) == pages(area["written"])
    if os.geteuid() == 0:
        flags = np.array(frame_words("kpageflags", found), np.uint64) & np.uint64(pageflags.mask(flag))
        assert np.count_nonzero(flags) == truth["nr_huge"] * 512
    if area["name"] == "hugetlb":
        assert task(truth["pid"]).fields["HugetlbPages"].split()[0] == str(truth["nr_huge"] * 2048)


def compare_swapped(truth: dict[str, Any]) -> None:
    (area,) = truth["areas"]
    found = words(truth["pid"], area)
    assert having(found, SWAP) == pages(area["swapped"])
    assert vma(truth["pid"], area).fields["Swap"] * 1024 == area["nr_pages"] * PAGE
    assert (truth["slots"] is not None) == (os.geteuid() == 0)
    if truth["slots"] is not None:
        slots = [(kind, offset + i) for _, nr, kind, offset in truth["slots"] for i in range(nr)]
        assert slots == list(zip(pagemap.swap_types(found), pagemap.swap_offsets(found), strict=True))


def compare_ksm(truth: dict[str, Any]) -> None:
    assert int(Path(f"/proc/{truth['pid']}/ksm_merging_pages").read_text()) == truth["merging_pages"]
    for area in truth["areas"]:
        assert having(words(truth["pid"], area), PRESENT) == pages(area["written"])
        shown = vma(truth["pid"], area).fields
        if truth["all_merged"] and "KSM" in shown:  # since 6.7
            assert shown["KSM"] * 1024 == area["nr_pages"] * PAGE


CASES = [
    ("holes pages=2000 keep=0.3", compare_holes, "areas 0 kept -1 1"),
    ("holes pages=2000 pattern=clustered keep=0.6 cluster=20", compare_holes, "areas 0 freed 0 1"),
    ("holes pages=200 keep=1", compare_holes, "nr_kept"),
    ("pagecache bytes=1000001 files=3", compare_pagecache, "areas 1 read 0 1"),
    ("pagecache bytes=1000001 files=3", compare_pagecache, "areas 0 first_page"),
    ("pagecache bytes=200K files=2 dirty=1", compare_pagecache, "files -1 bytes"),
    ("pagecache bytes=200K files=2 dirty=1", compare_pagecache, "dirty"),
    ("slab objects=2000 keep=0.4", compare_slab, "kept -1 1"),
    ("pipes bytes=1M", compare_pipes, "pipes -1 3"),
    ("pinned pages=200", compare_pinned, "areas 0 pinned 0 1"),
    ("pinned pages=50 spread=8", compare_pinned, "vm_pin_kib"),
    ("forks children=3 pages=500 share=0.4", compare_forks, "children 0 own -1 1"),
    ("forks children=1 pages=64 share=0", compare_forks, "areas 2 read 0 1"),
    ("huge bytes=8M", compare_huge, "nr_huge"),
    ("huge bytes=4M kind=hugetlb", compare_huge, "nr_huge"),
    ("swapped pages=300", compare_swapped, "areas 0 swapped 0 1"),
    pytest.param("swapped pages=300", compare_swapped, "slots -1 3", marks=pytest.mark.root),
    ("ksm pages=200 copies=3", compare_ksm, "merging_pages"),
]
"""Workload, comparison, and where in the truth one less is planted: a page, a byte, a huge page."""


def plant(truth: dict[str, Any], place: str) -> dict[str, Any]:
    """Return a copy with one less there."""
    planted = copy.deepcopy(truth)
    *way, last = (int(step) if step.lstrip("-").isdigit() else step for step in place.split())
    inner: Any = planted
    for step in way:
        inner = inner[step]
    inner[last] -= 1
    return planted


@pytest.mark.parametrize(("spec", "compare", "place"), CASES)
def test_the_truth_is_what_the_kernel_shows(spec: str, compare: Any, place: str) -> None:
    if place == "slots -1 3" and os.geteuid():
        pytest.skip("needs root: swap offsets are for root alone")
    with held(spec) as (truth,):
        compare(truth)
        if place == "dirty" and truth["filesystem"] == "tmpfs":
            pytest.skip("the pages of tmpfs are always dirty")
        with pytest.raises(AssertionError):
            compare(plant(truth, place))


def test_every_workload_is_compared() -> None:
    specs = [getattr(case, "values", case)[0] for case in CASES]
    assert {spec.split()[0] for spec in specs} | {"mixed"} == set(WORKLOADS)  # mixed: test_mixed.py


def layout(truth: dict[str, Any]) -> Any:
    """Return what must be the same next time: everything but addresses, pids and inodes."""
    if "files" in truth:
        return [Path(truth["folder"], file["name"]).read_bytes() for file in truth["files"]]
    return truth.get("kept") or truth["areas"][0].get("kept") or [child["own"] for child in truth["children"]]


@pytest.mark.parametrize("spec", [*EVERY, "holes pages=500 pattern=clustered cluster=8"])
def test_a_seed_is_a_layout(spec: str) -> None:
    with held(*(f"{spec} seed={seed}" for seed in (7, 7, 8))) as truths:
        first, again, other = map(layout, truths)
        assert first == again
        assert first != other
    with held(spec, spec) as truths:
        assert [truth["seed"] for truth in truths] == [0, 1]


def test_clusters_are_as_long_as_asked() -> None:
    with held("holes pages=60000 pattern=clustered keep=0.6 cluster=30") as (truth,):
        (area,) = truth["areas"]
        mean = {name: np.mean(np.diff(area[name])) for name in ("kept", "freed")}
        # About 1000 runs of each kind: the mean of geometric lengths is known to 3 %.
        assert mean["kept"] == pytest.approx(36, rel=0.15)
        assert mean["freed"] == pytest.approx(24, rel=0.15)
        assert truth["nr_kept"] == pytest.approx(36000, rel=0.08)


def run(*given: str, wrap: tuple[str, ...] = (), **choices: Any) -> subprocess.CompletedProcess[str]:
    """Run Python as workloads are run, its input at an end."""
    choices |= {"env": {"PYTHONPATH": str(TREE)}, "stdin": subprocess.DEVNULL}
    command = [*wrap, sys.executable, "-S", "-P", *given]
    return subprocess.run(command, capture_output=True, text=True, check=False, **choices)


def run_workload(spec: str, **choices: Any) -> subprocess.CompletedProcess[str]:
    return run("-m", "lab.workloads", *spec.split(), **choices)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("holes pages=300000", 2, "it would take 1,171.9 MiB, and the limit is 1,024.0 MiB"),
        ("holes pages=10 limit=4096", 2, "the limit is 0.0 MiB"),
        ("holes pages=10 limit=13G", 2, "limit=13958643712: at most 12,288.0 MiB"),
        ("forks children=500 pages=4000", 2, "it would take"),
        ("huge bytes=2G kind=hugetlb", 2, "more than the limit"),
        ("pipes bytes=2G", 2, "it would take 2,048.0 MiB"),
        ("holes pages=10 keep=nan", 2, "keep=nan: 0 to 1"),
        ("holes pages=10 pages=x", 2, "'pages=x': not a number"),
        ("holes pages=10 size=3", 2, "holes has no 'size=3'; it has pages=, "),
        ("holes", 2, "holes needs pages="),
        ("holes pages=10 pattern=clustered keep=0.99 cluster=2", 2, "runs of a mean of 0.04 pages"),
        ("nothing", 2, "NAME is one of forks, holes,"),
        ("holes pages=250000 seconds=0.03", 3, "not done after 0.03 s"),
        ("slab objects=10 folder=/proc", 75, "/proc/vmprobe-lab-slab-"),
    ],
)
def test_bounds_are_kept_in_one_line(words: str, code: int, message: str) -> None:
    done = run_workload(words)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_limits_of_the_process_are_named() -> None:
    done = run_workload("pipes bytes=4M", wrap=("sh", "-c", 'ulimit -n 64; exec "$@"', "sh"))
    assert (done.returncode, done.stdout) == (75, "")
    assert done.stderr == "64 pipes need 160 files, and RLIMIT_NOFILE is 64, at most 64\n"


@pytest.mark.root
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("pinned pages=17", "69632 bytes to pin, and RLIMIT_MEMLOCK is 65536, at most 65536, without CAP_"),
        ("pipes bytes=80M", "1280 pipes hold 20480 pages; fs.pipe-user-pages-soft is "),
    ],
)
def test_limits_of_others_than_root_are_named(words: str, message: str, root_only: None) -> None:
    wrap = ("sh", "-c", 'ulimit -l 64; shift; exec /usr/bin/python3 "$@"', "sh")
    done = run_workload(words, wrap=wrap, user=65534, group=65534, extra_groups=[])
    if done.returncode == 1 or "No module" in done.stderr:
        pytest.skip(f"nobody can run the tree with /usr/bin/python3: {done.stderr.splitlines()[-1]}")
    assert (done.returncode, done.stdout) == (75, "")
    assert message in done.stderr


@pytest.mark.root
def test_slabs_grow_and_keep_their_holes(root_only: None) -> None:
    def inodes() -> np.ndarray:
        """Return objects in use, and all that slabs have room for."""
        text = Path("/proc/slabinfo").read_text()
        found = re.search(r"^shmem_inode_cache +(\d+) +(\d+)", text, re.MULTILINE)
        return np.array(found.groups(), int) if found else pytest.skip("shmem_inode_cache is merged")

    before = inodes()
    with held("slab objects=8000 keep=0.5") as (truth,):
        in_use, room = inodes() - before
        # A slab of 21 is hardly ever emptied by chance: it stays, with holes that others had already in part.
        assert room == pytest.approx(truth["nr_made"], rel=0.15)
        # How many more than were kept depends on the CPUs: what is free in their slabs counts as in use.
        assert in_use > truth["nr_kept"] * 0.85


def stat(pid: int) -> list[str]:
    """Return the fields of a process from its state on, none when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def gone(*pids: int) -> bool:
    """Wait until no process has these numbers; a zombie has ended."""
    until = time.monotonic() + 5
    while any(stat(pid)[:1] not in ([], ["Z"]) for pid in pids):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def everybody(truths: list[dict[str, Any]]) -> list[int]:
    return [pid for t in truths for pid in (t["pid"], *(c["pid"] for c in t.get("children", ())))]


def left(truths: list[dict[str, Any]]) -> list[str]:
    """Return the folders of workloads that are there."""
    return [truth["folder"] for truth in truths if "folder" in truth and os.path.exists(truth["folder"])]


def test_nothing_moves_while_it_is_held() -> None:
    with held(*EVERY, "pinned pages=8", "pipes bytes=64K") as truths:
        pids = everybody(truths)
        # Faults and time of the processor, own and of children.
        before = [stat(pid)[7:15] for pid in pids]
        assert all(task(pid).fields["Threads"] == "1" for pid in pids)
        time.sleep(0.4)
        assert [stat(pid)[7:15] for pid in pids] == before


def test_an_exception_ends_all_of_them() -> None:
    truths: list[dict[str, Any]] = []

    def use() -> None:
        with held(*EVERY) as said:
            truths.extend(said)
            assert len(left(said)) == 3
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        use()
    assert gone(*everybody(truths))
    assert not left(truths)


def test_a_refusal_ends_those_before_it(tmp_path: Path) -> None:
    specs = (f"pagecache bytes=9K folder={tmp_path}", "holes pages=0")
    with pytest.raises(LabError, match=r"^holes pages=0: pages=0: at least 1$"), hold(*specs):
        pytest.fail("one of them cannot be held")
    assert not list(tmp_path.iterdir())


def test_one_that_was_stopped_ends_too() -> None:
    begin = time.monotonic()
    with held(*EVERY) as truths:
        for pid in everybody(truths):
            os.kill(pid, signal.SIGSTOP)
    assert time.monotonic() - begin < 5
    assert gone(*everybody(truths))


def test_one_that_ends_early_is_an_error_and_leaves_no_file() -> None:
    with ExitStack() as stack:
        truths = stack.enter_context(held(*EVERY))
        os.kill(truths[0]["pid"], signal.SIGKILL)
        assert gone(truths[0]["pid"])
        with pytest.raises(LabError, match="slab objects=300: ended with status -9 while it was held"):
            stack.close()
    assert not left(truths)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)],
)
def test_whatever_ends_the_holder_nothing_is_left(number: int, code: int) -> None:
    # The shell ends at once when it is told to, and the sleeper would stay.
    leave_one = "exec sleep 60" if number == signal.SIGKILL else "sleep 60 & echo $!; wait"
    command = ["sh", "-c", f'tr "\\n" " " <$LAB_TRUTH; echo; echo $LAB_PIDS; echo $$; {leave_one}']
    holder = [*LAB_HOLD, *EVERY, "--", *command]
    with subprocess.Popen(holder, stdout=subprocess.PIPE, text=True, cwd=TREE) as process:
        assert process.stdout is not None
        truths = json.loads(process.stdout.readline())
        assert process.stdout.readline().split() == [str(truth["pid"]) for truth in truths]
        others = [int(process.stdout.readline()) for _ in range(1 if number == signal.SIGKILL else 2)]
        assert len(left(truths)) == 3
        process.send_signal(number)
        assert process.wait(15) == code
    assert gone(*everybody(truths), *others)
    assert not left(truths)


@pytest.mark.parametrize(("code", "command"), [(0, "true"), (7, "exit 7"), (137, "kill -9 $$"), (127, None)])
def test_the_commands_status_is_returned(code: int, command: str | None, tmp_path: Path) -> None:
    file = tmp_path / "truth"
    words = ["holes pages=9", "slab objects=5", "--seed", "4", "--truth", str(file), "--"]
    words += ["/no/such"] if command is None else ["sh", "-c", command]
    done = subprocess.run([*LAB_HOLD, *words], capture_output=True, text=True, check=False, cwd=TREE)
    assert done.returncode == code
    assert [truth["seed"] for truth in json.loads(file.read_text())] == [4, 5]


def test_the_maps_of_a_workload_name_no_place_of_ours() -> None:
    with held("holes pages=9") as (truth,):
        assert "site-packages" not in Path(f"/proc/{truth['pid']}/maps").read_text()
        # C.UTF-8 is what Python itself sets when it finds no locale.
        environment = Path(f"/proc/{truth['pid']}/environ").read_text().strip("\0").split("\0")
        assert set(environment) <= {f"PYTHONPATH={TREE}", "LC_CTYPE=C.UTF-8"}


def test_the_program_starts_light() -> None:
    code = "import sys, lab.workloads.__main__, lab.workloads.holes; print(*sys.modules)"
    loaded = set(run("-c", code).stdout.split())
    assert "lab.workloads.holes" in loaded
    heavy = {"argparse", "subprocess", "inspect", "pathlib", "tempfile", "shutil", "numpy", "vmprobe"}
    assert not loaded & (heavy | {f"lab.workloads.{name}" for name in WORKLOADS if name != "holes"})


@pytest.mark.parametrize(
    ("module", "sabotage", "call", "message"),
    [
        ("holes", "w.DONTNEED = 15", "holes(pages=9)", "kept pages: the kernel shows 9 pages, 4 were"),
        ("forks", "w.partial = lambda f, _: lambda: f([])", "forks(pages=9)", "own pages of "),
        ("pagecache", "w.Area.read_each = str", "pagecache(bytes=9)", "mapped pages: the kernel shows 0 "),
        ("slab", "w.layout.gaps = lambda *_: []", "slab(objects=9)", "kept files: the kernel shows 9 "),
        ("pinned", "w.vm_pin_kib = lambda: 0", "pinned(pages=1)", "VmPin in KiB: the kernel shows 0, made"),
    ],
)
def test_a_workload_that_did_not_do_its_work_fails(
    module: str, sabotage: str, call: str, message: str
) -> None:
    code = f"from lab.workloads import {module} as w; {sabotage}\nwith w.{call} as truth: print(truth)"
    done = run("-c", code)
    if "UnavailableError" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert (done.returncode, done.stdout) == (1, "")
    assert f"DisagreesError: {message}" in done.stderr

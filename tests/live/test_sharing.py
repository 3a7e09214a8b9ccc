"""``vmprobe sharing`` on this host and on a pre-forking server of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.redacted import redacted, without_names
from vmprobe.analyses.sharing import sharing
from vmprobe.analyses.survival import survival_of
from vmprobe.collect import Options, take

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmprobe.analyses.sharing_answer import Sharing
    from vmprobe.tables import Snapshot

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.usefixtures("root_only")]
PAGE = os.sysconf("SC_PAGE_SIZE")
ATTEMPTS = 5

SERVER = """
import json, mmap, os, sys

PAGE, NR = mmap.PAGESIZE, 600
image = mmap.mmap(-1, NR * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
image.madvise(mmap.MADV_NOHUGEPAGE)
dropped = mmap.mmap(-1, NR * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
dropped.madvise(mmap.MADV_NOHUGEPAGE)
for page in range(NR):
    image[page * PAGE] = dropped[page * PAGE] = 1
held = os.memfd_create("held")
os.truncate(held, 32 * PAGE)
os.pwrite(held, b"x" * 32 * PAGE, 0)

def fork(number):
    waits, begin = os.pipe()
    said, says = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(begin)
        os.read(waits, 1)
        for page in range(10 * number):
            image[page * PAGE] = 2
        if number == 3:
            dropped.madvise(mmap.MADV_DONTNEED)
        os.write(says, b".")
        os.read(waits, 1)
        os._exit(0)
    os.close(waits)
    return pid, begin, said

workers = [fork(number) for number in range(4)]
print(json.dumps({"pid": os.getpid(), "workers": [pid for pid, _, _ in workers]}), flush=True)
sys.stdin.readline()
for _, begin, said in workers:
    os.write(begin, b".")
    os.read(said, 1)
print(json.dumps({}), flush=True)
sys.stdin.readline()
"""


class Server:
    """A parent with four workers; worker n writes 10 n pages of its image when told, the last drops 600."""

    def __init__(self) -> None:
        command = [sys.executable, "-I", "-c", SERVER]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={}
        )
        facts = self.next()
        self.pid: int = facts["pid"]
        self.workers: list[int] = facts["workers"]

    def next(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def work(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.next()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    with made.process:
        yield made
        # The parent first: it would wait for the word of a worker that is gone.
        made.process.kill()
        for pid in made.workers:
            os.kill(pid, 9)


def test_copy_on_write_survival_is_what_the_workers_did(server: Server) -> None:
    options = Options(trees=(server.pid,))
    before = take(options)
    server.work()
    after = take(options)
    answer = survival_of(before, after, server.pid)
    rows = {row.pid: row for row in answer.workers}
    assert set(rows) == set(server.workers)
    # An interpreter writes to pages of its own, too; the two mappings merged into one VMA.
    (row,) = (row for row in answer.areas if row.image_bytes == 1200 * PAGE)
    assert (row.lost_bytes, row.dropped_bytes, row.workers) == (660 * PAGE, 600 * PAGE, 3)
    for number, pid in enumerate(server.workers):
        row = rows[pid]
        least = (10 * number + (600 if number == 3 else 0)) * PAGE
        assert row.since_old
        assert least <= row.lost_bytes <= least + 400 * PAGE
        assert row.shared_before_bytes - row.lost_bytes + row.gained_bytes == row.shared_now_bytes
        assert row.lost_bytes_per_minute == pytest.approx(row.lost_bytes * 60 / answer.seconds, abs=1)
    assert answer.image_bytes >= 1200 * PAGE


def quiet() -> tuple[Snapshot, Sharing]:
    """Return a snapshot of the host in which nobody came or went, the last one of some if there is none."""
    for _ in range(ATTEMPTS):
        snapshot = take(Options())
        moved = snapshot.manifest["volatility"]
        if not (moved["forks"] or moved["processes_appeared"] or moved["processes_vanished"]):
            break
    return snapshot, sharing(snapshot, group="comm")


def test_every_mapped_frame_of_this_host_has_a_line(server: Server) -> None:
    snapshot, answer = quiet()
    totals = answer.totals
    stable = totals.frames_mapped - totals.unstable
    assert stable > 1000
    assert totals.unexplained * 1000 <= stable
    if totals.hidden_entries:
        assert totals.hidden_at_most is None or totals.hidden_entries <= totals.hidden_at_most
    named = sum(totals.explained.values()) - totals.explained.get("no-frame", 0)
    assert totals.counts_match + totals.unstable + named + totals.unexplained == totals.frames_mapped
    held = next(row for row in answer.processes if row.pid == server.pid)
    assert held.hidden_bytes == 32 * PAGE
    only = sharing(snapshot, pid=server.pid)
    assert [row.processes for row in only.mechanisms if row.mechanism == "fd-only"] == [5]


def test_a_group_is_charged_for_its_frames_together_with_others(server: Server) -> None:
    snapshot, answer = quiet()
    assert answer.groups
    for row in answer.groups:
        assert row.pss_bytes + row.others_bytes == row.distinct_bytes
        assert row.freed_bytes + row.shared_bytes == row.distinct_bytes
    pids = ",".join(map(str, (server.pid, *server.workers)))
    (family,) = sharing(snapshot, group=pids).groups
    rows = {row.pid: row for row in answer.processes}
    members = [rows[pid] for pid in (server.pid, *server.workers)]
    assert family.processes == 5
    assert 0 <= family.pss_bytes - sum(row.pss_bytes for row in members) < 5
    # Each worker alone frees next to nothing; all together free the image.
    alone = sum(row.uss_bytes for row in members)
    assert family.freed_bytes >= alone + 1200 * PAGE
    assert family.distinct_bytes < sum(row.rss_bytes for row in members)


def test_a_redacted_snapshot_gives_the_same_figures(server: Server) -> None:
    del server
    snapshot = take(Options(smaps=True))
    shown = sharing(snapshot)
    hidden = sharing(redacted(snapshot))
    assert any(row.mechanism == "fd-only" for row in shown.mechanisms)
    assert without_names(hidden) == without_names(shown)

"""The printed crontab's command line, run as cron runs it: again and again, and beside itself.

Cron itself counts in minutes: ``python -m tests.live.cron_for_real`` lets a real one do it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.live.cron_job import CronJob
from vmprobe.sources.single_run import only_run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.slow, pytest.mark.usefixtures("root_only")]


@pytest.fixture
def job(tmp_path: Path) -> CronJob:
    """A report without frames, which says nothing while all is well."""
    return CronJob(tmp_path)


def test_five_runs_leave_history_metrics_and_page_whole(job: CronJob) -> None:
    for _ in range(5):
        assert job.run() == ""
        assert job.log.read_text() == ""
        assert job.faults() == []
    times = job.times()
    assert len(set(times)) == 5
    assert times == sorted(times)


def test_a_run_that_overlaps_says_so_and_leaves(job: CronJob) -> None:
    assert job.run() == ""
    before = job.metrics.read_bytes(), job.html.read_bytes(), job.times()
    with only_run(job.lock):
        assert job.run() == ""
    said = job.log.read_text().splitlines()
    assert len(said) == 1
    assert said[0].startswith("vmprobe: another report runs (pid ")
    assert (job.metrics.read_bytes(), job.html.read_bytes(), job.times()) == before


def test_two_at_once_do_no_harm(job: CronJob) -> None:
    with job.start() as first, job.start() as second:
        assert [process.communicate(timeout=120)[0] for process in (first, second)] == [b"", b""]
    overlaps = job.log.read_text().count("another report runs")
    assert len(job.times()) == 2 - overlaps
    assert job.faults() == []


def test_a_threshold_that_is_crossed_is_told(tmp_path: Path) -> None:
    job = CronJob(tmp_path, ("--no-frames", "--fail-when", "free_blocks > 0"))
    assert job.run() == ""
    first = job.log.read_text().splitlines()[0]
    assert re.fullmatch(r"critical: free_blocks is \d+, above 0", first)
    assert job.faults() == []
    assert len(job.times()) == 1

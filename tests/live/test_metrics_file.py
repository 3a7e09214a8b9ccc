"""The metrics file and the programs it is for: the official checker, and a node exporter."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from lab.errors import UnavailableError
from lab.tools import SEARCH, apt
from tests.reported import SNAPSHOTS, report_of, with_nodes
from vmprobe.analyses.samples import samples
from vmprobe.render.openmetrics import metrics_text
from vmprobe.store import load
from vmprobe.store.single_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.live

NAMES = ("6.12-two-nodes", "6.1-fragmented")
Values = dict[tuple[str, ...], int]


def installed(program: str, package: str) -> str:
    """The path of a program, installed where that is permitted."""
    if shutil.which(program, path=SEARCH) is None:
        try:
            apt(["install", "-y", "--no-install-recommends", package], why=f"{program} is missing")
        except UnavailableError as error:
            pytest.skip(str(error))
    path = shutil.which(program, path=SEARCH)
    assert path is not None
    return path


def checked(text: str) -> tuple[int, str]:
    """Exit status and every word of ``promtool check metrics``."""
    command = [installed("promtool", "prometheus"), "check", "metrics"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_the_official_checker_has_nothing_to_say(name: str) -> None:
    assert checked(metrics_text(samples(report_of(name)))) == (0, "")


def test_nor_of_a_host_with_64_nodes() -> None:
    made = samples(with_nodes(report_of(NAMES[0]), 64, ("DMA", "DMA32", "Normal", "Movable")))
    assert checked(metrics_text(made)) == (0, "")


@pytest.mark.parametrize(
    ("what", "planted", "complaint"),
    [
        ("# HELP vmprobe_free_bytes", "# HLEP vmprobe_free_bytes", "no help text"),
        ("vmprobe_free_bytes", "vmprobe_free_kilobytes", "use base unit"),
        ("vmprobe_free_bytes", "vmprobe_free_bytes_total", "should not have"),
        ("vmprobe_free_bytes", "vmprobe_freeBytes", "snake_case"),
        ("# TYPE vmprobe_free_bytes gauge", "# TYPE vmprobe_free_bytes counter", "_total"),
        ('zone="DMA"', "zone=DMA", "error while linting: text format parsing error"),
    ],
)
def test_the_official_checker_sees_planted_faults(what: str, planted: str, complaint: str) -> None:
    text = metrics_text(samples(report_of(NAMES[0])))
    assert what in text
    status, said = checked(text.replace(what, planted))
    assert status != 0
    assert complaint in said


@pytest.fixture
def scrape(tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Asks a node exporter, which reads ``tmp_path``, for everything that it has."""
    command = [
        installed("prometheus-node-exporter", "prometheus-node-exporter"),
        *("--collector.disable-defaults", "--collector.textfile", "--web.disable-exporter-metrics"),
        *(f"--collector.textfile.directory={tmp_path}", "--web.listen-address=127.0.0.1:0"),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as exporter:
        try:
            yield lambda: fetched(f"http://127.0.0.1:{port(exporter)}/metrics")
        finally:
            exporter.terminate()


def port(exporter: subprocess.Popen[str]) -> int:
    """The loopback port that a process listens on."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and exporter.poll() is None:
        # psutil passes over a descriptor that is closed while it looks, which a starting exporter does often.
        for connection in psutil.Process(exporter.pid).net_connections("tcp4"):
            if connection.status == psutil.CONN_LISTEN:
                return int(connection.laddr.port)
        time.sleep(0.05)
    pytest.fail("the node exporter does not listen")


def fetched(url: str) -> str:
    """What a URL of this host says."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=20) as answer:
        text: str = answer.read().decode()
    return text


def values(text: str, name: str) -> Values:
    """Label values to value, of one metric."""
    return {
        tuple(sample.labels[label] for label in ("node", "zone", "order")): int(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def buddyinfo(text: str) -> Values:
    """The same from buddyinfo, read here once more: each line ends in the counts of orders 0, 1, ..."""
    found = {}
    for node, zone, counts in re.findall(r"^Node (\d+), zone +(\w+) +(.*)$", text, re.MULTILINE):
        for order, count in enumerate(counts.split()):
            found[node, zone, str(order)] = int(count)
    return found


def table(name: str) -> Values:
    """The same from the table of a committed snapshot, which buddyinfo went into."""
    rows = load(SNAPSHOTS / f"{name}.vmsnap").table("free_areas").rows("node", "zone", "order", "nr_free")
    return {(str(node), zone, str(order)): nr for node, zone, order, nr in rows}


@pytest.mark.parametrize("name", NAMES)
def test_a_node_exporter_tells_what_buddyinfo_told(
    name: str, scrape: Callable[[], str], tmp_path: Path
) -> None:
    write_whole(tmp_path / "vmprobe.prom", metrics_text(samples(report_of(name))).encode(), mode=0o644)
    # What a writer leaves that is killed in the middle: an exporter must not take it for a file of its own.
    staging = tmp_path / ".vmprobe.prom.vmprobe-tmp-0123abcd"
    staging.mkdir()
    (staging / "whole").write_text("half a li")
    said = scrape()
    assert "node_textfile_scrape_error 0\n" in said
    assert values(said, "vmprobe_free_blocks") == table(name)
    assert len(table(name)) >= 11


def test_every_series_arrives(scrape: Callable[[], str], tmp_path: Path) -> None:
    text = metrics_text(samples(report_of(NAMES[0])))
    write_whole(tmp_path / "vmprobe.prom", text.encode(), mode=0o644)
    sent, told = (
        {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(each)
            for sample in family.samples
            if sample.name.startswith("vmprobe_")
        }
        for each in (text, scrape())
    )
    assert told == sent


@pytest.mark.parametrize(
    ("what", "planted"),
    [
        ("vmprobe_page_size_bytes 4096\n", "vmprobe_page_size_bytes 4096 1700000000000\n"),
        ('zone="DMA"', "zone=DMA"),
    ],
)
def test_the_exporter_sees_planted_faults(
    what: str, planted: str, scrape: Callable[[], str], tmp_path: Path
) -> None:
    text = metrics_text(samples(report_of(NAMES[0])))
    assert what in text
    (tmp_path / "vmprobe.prom").write_text(text.replace(what, planted))
    said = scrape()
    assert "node_textfile_scrape_error 1\n" in said
    assert not values(said, "vmprobe_free_blocks")


def test_this_host_now(scrape: Callable[[], str], tmp_path: Path) -> None:
    """Counts that stood still while the report was made are equal; a host in use gets a few chances."""
    command = [sys.executable, "-m", "vmprobe", "report", "--no-frames", "--openmetrics"]
    for _ in range(5):
        before = buddyinfo(Path("/proc/buddyinfo").read_text())
        made = subprocess.run(
            [*command, str(tmp_path / "vmprobe.prom")],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        after = buddyinfo(Path("/proc/buddyinfo").read_text())
        assert made.returncode == 0, made.stderr
        said = scrape()
        assert "node_textfile_scrape_error 0\n" in said
        told = values(said, "vmprobe_free_blocks")
        assert told.keys() == before.keys()
        still = {key for key, nr in before.items() if after[key] == nr}
        if still and all(told[key] == before[key] for key in still):
            return
    pytest.fail("figures of the report are not those of buddyinfo")

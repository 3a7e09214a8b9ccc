"""``vmprobe report``: exit statuses, files, history, lock and schedule; no test here reads this host."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.synthetic import MANIFEST, snapshot
from vmprobe.cli import options, report_run
from vmprobe.cli.main import run
from vmprobe.sources import priority
from vmprobe.store import write
from vmprobe.store.history import read

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmprobe.tables import Snapshot

CROSSED = "free_blocks[order>=9] > 64"
HELD = "free_blocks[order>=9] < 64"
UNKNOWN = "forecast_error_percent > 5"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("report") / "host.vmsnap")
    write(snapshot(without=("frames", "mappings")), path)
    return path


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Let what is taken now be the made-up host of some minute; the list tells what was done first."""
    done: list[str] = []

    def host(minute: int = 0, **changes: Any) -> list[str]:
        time = {**MANIFEST["time"], "start": f"2026-01-02T03:{minute:02}:05+00:00"}
        made = snapshot(without=("frames", "mappings"), manifest={"time": time}, **changes)

        def take(*_: object, **choices: Any) -> Snapshot:
            done.append("cheap" if choices["cheap"] else "whole")
            return made

        monkeypatch.setattr(options, "open_or_take", take)
        monkeypatch.setattr(priority, "yield_to_others", lambda: done.append("yielded"))
        return done

    return host


def report(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    status = run(["report", *map(str, words)])
    return status, *capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "status", "first"),
    [
        ((), 0, "OK: "),
        (("--fail-when", HELD), 0, "OK: "),
        (("--fail-when", CROSSED), 1, "critical: free_blocks[order>=9] is 5005, above 64"),
        (("--warn-when", CROSSED), 0, "warning: free_blocks[order>=9] is 5005, above 64"),
        (("--warn-when", HELD, "--fail-when", CROSSED), 1, "critical: "),
        # What is crossed is worse than what is not known.
        (("--fail-when", UNKNOWN, "--fail-when", CROSSED), 1, "critical: "),
        (("--fail-when", UNKNOWN), 3, "OK: "),
        (("--warn-when", UNKNOWN), 3, "OK: "),
    ],
)
def test_exit_status_says_whether_a_threshold_is_crossed(
    words: tuple[str, ...], status: int, first: str, saved: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, out, err = report(capsys, saved, *words)
    assert found == status
    assert out.splitlines()[0].startswith(first), "the reason is the first line"
    assert "What this cost" in out, "the report is there all the same"
    assert err.startswith(f"vmprobe: threshold {UNKNOWN!r}: " if status == 3 else "")
    assert err.count("\n") == (status == 3)


@pytest.mark.parametrize(
    ("words", "status", "word"),
    [
        ((), 0, "OK"),
        (("--warn-when", HELD), 0, "OK"),
        (("--warn-when", CROSSED), 1, "WARNING"),
        (("--fail-when", CROSSED), 2, "CRITICAL"),
        (("--fail-when", UNKNOWN), 3, "UNKNOWN"),
        (("--fail-when", "nonsense < 3"), 3, "UNKNOWN"),
        (("--no-such-option",), 3, "UNKNOWN"),
    ],
)
def test_a_plugin_answers_in_one_line_with_the_statuses_of_monitoring(
    words: tuple[str, ...], status: int, word: str, saved: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, out, err = report(capsys, saved, "--plugin", *words)
    assert (found, err, out.count("\n")) == (status, "", 1)
    assert out.startswith(f"VMPROBE {word} - ")


@pytest.mark.parametrize(
    ("one", "other", "name"),
    [
        ("--history", "--html", "a"), ("--html", "--openmetrics", "a"), ("--lock", "--history", "a"),
        ("--lock", "--html", "a"), ("--history", "--html", "./a"), ("--history", "--lock", "a.lock"),
    ],
)  # fmt: skip
def test_two_outputs_are_two_files(
    one: str, other: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").write_text("kept")
    status, out, err = report(capsys, one, tmp_path / "a", other, f"{tmp_path}/{name}")
    assert (status, out) == (2, "")
    assert " are the same file: " in err
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("a", "kept")]


def test_an_output_is_no_part_of_the_snapshot(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = report(capsys, saved, "--html", f"{saved}/frames.parquet")
    assert (status, out) == (2, "")
    assert "frames.parquet is a part of SNAPSHOT" in err
    assert report(capsys, saved)[0] == 0


def test_two_reports_on_one_snapshot_are_one_run(
    tmp_path: Path, saved: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "h.duckdb"
    for _ in range(2):
        assert report(capsys, saved, "--history", path)[0] == 0
    assert len(read(path)) == 1


def test_no_schedule_watches_a_figure_that_it_never_has(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--print-cron", "--no-frames", "--fail-when", "unmovable_pageblocks")
    status = run(["report", *words])
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert "'unmovable_pageblocks' takes a scan of page frames, and no run would make one" in err


def test_json_has_thresholds_and_all_owners(saved: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = report(capsys, saved, "--json", "--fail-when", CROSSED)
    told = json.loads(out)
    assert status == 1
    assert [row["crossed"] for row in told["thresholds"]] == [True]
    assert told["verdict"]["level"] == "ok"
    assert told["cost"]["seconds"] is None


def test_a_metrics_file_is_for_others_to_read(
    tmp_path: Path, saved: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "vmprobe.prom"
    assert report(capsys, saved, "--openmetrics", path)[0] == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert 'vmprobe_free_blocks{node="0",zone="DMA32",order="10"} 2000\n' in path.read_text()
    assert [each.name for each in tmp_path.iterdir()] == ["vmprobe.prom"]
    status, _, err = report(capsys, saved, "--openmetrics", tmp_path / "no" / "x.prom")
    assert (status, err.count("\n")) == (3, 2)


@pytest.mark.parametrize("option", ["--openmetrics", "--html", "--history"])
def test_an_output_that_fails_hides_no_crossed_limit(
    option: str, tmp_path: Path, saved: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    good = tmp_path / "good.prom"
    where = f"/proc/no/{option}" if option == "--history" else tmp_path / "no" / "x"
    words = (saved, option, where, *(() if option == "--openmetrics" else ("--openmetrics", good)))
    status, out, err = report(capsys, *words, "--fail-when", CROSSED)
    assert (status, out.splitlines()[0]) == (3, "critical: free_blocks[order>=9] is 5005, above 64")
    assert err.startswith(f"vmprobe: {where}: ")
    assert good.exists() == (option != "--openmetrics"), "the other files are written all the same"
    for limit, level, ends in (("--fail-when", "CRITICAL", 2), ("--warn-when", "WARNING", 1)):
        status, out, err = report(capsys, *words, limit, CROSSED, "--plugin")
        assert (status, err, out.count("\n")) == (ends, "", 1)
        assert out.startswith(f"VMPROBE {level} - ")
    status, out, err = report(capsys, *words, "--fail-when", HELD, "--plugin")
    assert (status, err, out.count("\n")) == (3, "", 1)
    assert out.startswith(f"VMPROBE UNKNOWN - {where}: ")


def test_a_threshold_that_is_refused_leaves_nothing(
    tmp_path: Path, saved: str, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = ("--history", tmp_path / "h", "--openmetrics", tmp_path / "o")
    assert report(capsys, saved, "--fail-when", "free_blocks[zone=Normal] < 1", *outputs)[0] == 2
    assert list(tmp_path.iterdir()) == []


def test_an_older_snapshot_takes_its_place_among_the_runs(
    tmp_path: Path,
    now: Callable[..., list[str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from vmprobe.analyses import page_inputs

    seen: list[Any] = []
    real = page_inputs.page_inputs
    monkeypatch.setattr(page_inputs, "page_inputs", lambda *given: seen.append(given[2]) or real(*given))
    history = tmp_path / "h"
    for minute in (1, 9):
        now(minute)
        report(capsys, "--history", history)
    now(5)
    told = json.loads(report(capsys, "--history", history, "--html", tmp_path / "page", "--json")[1])
    assert told["since"]["seconds"] == 240
    assert [kept.run.time.minute for kept in seen[0]] == [1, 5, 9]


def test_each_run_is_appended_and_compared_with_the_last(
    tmp_path: Path, now: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    from vmprobe.store.history import read

    history = tmp_path / "h.duckdb"
    now(1)
    _, first, _ = report(capsys, "--history", history, "--json")
    assert (json.loads(first)["since"], json.loads(first)["trend"]) == (None, [])
    now(4)
    _, second, _ = report(capsys, "--history", history, "--json")
    told = json.loads(second)
    assert (told["since"]["seconds"], told["since"]["rebooted"]) == (180, False)
    assert told["trend"]
    runs = read(history)
    assert len(runs) == 2
    assert len({kept.run.id for kept in runs}) == 2
    assert all(kept.run.seconds is not None and kept.samples for kept in runs)
    now(7)
    _, text, _ = report(capsys, "--history", history)
    assert "\nTrend\n" in text
    assert len(read(history)) == 3


def test_what_is_taken_now_costs_what_this_process_cost(
    now: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    now()
    cost = json.loads(report(capsys, "--json")[1])["cost"]
    assert cost["seconds"] > 0
    assert cost["cpu_seconds"] > 0
    assert cost["max_rss_bytes"] > 1 << 20
    assert cost["snapshot_seconds"] == 1.25


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), ["yielded", "whole"]),
        (("--frames",), ["yielded", "whole"]),
        (("--no-frames",), ["yielded", "cheap"]),
        (("--full-speed",), ["whole"]),
    ],
)
def test_priority_is_lowered_before_anything_is_read(
    words: tuple[str, ...],
    expected: list[str],
    now: Callable[..., list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    done = now()
    assert report(capsys, *words)[0] == 0
    assert done == expected


def test_priority_is_left_alone_for_a_saved_snapshot(
    saved: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(priority, "yield_to_others", lambda: pytest.fail("nobody is in a hurry"))
    assert report(capsys, saved)[0] == 0


def test_a_run_that_overlaps_says_so_and_leaves(
    tmp_path: Path, now: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    from vmprobe.sources.single_run import only_run

    lock, done = tmp_path / "lock", now()
    with only_run(lock):
        status, out, err = report(capsys, "--lock", lock)
        assert (status, out, err.count("\n")) == (0, "", 1)
        assert err.startswith("vmprobe: another report runs")
        status, out, err = report(capsys, "--lock", lock, "--plugin")
        assert (status, err) == (3, "")
        assert out.startswith("VMPROBE UNKNOWN - another report runs")
    assert "whole" not in done
    assert report(capsys, "--lock", lock)[0] == 0
    assert "whole" in done


def test_a_wrong_threshold_is_told_before_anything_is_read(
    now: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    done = now()
    assert report(capsys, "--fail-when", "free_blocks <")[0] == 2
    assert done == []


def test_a_schedule_has_the_command_line_again(
    now: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    done = now()
    words = ["--no-frames", "--fail-when", HELD, "--openmetrics", "/srv/m/vmprobe.prom", "--top", "3"]
    status, cron, err = report(capsys, *words, "--print-cron", "--every", 5)
    assert (status, err, done) == (0, "", [])
    (line,) = [line for line in cron.splitlines() if line.startswith("*/5 ")]
    for word in (
        "vmprobe report",
        "--no-frames",
        f"'{HELD}'",
        "--openmetrics /srv/m/vmprobe.prom",
        "--top 3",
    ):
        assert word in line
    assert "--print-cron" not in line
    assert "--every" not in line
    _, units, _ = report(capsys, *words, "--print-systemd")
    assert "0/15" in units
    assert "--openmetrics /srv/m/vmprobe.prom" in units


def test_the_program_of_a_schedule_is_the_one_in_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "vmprobe"
    program.touch()
    monkeypatch.setattr(sys, "argv", [str(program)])
    assert report_run._program() == str(program)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["vmprobe"])
    assert report_run._program() == str(program)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("SAVED", "--no-frames"), "--no-frames says how to take a snapshot"),
        (("SAVED", "--print-cron"), "takes a snapshot each time"),
        (("--print-cron", "--print-systemd"), "standard output takes one of them"),
        (("--plugin", "--json"), "standard output takes one of them"),
        (("--every", "5"), "--every is for --print-cron"),
        (("--every", "0", "--print-cron"), "--every"),
        (("SAVED", "--procfs", "/proc"), "SNAPSHOT is one already"),
    ],
)
def test_what_contradicts_itself_is_refused(
    words: tuple[str, ...], said: str, saved: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = report(capsys, *(saved if word == "SAVED" else word for word in words))
    plugin = "--plugin" in words
    assert status == (3 if plugin else 2)
    assert said in (out if plugin else err)


HEAVY = ("numba", "duckdb", "psutil", "ptrace", "kernelmodel.host", "kernelmodel.compaction")


def test_free_lists_alone_load_nothing_heavy(tmp_path: Path) -> None:
    """Of a recorded tree, so that it takes no live host."""
    from tests.recorded import tree

    root = tree("6.12-1node", tmp_path)
    code = (
        "import sys; from vmprobe.cli.main import run; status = run(sys.argv[2:]);"
        "sys.exit(status or ' '.join(m for m in sys.argv[1].split() if m in sys.modules) or 0)"
    )
    words = ["report", "--no-frames", "--full-speed", "--procfs", str(root), "--sysfs", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", code, " ".join(HEAVY), *words],
        capture_output=True, text=True, check=False, timeout=60,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")

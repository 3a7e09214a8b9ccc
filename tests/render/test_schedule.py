"""A crontab and units that say what was asked for, read back by the programs that read them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from vmprobe.errors import UsageError
from vmprobe.render.schedule import Job, cron_text, systemd_text, words

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = "/opt/vm probe/bin/vmprobe"
LIMIT = "free_blocks[order>=9] < 64"
METRICS = "/var/lib/prometheus/node-exporter/vmprobe.prom"


def job(*arguments: str, program: str = PROGRAM, every: int = 15) -> Job:
    return Job(program, arguments, every)


def line_of(text: str) -> str:
    """Return the one line of a crontab that cron runs."""
    (line,) = [line for line in text.splitlines() if re.match(r"[*0-9]", line)]
    return line


def units(text: str) -> dict[str, str]:
    """Split what is printed into its files, by their comment lines."""
    parts = re.split(r"^# /etc/systemd/system/(\S+)\n", text, flags=re.MULTILINE)
    assert parts[0] == ""
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def settings(unit: str) -> list[tuple[str, str]]:
    return [tuple(line.split("=", 1)) for line in unit.splitlines() if re.match(r"[A-Z]", line)]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("every", "cron", "calendar"),
    [
        (1, "* * * * *", "*:*"),
        (15, "*/15 * * * *", "*:0/15"),
        (60, "0 * * * *", "*:0"),
        (360, "0 */6 * * *", "0/6:0"),
        (1440, "0 0 * * *", "0:0"),
    ],
)
def test_how_often(every: int, cron: str, calendar: str) -> None:
    assert line_of(cron_text(job(every=every))).startswith(f"{cron} root {{ r=$(")
    timer = units(systemd_text(job(every=every)))["vmprobe-report.timer"]
    assert ("OnCalendar", calendar) in settings(timer)


@pytest.mark.parametrize(
    ("every", "hint"),
    [(7, "6 and 10"), (45, "30 and 60"), (90, "60 and 120"), (300, "240 and 360"), (2000, "1440")],
)
def test_a_distance_that_cron_cannot_keep_is_refused(every: int, hint: str) -> None:
    for text in (cron_text, systemd_text):
        with pytest.raises(UsageError, match=f"--every {every}: divides neither") as raised:
            text(job(every=every))
        assert raised.value.hint == f"near it: {hint}"


def test_lock_and_history_are_there_unless_asked_for_elsewhere() -> None:
    state = "/var/lib/vmprobe"
    assert words(job())[1:] == (
        "report", "--lock", f"{state}/report.lock", "--history", f"{state}/history.duckdb"
    )  # fmt: skip
    assert words(job("--history", "/h", "--lock", "/l"))[2:] == ("--history", "/h", "--lock", "/l")


@pytest.mark.parametrize("text", [cron_text, systemd_text])
def test_a_relative_path_and_a_line_end_are_refused(text: object) -> None:
    assert callable(text)
    with pytest.raises(UsageError, match=r"--html report.html: a relative path"):
        text(job("--html", "report.html"))
    with pytest.raises(UsageError, match="line ends"):
        text(job("--fail-when", "unexplained\n> 0"))


def test_what_cron_would_misread_is_refused() -> None:
    with pytest.raises(UsageError, match="backslashes"):
        cron_text(job("--html", "/a\\b"))
    with pytest.raises(UsageError, match=r"1\d\d\d bytes, and cron takes 998"):
        cron_text(job("--html", "/" + "x" * 900))


def as_cron_runs(line: str, fake: Path, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run the command of a crontab line as cron does; `fake` stands first in PATH, and has a logger."""
    command = line.split(" root ", 1)[1].replace("\\%", "%")
    environment = {"HOME": "/root", "LOGNAME": "root", "SHELL": "/bin/sh", "PATH": f"{fake}:/usr/bin:/bin"}
    return subprocess.run(
        ["/bin/sh", "-c", command], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A vmprobe that tells its words and ends as the file ``status`` says, and a logger that shows all."""
    folder = tmp_path / "b in"
    folder.mkdir()
    programs = {
        "vmprobe": 'printf "%s|" "$@"; echo; echo to stderr >&2; exit $(cat status)',
        "logger": 'echo "logger $*"; cat',
    }
    for name, code in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{code}\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.live
@pytest.mark.parametrize(("status", "told"), [(0, False), (1, True), (3, True)])
def test_cron_hears_nothing_on_stdout_while_all_is_well(
    fake: Path, tmp_path: Path, status: int, told: bool
) -> None:
    (tmp_path / "status").write_text(str(status))
    line = line_of(
        cron_text(job("--fail-when", LIMIT, "--html", "/a 50%/$HOME.html", program=str(fake / "vmprobe")))
    )
    assert "50\\%" in line
    done = as_cron_runs(line, fake, tmp_path)
    given = f"report|--fail-when|{LIMIT}|--html|/a 50%/$HOME.html|--lock|"
    assert (given in done.stdout) is told
    assert done.stdout.startswith("logger -t vmprobe-report\n")
    assert "to stderr\n" in done.stdout


def test_a_service_is_given_its_words_whole() -> None:
    text = units(systemd_text(job("--fail-when", LIMIT, "--html", '/srv/50%/"$x"/r.html')))[
        "vmprobe-report.service"
    ]
    start = dict(settings(text))["ExecStart"]
    assert '"/srv/50%%/\\"$$x\\"/r.html"' in start
    read = [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(start)]
    assert read[:6] == [PROGRAM, "report", "--fail-when", LIMIT, "--html", '/srv/50%/"$x"/r.html']


def test_a_service_may_write_only_where_its_files_are() -> None:
    found = settings(
        units(systemd_text(job("--openmetrics", METRICS, "--html", "/srv/w w/r.html")))[
            "vmprobe-report.service"
        ]
    )
    assert ("ProtectSystem", "strict") in found
    assert [value for name, value in found if name == "ReadWritePaths"] == [
        '/var/lib/prometheus/node-exporter "/srv/w w"'
    ]
    assert "ReadWritePaths" not in dict(settings(units(systemd_text(job()))["vmprobe-report.service"]))
    with pytest.raises(UsageError, match="a /tmp of its own"):
        systemd_text(job("--html", "/tmp/r.html"))


def test_folders_are_named_without_the_escapes_of_a_command() -> None:
    """Only the words of a command, after the program's path, have variables (systemd.service(5))."""
    text = systemd_text(job("--html", "/srv/$x/50%/r.html", program="/opt/$y/vmprobe"))
    found = dict(settings(units(text)["vmprobe-report.service"]))
    assert found["ReadWritePaths"] == '"/srv/$x/50%%"'
    assert found["ExecStart"].startswith('"/opt/$y/vmprobe" report --html "/srv/$$x/50%%/r.html" ')


@pytest.mark.parametrize("path", ["/report.lock", "//report.lock", "/./report.lock", "/"])
def test_a_service_may_never_write_everywhere(path: str) -> None:
    with pytest.raises(UsageError, match=f"^--lock {re.escape(path)}: .* this is /$") as raised:
        systemd_text(job("--lock", path))
    assert raised.value.hint == "name a file in /var/lib/vmprobe"


@pytest.mark.parametrize("path", ["/var/lib/vmprobe/../../../etc/x.html", "/srv/..", "/srv/../x.html"])
def test_a_path_whose_folder_is_not_plain_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match=r"not plain where \.\. leads") as raised:
        systemd_text(job("--html", path))
    assert raised.value.hint == "write the path without .."
    systemd_text(job("--procfs", "/srv/../proc"))


def test_a_report_without_frames_needs_less() -> None:
    full, cheap = (
        dict(settings(units(systemd_text(job(*more)))["vmprobe-report.service"]))
        for more in ((), ("--no-frames",))
    )
    assert full["CapabilityBoundingSet"] == "CAP_SYS_ADMIN CAP_SYS_PTRACE CAP_DAC_READ_SEARCH"
    assert cheap["CapabilityBoundingSet"] == ""
    assert (full["MemoryDenyWriteExecute"], cheap["MemoryDenyWriteExecute"]) == ("no", "yes")
    assert "NUMBA_CACHE_DIR" not in cheap.get("Environment", "")


def test_low_priority_unless_full_speed_is_asked_for() -> None:
    low, full = (
        dict(settings(units(systemd_text(job(*more)))["vmprobe-report.service"]))
        for more in ((), ("--full-speed",))
    )
    assert (low["Nice"], low["IOSchedulingClass"]) == ("19", "idle")
    assert not {"Nice", "IOSchedulingClass", "CPUWeight"} & full.keys()


@pytest.fixture
def analyze(tmp_path: Path) -> str:
    """The path of systemd-analyze, which needs no running systemd for files."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is missing (Debian package systemd)")
    return program


UNITS = [(), ("--no-frames",), ("--fail-when", LIMIT, "--html", "/srv/50%/$x y/r.html", "--full-speed")]


@pytest.mark.live
@pytest.mark.parametrize("arguments", UNITS, ids=["full", "cheap", "quoted"])
def test_systemd_reads_the_units_without_a_complaint(
    analyze: str, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    for name, text in units(systemd_text(job(*arguments, program="/bin/true"))).items():
        (tmp_path / name).write_text(text)
    command = [analyze, "verify", "--man=no", *sorted(map(str, tmp_path.glob("vmprobe-report.*")))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
    with (tmp_path / "vmprobe-report.service").open("a") as file:
        file.write("[Service]\nProtectSystm=strict\n")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "ProtectSystm" in done.stderr, "a fault that was planted is seen"


@pytest.mark.live
@pytest.mark.parametrize(("arguments", "most"), [((), 2.0), (("--no-frames",), 1.3)], ids=["full", "cheap"])
def test_systemd_calls_the_service_well_closed_up(
    analyze: str, tmp_path: Path, arguments: tuple[str, ...], most: float
) -> None:
    path = tmp_path / "vmprobe-report.service"
    path.write_text(units(systemd_text(job(*arguments, program="/bin/true")))[path.name])
    command = [analyze, "security", "--offline=true", "--no-pager", str(path)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C.UTF-8"}
    )
    found = re.search(r"Overall exposure level for .*: ([0-9.]+)", done.stdout)
    if found is None:
        pytest.skip(f"this systemd-analyze cannot look at a file: {done.stderr.strip()}")
    assert float(found[1]) <= most


@pytest.mark.live
@pytest.mark.parametrize("every", [1, 15, 60, 360, 1440])
def test_systemd_reads_the_calendar_as_meant(analyze: str, every: int) -> None:
    timer = units(systemd_text(job(every=every)))["vmprobe-report.timer"]
    command = [analyze, "calendar", "--iterations=3", dict(settings(timer))["OnCalendar"]]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "TZ": "UTC"}
    )
    times = [
        60 * int(h) + int(m)
        for h, m in re.findall(r"(?:Next elapse|Iter. #\d|Iteration #\d): .* (\d+):(\d+):00", done.stdout)
    ]
    assert len(times) == 3, done.stdout
    assert {(b - a) % 1440 for a, b in pairwise(times)} == {every % 1440}

"""The report as cron runs it: the printed crontab, what it leaves behind, and whether that is whole."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vmprobe.render.schedule import Job, cron_text
from vmprobe.store import history

if TYPE_CHECKING:
    from datetime import datetime

ENVIRONMENT: Final = {"HOME": "/root", "LOGNAME": "root", "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin"}
"""What cron gives a job (crontab(5))."""


@dataclass(frozen=True)
class CronJob:
    """A report every minute whose files are all in one folder; ``logger`` there keeps what syslog would get.

    Parameters
    ----------
    folder
        Where.
    arguments
        Of the report, besides its files.
    """

    folder: Path
    arguments: tuple[str, ...] = ("--no-frames",)

    def __post_init__(self) -> None:
        self.bin.mkdir()
        self.metrics.parent.mkdir()
        logger = self.bin / "logger"
        logger.write_text(f"#!/bin/sh\ncat >> '{self.log}'\n")
        logger.chmod(0o755)

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    @property
    def log(self) -> Path:
        return self.folder / "syslog"

    @property
    def metrics(self) -> Path:
        return self.folder / "textfile" / "vmprobe.prom"

    @property
    def html(self) -> Path:
        return self.folder / "report.html"

    @property
    def history(self) -> Path:
        return self.folder / "history.duckdb"

    @property
    def lock(self) -> Path:
        return self.folder / "report.lock"

    def crontab(self) -> str:
        """Return what ``vmprobe report --print-cron`` prints for it."""
        files = {
            "--history": self.history, "--openmetrics": self.metrics, "--html": self.html, "--lock": self.lock
        }  # fmt: skip
        arguments = (*self.arguments, *(word for pair in files.items() for word in map(str, pair)))
        return cron_text(Job(str(Path(sys.executable).with_name("vmprobe")), arguments, 1))

    def command(self) -> str:
        """Return what cron gives to the shell."""
        (line,) = [line for line in self.crontab().splitlines() if line.startswith("* * * * * root ")]
        return line.removeprefix("* * * * * root ").replace("\\%", "%")

    def start(self) -> subprocess.Popen[bytes]:
        """Run it once as cron does, but with our ``logger``."""
        environment = {**ENVIRONMENT, "PATH": f"{self.bin}:{ENVIRONMENT['PATH']}"}
        return subprocess.Popen(
            ["/bin/sh", "-c", self.command()], env=environment, cwd="/", stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def run(self) -> str:
        """Run it once and return what cron would mail."""
        with self.start() as process:
            said, _ = process.communicate(timeout=120)
        return said.decode()

    def times(self) -> list[datetime]:
        """Return when the runs in the history were."""
        return [kept.run.time for kept in history.read(self.history)]

    def faults(self) -> list[str]:
        """Return what is not whole, of textfile and page."""
        found = []
        metrics = self.metrics.read_text()
        if not metrics.endswith("# EOF\n"):
            found.append("the metrics file has no end")
        if not re.search(r"^vmprobe_free_blocks\{.*\} \d+$", metrics, re.MULTILINE):
            found.append("the metrics file has no free blocks")
        promtool = shutil.which("promtool")
        if promtool is not None:
            done = subprocess.run(
                [promtool, "check", "metrics"], input=metrics, capture_output=True, text=True, check=False
            )
            if done.returncode:
                found.append(f"promtool: {done.stdout}{done.stderr}")
        html = self.html.read_text().lower()
        if not (html.lstrip().startswith("<!doctype html>") and html.rstrip().endswith("</html>")):
            found.append("the page is cut off")
        known = {self.metrics, self.html, self.history, self.lock, self.log, self.bin / "logger"}
        names = {path.name for path in known} | {f"{self.history.name}.lock"}
        left = {path.name for path in self.folder.rglob("*") if path.is_file()} - names
        if left:
            found.append(f"left behind: {sorted(left)}")
        return found

"""A real cron daemon that runs the printed crontab every minute, apart from the host's own jobs.

Usage, as root: ``python -m tests.live.cron_for_real [--minutes N] [--frames] [--keep DIR]``

The daemon lives in a mount namespace of its own, in which /etc/cron.d holds our file alone, the spool and
/etc/crontab are empty, and ``logger`` writes into a file. At the end what the runs left is checked.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.live.cron_job import CronJob

INSIDE = """
set -e
for place in /etc/cron.d /var/spool/cron /run; do mount -t tmpfs tmpfs "$place"; done
mount --bind /dev/null /etc/crontab
mount --bind "$1/bin/logger" "$(command -v logger)"
mkdir /var/spool/cron/crontabs
cp "$1/vmprobe-report" /etc/cron.d/
exec cron -f
"""


def run(job: CronJob, minutes: int) -> None:
    """Let a cron daemon run the job for so many full minutes, and for what the last run takes."""
    (job.folder / "vmprobe-report").write_text(job.crontab())
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", INSIDE, "sh", str(job.folder)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as cron:
        try:
            end = (time.time() // 60 + minutes) * 60 + 50
            while time.time() < end:
                time.sleep(1)
                if cron.poll() is not None:
                    sys.exit(f"cron ended with {cron.returncode}")
        finally:
            cron.send_signal(signal.SIGTERM)
    (job.folder / "vmprobe-report").unlink()


def tell(job: CronJob) -> tuple[str, bool]:
    """Return what the runs left, and whether there are five and all of it is whole."""
    times, faults = job.times(), job.faults()
    files = [(path.name, path.stat()) for path in (job.history, job.metrics, job.html)]
    lines = [
        f"runs in the history: {len(times)}",
        *(f"  {taken.isoformat(timespec='milliseconds')}" for taken in times),
        *(f"{name}: {stat.st_size:,} bytes, mode {stat.st_mode & 0o7777:o}" for name, stat in files),
        f"syslog: {job.log.read_text() if job.log.exists() else ''!r}",
        *(faults or ["history, metrics file and page are whole"]),
    ]
    return "\n".join(lines), not faults and len(times) >= 5


def main() -> None:
    """Run, tell, and end with 0 when at least five runs are there and nothing is torn."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=int, default=6, help="how long; a run a minute")
    parser.add_argument("--frames", action="store_true", help="full reports, with the scan of page frames")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="a new folder in which everything stays")
    options = parser.parse_args()
    if os.geteuid() or not shutil.which("cron", path=f"{os.environ['PATH']}:/usr/sbin"):
        sys.exit("needs root, and cron (Debian package cron)")
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    with tempfile.TemporaryDirectory(prefix="vmprobe-cron-") as temporary:
        folder = options.keep or Path(temporary) / "job"
        folder.mkdir()
        job = CronJob(folder, ("--frames" if options.frames else "--no-frames",))
        run(job, options.minutes)
        told, whole = tell(job)
    sys.stdout.write(f"{told}\n")
    sys.exit(not whole)


if __name__ == "__main__":
    main()

"""A real systemd that runs the printed service and timer, in namespaces of its own.

Usage, as root: ``python -m tests.live.systemd_for_real [--minutes N] [--no-frames]``

It needs no systemd on the host but its program. Processes, mounts, System V IPC, host name and cgroups are
its own; of the host's files it sees a copy that is thrown away, and only ``/out`` is kept: what each run
printed, how it ended, and what the service had for itself. System V segments and processes that a report
tells of are those of the namespace: this is a trial of the hardening, not of the figures.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

SYSTEMD: Final = Path("/lib/systemd/systemd")
FILES: Final = (
    "--openmetrics", "/var/lib/prometheus/node-exporter/vmprobe.prom",
    "--html", "/var/lib/vmprobe/report.html",
)  # fmt: skip
CGROUP: Final = "vmprobe-systemd-trial"

INSIDE: Final = """
set -e
root="$1/root"
mount -t tmpfs tmpfs "$1"
mkdir "$1/changed" "$1/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/changed,workdir=$1/work" "$root"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount --rbind -o ro /sys "$root/sys"
umount -R "$root/sys/fs/cgroup"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount --bind /dev "$root/dev"
for place in /run /tmp; do mount -t tmpfs tmpfs "$root$place"; done
mkdir -p "$root/run/systemd/system" "$root/out" "$root/var/lib/prometheus/node-exporter"
mount --bind "$2" "$root/out"
cp -r "$root/out/units/." "$root/run/systemd/system/"
cd "$root"
exec chroot . env -i container=trial PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    "$3" --system --unit=trial.target --log-target=console --show-status=no
"""

TARGET: Final = "[Unit]\nWants=vmprobe-report.timer\n"
DROP_IN: Final = """\
[Service]
StandardOutput=append:/out/stdout
StandardError=append:/out/stderr
ExecStartPre=/bin/sh -c 'grep -E "^(CapBnd|NoNewPrivs|Seccomp):" /proc/self/status'
ExecStartPre=/bin/sh -c '! touch /etc/x && ! touch /usr/x && ! touch /root/x'
ExecStopPost=+/bin/sh -c 'echo "$$SERVICE_RESULT $$EXIT_STATUS" >> /out/results; cp -a /var/lib/vmprobe /out/'
"""


def units(arguments: list[str], folder: Path) -> None:
    """Write what ``--print-systemd`` prints into its files, with what this trial adds."""
    program = Path(sys.executable).with_name("vmprobe")
    command = [program, "report", *arguments, *FILES, "--every", "1", "--print-systemd"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    parts = re.split(r"^# /etc/systemd/system/(\S+)\n", text, flags=re.MULTILINE)[1:]
    drop_ins = folder / "vmprobe-report.service.d"
    drop_ins.mkdir(parents=True)
    for name, unit in zip(parts[::2], parts[1::2], strict=True):
        (folder / name).write_text(unit)
    (folder / "trial.target").write_text(TARGET)
    (drop_ins / "trial.conf").write_text(DROP_IN)


def cgroup_root() -> Path:
    """Return where cgroup2 is mounted."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[fields.index("-") + 1] == "cgroup2":
            return Path(fields[4])
    sys.exit("no cgroup2 is mounted here")


def run(out: Path, minutes: int) -> None:
    """Let a systemd run for so many full minutes, and for what the last run takes."""
    group = cgroup_root() / CGROUP
    group.mkdir()
    command = [
        "unshare", "--mount", "--pid", "--ipc", "--uts", "--cgroup", "--fork", "--kill-child",
        "--propagation", "private", "sh", "-c", INSIDE, "sh",
        str(out.with_name("scratch")), str(out), str(SYSTEMD),
    ]  # fmt: skip
    enter = ["sh", "-c", f"echo $$ > '{group}/cgroup.procs'; exec \"$@\"", "sh"]
    with (
        (out / "log").open("wb") as log,
        subprocess.Popen([*enter, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log) as systemd,
    ):
        try:
            end = (time.time() // 60 + minutes) * 60 + 50
            while time.time() < end and systemd.poll() is None:
                time.sleep(1)
        finally:
            systemd.kill()
    for _ in range(50):  # until the last process of the namespace is gone
        if not any(path.read_text() for path in group.rglob("cgroup.procs")):
            break
        time.sleep(0.1)
    for folder in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
        folder.rmdir()
    group.rmdir()


def main() -> None:
    """Run, and print what came of it; end with 0 when every run ended well and there was one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=int, default=2, help="how long; a run a minute")
    parser.add_argument("--no-frames", action="store_true", help="the service that has no capability")
    options = parser.parse_args()
    if os.geteuid() or not SYSTEMD.exists() or not shutil.which("unshare"):
        sys.exit("needs root, systemd's program and unshare")
    with tempfile.TemporaryDirectory(prefix="vmprobe-systemd-") as temporary:
        out = Path(temporary) / "out"
        (Path(temporary) / "scratch").mkdir()
        out.mkdir()
        units(["--no-frames"] if options.no_frames else [], out / "units")
        run(out, options.minutes)
        results = (out / "results").read_text().splitlines() if (out / "results").exists() else []
        for name in ("log", "stderr", "stdout"):
            if (out / name).exists():
                sys.stdout.write(f"--- {name} ---\n{(out / name).read_text()}")
        kept = sorted(f"{path.name}, {path.stat().st_size:,} bytes" for path in (out / "vmprobe").glob("*"))
        sys.stdout.write("\n".join(["--- results ---", *results, "--- kept ---", *kept, ""]))
    sys.exit(not results or set(results) != {"success 0"})


if __name__ == "__main__":
    main()

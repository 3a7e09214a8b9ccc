"""``python3 -S -P -m tests.live.workloads.hold NAME ...``: make workloads, say what they are, hold them.

All end when stdin is closed, or when the parent ends. It is started without the kernel's restartable
sequences, whose area a process cannot unmap and live.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lab.errors import LabError, UnavailableError
from lab.workloads.memory import SET_PDEATHSIG, prctl
from tests.live.workloads.catalogue import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TREE: Final = Path(__file__).resolve().parents[3]
END_SECONDS: Final = 30.0


@contextmanager
def held(names: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    """Hold workloads and their controls in processes of their own.

    Yields
    ------
    list of dict
        For each workload, then for its control if it has one: ``name``, ``control``, and what it made
        (`Made`), or ``skipped`` or ``failed`` with the reason.
    """
    holder = subprocess.Popen(
        [sys.executable, "-S", "-P", "-m", "tests.live.workloads.hold", *names],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={
            "PYTHONPATH": str(TREE),
            "GLIBC_TUNABLES": "glibc.pthread.rseq=0",
            **{key: os.environ[key] for key in ("LAB_SCRATCH", "TMPDIR") if key in os.environ},
        },
        text=True,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        nr_lines = sum(len(WORKLOADS[name].calls) for name in names)
        lines = [holder.stdout.readline() for _ in range(nr_lines)]
        if not all(lines):
            raise LabError("the workloads ended before all were made")
        yield [json.loads(line) for line in lines]
    finally:
        holder.stdin.close()
        try:
            holder.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            holder.kill()
            holder.wait()
        holder.stdout.close()


def main(names: Sequence[str]) -> int:
    """Hold them until stdin is closed."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    prctl(SET_PDEATHSIG, signal.SIGTERM)  # not SIGKILL: there are settings to give back
    with ExitStack() as stack:
        for name in names:
            workload = WORKLOADS[name]
            for arguments in workload.calls:
                said: dict[str, Any] = {"name": name, "control": arguments == (True,)}
                try:
                    said |= stack.enter_context(workload.make(*arguments)).as_json()
                except UnavailableError as error:
                    said["skipped"] = str(error)
                except (LabError, OSError) as error:
                    said["failed"] = f"{type(error).__name__}: {error}"
                sys.stdout.write(json.dumps(said) + "\n")
                sys.stdout.flush()
        while os.read(0, 1):
            pass
    return 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))

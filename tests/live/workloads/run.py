"""Hold workloads, photograph the host, ask about each, and judge."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.live.workloads import judge, witness
from tests.live.workloads.catalogue import NOT_MADE, WORKLOADS
from tests.live.workloads.hold import held
from tests.live.workloads.made import Scope
from tests.live.workloads.report import named_at, photograph, reported

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.live.workloads.judge import Row
    from tests.live.workloads.report import Document

NR_TRIES: Final = 3


@dataclass
class Photographs:
    """The snapshots of one run: of the host before, with workloads, and through other mounts of proc."""

    folder: Path
    before: Document | None = None

    def during(self, name: str) -> Path:
        """Return the host with a workload and all that are held with it."""
        return self.folder / f"{name if WORKLOADS[name].alone else 'together'}.vmsnap"

    def inside(self, name: str) -> Path:
        """Return what a workload shows through its own proc."""
        return self.folder / f"{name}-inside.vmsnap"


def judged(names: Sequence[str]) -> list[Row]:
    """Hold these workloads, or all when none is named, and return a row for each.

    Raises
    ------
    ReportError
        A command of vmprobe failed.
    LabError
        The workloads ended before all were made.
    """
    chosen = [name for name in WORKLOADS if name in names or not names]
    with tempfile.TemporaryDirectory(prefix="vmprobe-sharing-") as folder:
        photographs = Photographs(Path(folder))
        if any(WORKLOADS[name].scope is Scope.HOST for name in chosen):
            before = photographs.folder / "before.vmsnap"
            photograph(before)
            photographs.before = reported(before)
        made: dict[str, list[dict[str, Any]]] = {name: [] for name in chosen}
        together = [name for name in chosen if not WORKLOADS[name].alone]
        alone = [[name] for name in chosen if WORKLOADS[name].alone]
        for group in ([together] if together else []) + alone:
            for each in _held(group, photographs):
                made[each["name"]].append(each)
        rows = [_row(name, made[name], photographs) for name in chosen]
    if not names:
        rows += [
            judge.Row("-", mechanism, verdict=judge.SKIPPED, reason=reason)
            for mechanism, reason in NOT_MADE.items()
        ]
    return rows


def _held(names: Sequence[str], photographs: Photographs) -> list[dict[str, Any]]:
    """Hold workloads and photograph them, again when the kernel was faster; return what they said."""
    for _ in range(NR_TRIES):
        with _on_one_cpu(), held(names) as said:
            _photograph(said, photographs)
        if not any(each.get("fleeting") and "skipped" in each for each in said):
            break
    return said


def _photograph(said: list[dict[str, Any]], photographs: Photographs) -> None:
    """Photograph what is held, and mark what the kernel undid before it could be read."""
    for path in {photographs.during(each["name"]) for each in said}:
        photograph(path)
    for each in said:
        alive = witness.alive_unmapped(each.get("fleeting", []))
        if not all(alive):
            each["skipped"] = f"the kernel had freed {alive.count(False)} pages when they were read"
        if each.get("procfs"):
            photograph(photographs.inside(each["name"]), each["procfs"])


@contextmanager
def _on_one_cpu() -> Iterator[None]:
    """Leave the other CPUs alone, whose batches hold pages of a workload."""
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cpus)


def _row(name: str, said: list[dict[str, Any]], photographs: Photographs) -> Row:
    """Ask about one workload and judge the answer."""
    workload = WORKLOADS[name]
    row = judge.Row(name, workload.mechanism)
    for verdict in (judge.FAILED, judge.SKIPPED):
        reason = next((each[verdict] for each in said if verdict in each), None)
        if reason is not None:
            return replace(row, verdict=verdict, reason=reason)
    made = said[0]
    if workload.scope is Scope.HOST:
        assert photographs.before is not None
        if made["frames"]:
            named, moved = named_at(photographs.during(name), made["frames"], workload.mechanism)
            kinds = judge.evidence(reported(photographs.during(name)), workload.mechanism)
            return judge.of_frames(row, made["expected"], named, moved, kinds)
        return judge.of_host(row, made["expected"], photographs.before, reported(photographs.during(name)))
    if made["procfs"]:
        asked = {made["ask"]: reported(photographs.inside(name), made["ask"])}
    else:
        asked = {pid: reported(photographs.during(name), pid) for pid in made["pids"]}
    control = {pid: reported(photographs.during(name), pid) for pid in said[1]["pids"][:1]}
    if workload.scope is Scope.ACCOUNTS:
        return judge.of_accounts(row, made["expected"], asked, (said[1]["expected"], control))
    return judge.of_processes(row, made["expected"], list(asked.values()), next(iter(control.values())))

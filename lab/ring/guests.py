"""The guests of the ring: each kernel in each shape, with the workloads that are held in it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from lab import guest, quiet
from lab.errors import LabError
from lab.kernels import KERNELS
from lab.ring.visit import Visit, open_visit
from lab.shapes import Shape

if TYPE_CHECKING:
    from pathlib import Path

MIB: Final = 1 << 20
TIME_LIMIT_SECONDS: Final = 420


@dataclass(frozen=True)
class Guest:
    """One column of the ring's table.

    Parameters
    ----------
    name
        Unique among the guests of one kernel.
    shape
        What to boot.
    workloads
        Specs of `lab.workloads.hold`.
    record
        Also record its /proc, to be replayed here.
    """

    name: str
    shape: Shape
    workloads: tuple[str, ...]
    record: bool = False

    @property
    def id(self) -> str:
        """Kernel and name."""
        return f"{self.shape.kernel} {self.name}"


def _guests(kernel: str) -> tuple[Guest, ...]:
    # One CPU where one will do: an emulated second one more than doubles the time of two guests side by side.
    holes = "holes pages=8192 pattern=random keep=0.5"
    forks = "forks children=3 pages=2048 share=0.5"
    return (
        Guest(
            "one node",
            Shape(kernel, 1024 * MIB, cpus=1),
            (
                holes,
                "holes pages=8192 pattern=clustered keep=0.5 cluster=24",
                forks,
                f"pagecache bytes={8 * MIB} files=4",
                f"pipes bytes={4 * MIB}",
                "slab objects=4000 keep=0.5",
            ),
            record=True,
        ),
        # A page goes to the node that last touched it; told to stop later, the kernel still moves those whose
        # entries it has made inaccessible by then (mm/memory.c: do_numa_page).
        Guest(
            "two nodes", Shape(kernel, 3072 * MIB, nodes=2, append="numa_balancing=disable"), (holes, forks)
        ),
        Guest(
            "swap",
            Shape(kernel, 768 * MIB, cpus=1, swap=(("zram", 16 * MIB), ("file", 32 * MIB))),
            ("swapped pages=3000", "swapped pages=3000", forks),
        ),
        Guest(
            "huge pages",
            Shape(kernel, 1024 * MIB, cpus=1, hugepages=32),
            (f"huge bytes={32 * MIB} kind=thp", f"huge bytes={16 * MIB} kind=hugetlb", holes),
        ),
        Guest("ksm", Shape(kernel, 768 * MIB, cpus=1, ksm=True), ("ksm pages=512 copies=3", forks)),
        Guest("cma", Shape(kernel, 768 * MIB, cma_bytes=64 * MIB), (holes,)),
        Guest("page owner", Shape(kernel, 768 * MIB, page_owner=True), (holes,)),
    )


GUESTS: Final = tuple(made for kernel in KERNELS for made in _guests(kernel))
"""Every column."""


def boot(wanted: Guest, folder: Path) -> tuple[guest.Outcome, Visit]:
    """Boot a guest, let it collect, and open what it brought back.

    Raises
    ------
    UnavailableError
        It cannot run here.
    LabError
        It ended early, or never became quiet.
    """
    commands = {"snapshot": ["vmprobe", "snapshot", "-o", "cli.vmsnap"]}
    if wanted.record:
        commands["record"] = ["python3", "-m", "lab", "record", "/tmp/recorded"]
        # One large file: a folder of hundreds takes its time through 9p.
        commands["pack"] = ["tar", "-C", "/tmp", "-cf", "recorded.tar", "recorded"]
    plan = {
        "workloads": wanted.workloads,
        "seed": 1998,
        "commands": commands,
        "swap_pages": max((size for _, size in wanted.shape.swap), default=0) >> 12,
        "nodes": wanted.shape.nodes if wanted.shape.nodes > 1 else 0,
    }
    folder.mkdir()
    (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    words = ["env", *quiet.MALLOC, "python3", "-m", "lab.ring.inside"]
    outcome = guest.run(wanted.shape, words, folder, time_limit_seconds=TIME_LIMIT_SECONDS)
    if outcome.status:
        told = outcome.stderr.strip().splitlines() or ["no message"]
        raise LabError(f"{wanted.id}: status {outcome.status}: {told[-1]}")
    return outcome, open_visit(wanted.shape, folder)

"""``python -m lab fixtures``: the committed snapshots, made again in guests.

Each is one boot of one kernel in one shape, with workloads that say what they made; the folder is checked for
names of this machine and for its size before it replaces the old one.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab import guest, quiet
from lab.errors import LabError
from lab.kernels import KERNELS
from lab.shapes import Shape
from vmprobe.store import load

FOLDER: Final = guest.TREE / "fixtures" / "snapshots"
MAX_BYTES: Final = 1_000_000
SEED: Final = 1998
MIB: Final = 1 << 20

NEUTRAL: Final = re.compile(
    r"|\[.*\]|/(usr/(bin|lib|lib64|sbin|share)|run/(vmprobe|scratch|lab)|tmp/vmprobe-lab-[^/]*|memfd:"
    r"|dev/(zero|shm|zram[0-9]+)|SYSV|anon_hugepage|proc|sys)\b.*"
)
"""Names that any Debian has, or that the lab gave."""


@dataclass(frozen=True)
class Fixture:
    """One committed snapshot.

    Parameters
    ----------
    name
        Of the folder, after the kernel series.
    shape
        Of the guest, but for its kernel.
    workloads
        Specs of `lab.workloads.hold`.
    about
        What it has that the others lack.
    compacts
        Memory is compacted after the snapshot, and the truth has what the kernel did.
    """

    name: str
    shape: Shape
    workloads: tuple[str, ...]
    about: str
    compacts: bool = False


SHARED: Final = "forks children=6 pages=1024 share=0.6"

FIXTURES: Final = (
    Fixture("quiet", Shape(memory_bytes=512 * MIB), (), "nothing but the photographer"),
    Fixture(
        "fragmented",
        Shape(memory_bytes=512 * MIB, disk_bytes=64 * MIB),
        (
            "holes pages=24576 pattern=random keep=0.5",
            "holes pages=24576 pattern=clustered keep=0.5 cluster=40",
            f"pagecache bytes={16 * MIB} files=16 folder=/run/scratch",
            "slab objects=12000 keep=0.3",
            f"pipes bytes={4 * MIB}",
            "pinned pages=256",
        ),
        "holes random and clustered, page cache, slab with holes, pipes, long-term pins",
    ),
    Fixture(
        "shared",
        Shape(memory_bytes=512 * MIB, disk_bytes=64 * MIB),
        (
            SHARED,
            "forks children=3 pages=512 share=0.25",
            f"pagecache bytes={4 * MIB} files=4 folder=/run/scratch",
        ),
        "forks that share by copy on write, shared memory, mapped files",
    ),
    Fixture(
        "swapping",
        Shape(memory_bytes=512 * MIB, swap=(("zram", 16 * MIB), ("file", 32 * MIB))),
        ("swapped pages=3000", "swapped pages=3000", SHARED),
        "two swap areas, the second a file; each swapped page bears its virtual page number",
    ),
    Fixture(
        "two-nodes",
        Shape(memory_bytes=4096 * MIB, nodes=2),
        ("holes pages=8192 pattern=random keep=0.5", SHARED),
        "two NUMA nodes, a Normal zone, the hole below 4 GiB",
    ),
    Fixture(
        "huge-pages",
        Shape(memory_bytes=768 * MIB, hugepages=32),
        (f"huge bytes={32 * MIB} kind=thp", f"huge bytes={16 * MIB} kind=hugetlb", SHARED),
        "transparent huge pages, a pool of huge pages in part used",
    ),
    Fixture(
        "compacting",
        Shape(memory_bytes=2048 * MIB),
        (
            SHARED,
            "holes pages=163840 pattern=random keep=0.5",
            "holes pages=98304 pattern=clustered keep=0.6 cluster=32",
        ),
        "holes that compaction can close, per-CPU lists of almost no pages, and what compact_memory then did",
        compacts=True,
    ),
)
"""Shapes that every kernel is photographed in."""


def make(series: str, fixture: Fixture, target: Path) -> str:
    """Make one snapshot, check it, and put it in its place.

    Returns
    -------
    str
        Kernel release and size, for people.

    Raises
    ------
    UnavailableError
        The guest cannot run here.
    LabError
        The guest failed, or what it left must not be committed.
    """
    command = ["env", *quiet.MALLOC, "python3", "-m", "lab.photograph", "/run/out/made.vmsnap"]
    command += ["/run/out/told.json"] if fixture.compacts else []
    words = ["python3", "-m", "lab", "hold", *fixture.workloads, "--seed", str(SEED)]
    words += ["--truth", "/run/out/truth.json", "--", *command]
    if not fixture.workloads:
        words = command
    shape = Shape(**{**vars(fixture.shape), "kernel": series})
    with tempfile.TemporaryDirectory(prefix="vmprobe-lab-") as folder:
        out = Path(folder) / "out"
        outcome = guest.run(shape, words, out, nameless=True)
        if outcome.status:
            raise LabError(f"{target.name}: status {outcome.status}: {outcome.stderr.strip()}")
        made = out / "made.vmsnap"
        size = checked(made)
        truth = json.loads((out / "truth.json").read_text(encoding="utf-8")) if fixture.workloads else []
        if fixture.compacts:
            # Where each of a hundred thousand holes was is in the snapshot too.
            truth = [{key: row[key] for key in row if key != "areas"} for row in truth]
            truth.append(json.loads((out / "told.json").read_text(encoding="utf-8")))
        (made.parent / "truth.json").write_text(_compact(truth), encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(made, target)
        shutil.copy(out / "truth.json", target.with_suffix(".truth.json"))
    return f"{outcome.kernel.release}, {size:,} bytes"


HEAD: Final = """# Committed snapshots

Made by `python -m lab fixtures` (this page too): one boot of a stock Debian kernel for each, with 2 CPUs; the
stillest of some snapshots with `--smaps`, taken as root while the workloads of `lab/workloads` hold still.
`NAME.truth.json` is what the workloads said that they had made. They open with every offline verb, without
privileges: `vmprobe show fixtures/snapshots/6.12-shared.vmsnap`.

Never edited by hand. Format 1.0 stays readable for ever (`tests/store/test_fixtures.py`): before they are
made again in a later format, these move to a folder of their own and stay.

To make one again: `python -m lab fixtures 6.12-shared` (root, or the packages that it names).

| snapshot | kernel | guest | frames | bytes | what it has |
|---|---|---|---|---|---|
"""


def readme(folder: Path) -> str:
    """Return the page about the snapshots in `folder`."""
    rows, made_of = [], []
    for fixture in FIXTURES:
        shape = fixture.shape
        guest_words = [f"{shape.memory_bytes // MIB} MiB"]
        guest_words += [f"{shape.nodes} nodes"] if shape.nodes > 1 else []
        guest_words += [f"{kind} swap {size // MIB} MiB" for kind, size in shape.swap]
        guest_words += [f"hugepages={shape.hugepages}"] if shape.hugepages else []
        for series in KERNELS:
            path = folder / f"{series}-{fixture.name}.vmsnap"
            if not path.exists():
                continue
            snapshot = load(path)
            size = sum(file.stat().st_size for file in path.iterdir())
            cells = [
                f"`{path.stem}`",
                snapshot.manifest["host"]["release"],
                ", ".join(guest_words),
                f"{len(snapshot.table('frames', ('unstable',))):,}",
                f"{size:,}",
                fixture.about,
            ]
            rows.append(f"| {' | '.join(cells)} |\n")
        specs = "; ".join(f"`{spec}`" for spec in fixture.workloads) or "none"
        made_of.append(f"- **{fixture.name}**: {specs}\n")
    return f"{HEAD}{''.join(rows)}\nWorkloads, seeds counted from {SEED}:\n\n{''.join(made_of)}"


def _compact(truth: object) -> str:
    """Return JSON with one line for each workload."""
    rows = [json.dumps(row, sort_keys=True) for row in truth] if isinstance(truth, list) else []
    return "[\n" + ",\n".join(rows) + "\n]\n"


def checked(path: Path) -> int:
    """Return the size of a snapshot that may be committed.

    Raises
    ------
    LabError
        It is too large, or names something of this machine.
    """
    size = sum(file.stat().st_size for file in path.iterdir())
    if size > MAX_BYTES:
        raise LabError(f"{path.name}: {size:,} bytes are more than {MAX_BYTES:,}")
    snapshot = load(path)
    named = {("vmas.name", name) for (name,) in snapshot.table("vmas").rows("name")}
    named |= {("swap_areas.path", name) for (name,) in snapshot.table("swap_areas").rows("path")}
    strange = sorted(f"{place} {name}" for place, name in named if name and not NEUTRAL.fullmatch(name))
    manifest = json.dumps(dict(snapshot.manifest))
    home = str(guest.TREE.parent)
    if home in manifest:
        strange.append(f"manifest: {home}")
    if strange:
        raise LabError(
            f"{path.name}: must not be committed, for it names {strange[0]} ({len(strange)} in all)"
        )
    return size


def main(argv: list[str]) -> int:
    """Make some or all of the committed snapshots.

    Raises
    ------
    LabError
        One could not be made; those before it are in place.
    """
    parser = argparse.ArgumentParser("lab fixtures", description="Make fixtures/snapshots again, in guests.")
    names = [f"{series}-{fixture.name}" for series in KERNELS for fixture in FIXTURES]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}; default all")
    parser.add_argument(
        "--folder", type=Path, default=FOLDER, help="where they go, default fixtures/snapshots"
    )
    options = parser.parse_args(argv)
    if unknown := sorted(set(options.names) - set(names)):
        parser.error(f"no fixture is called {unknown[0]}")
    options.folder.mkdir(parents=True, exist_ok=True)
    for series in KERNELS:
        for fixture in FIXTURES:
            name = f"{series}-{fixture.name}"
            if not options.names or name in options.names:
                told = make(series, fixture, options.folder / f"{name}.vmsnap")
                sys.stdout.write(f"{name}: {told}\n")
                sys.stdout.flush()
    (options.folder / "README.md").write_text(readme(options.folder), encoding="utf-8")
    return 0

"""How far off forecasts of ``compact_memory`` are: layouts made, forecast, compacted, scored.

Run as root: ``python benchmarks/acceptance_compaction.py --seeds 101,102 --output FILE`` compacts this host
once for each seed and shape, and prints a row for each and what they come to together. With ``--guest 6.12``
all of it happens in a guest of the lab. ``--save DIR`` keeps the pictures, and ``--replay DIR`` scores the
forecasts of today's model against them. Forecasts know of the workload what vmprobe finds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from lab import guest  # noqa: E402 - the lab is no part of the package
from lab.errors import LabError  # noqa: E402
from lab.quiet import SMALLEST_LISTS, drain, settle  # noqa: E402
from lab.shapes import Shape  # noqa: E402
from lab.workloads import hold  # noqa: E402
from vmprobe.analyses.verify import Happened, Verification, verify  # noqa: E402
from vmprobe.cli.compact_verify import photograph  # noqa: E402
from vmprobe.errors import VmprobeError  # noqa: E402
from vmprobe.render.jsontext import to_plain  # noqa: E402
from vmprobe.store import load, write  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmprobe.cli.compact_verify import Seen

PAGES_PER_GIB: Final = 1 << 18
MAX_GIB: Final = 11.0
"""Workloads are refused above 12 GiB, and pipes and files come on top."""

ORDER: Final = 9
SMALL_LISTS: Final = {Path("/proc/sys/vm/percpu_pagelist_high_fraction"): SMALLEST_LISTS}
QUIET: Final = {
    # Both move pages unasked, the one to make huge pages of ours, the other to make room for any.
    Path("/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs"): "600000",
    Path("/proc/sys/vm/compaction_proactiveness"): "0",
}
STILL_SECONDS: Final = 2.5
QUIET_PAGES: Final = 256
"""What others may allocate in a run that counts, and how much free memory may change in the first look."""

GUEST_BYTES: Final = 2 << 30
GUEST_GIB: Final = 0.8
GUEST_SECONDS: Final = 3000.0
SHAPES: Final = ("random", "clustered", "kernel", "pinned", "dirty", "clean")
UNUSED_TABLES: Final = ("mappings", "vmas", "tasks", "fds", "sysv_shm", "cgroups")
"""What the later picture does without."""


@dataclass(frozen=True)
class Row:
    """One run, as the table has it; all of it goes into the output."""

    run: str
    parameters: dict[str, Any]
    answer: Verification

    @property
    def quiet(self) -> bool:
        """Whether others left memory alone while it was photographed and compacted."""
        # Lists of default length take thousands of pages at once, and give them back.
        drift: int = self.parameters["drift_pages"] if self.parameters["pcp"] == "small" else 0
        return max(self.answer.foreign_pages or 0, drift) <= QUIET_PAGES


def spec_of(shape: str, seed: int, gib: float, folder: str) -> str:
    """Return the workload of a shape; how much is kept and how it lies in runs differs from seed to seed."""
    draw = random.Random(seed)
    pages = round(gib * PAGES_PER_GIB)
    keep = draw.choice((0.3, 0.5, 0.6, 0.7))
    cluster = draw.choice((16, 64, 200))
    more = {
        "random": "",
        "clustered": f"pattern=clustered cluster={cluster}",
        "kernel": f"pipes={round(750 * gib)}",
        "pinned": f"pins={round(256 * gib)}",
        "dirty": f"cache={pages * 1024} cache_pieces={draw.choice((8, 16, 32, 64))} dirty=1 folder={folder}",
        "clean": f"cache={pages * 1024} folder={folder}",
    }[shape]
    if shape in {"dirty", "clean"}:
        pages -= pages // 4
    return f"mixed pages={pages} keep={keep} {more} limit=12G seconds=600".replace("  ", " ")


@contextlib.contextmanager
def settings(wanted: dict[Path, str]) -> Iterator[None]:
    """Change settings of the kernel, and give them their values back."""
    before = {path: path.read_text().strip() for path in wanted if path.exists()}
    try:
        for path in before:
            path.write_text(wanted[path])
        yield
    finally:
        for path, value in before.items():
            path.write_text(value)


def quieten() -> None:
    """Wait until free lists stand still."""
    settle(STILL_SECONDS)


def quieten_small() -> None:
    """Empty per-CPU lists first, which would give pages back bit by bit."""
    drain()
    quieten()


def measure(options: argparse.Namespace, shape: str, seed: int, number: int) -> Row:
    """Make a layout, compact, and score."""
    name = f"{shape}-{seed}" + (f"-{number}" if options.rounds > 1 else "") + f"-{options.pcp}"
    if options.save:
        # What was not quiet is done again.
        shutil.rmtree(options.save / name, ignore_errors=True)
    spec = spec_of(shape, seed, options.gib, options.folder)
    with hold(spec, seed=seed), settings(SMALL_LISTS if options.pcp == "small" else {}):
        if shape != "dirty":
            os.sync()
        seen = photograph(quieten_small if options.pcp == "small" else quieten)
    moved = seen.before.manifest["volatility"]
    about = {
        "spec": spec,
        "seed": seed,
        "shape": shape,
        "pcp": options.pcp,
        "release": os.uname().release,
        "drift_pages": abs(moved["free_pages_after"] - moved["free_pages_before"]),
    }
    if options.save:
        save(options.save / name, seen, about)
    answer = verify(seen.before, seen.after, ORDER, seen.happened)
    return Row(name, about, answer)


def save(folder: Path, seen: Seen, about: dict[str, Any]) -> None:
    """Keep both pictures as snapshots, and what the kernel told beside them."""
    folder.mkdir(parents=True)
    write(seen.before, folder / "before.vmsnap")
    write(seen.after.released(*UNUSED_TABLES), folder / "after.vmsnap")
    happened = {
        "counters": seen.happened.counters,
        "ends": seen.happened.ends,
        "seconds": seen.happened.seconds,
    }
    (folder / "run.json").write_text(json.dumps({**about, **happened}) + "\n")


def replay(folder: Path) -> Row:
    """Score today's forecast against pictures that were kept."""
    about = json.loads((folder / "run.json").read_text())
    ends = about.pop("ends")
    happened = Happened(
        about.pop("counters"), None if ends is None else [tuple(end) for end in ends], about.pop("seconds")
    )
    before, after = (load(folder / f"{side}.vmsnap") for side in ("before", "after"))
    return Row(folder.name, about, verify(before, after, ORDER, happened))


def show(row: Row) -> None:
    """Print one row."""
    print(LINE.format(*cells(row)), flush=True)


LINE: Final = "{:<22} {:>9} {:>8} {:>8} {:>29} {:>8} {:>11} {:>11} {:>7} {:>17} {:>7} {:>7}"
HEAD: Final = LINE.format(
    "run", "moved", "error", "fscan", "2M: before,real(drained),fc", "error", "left P/R", "filled P/R",
    "mass", "ended, forecast", "foreign", "drift",
)  # fmt: skip


def cells(row: Row) -> tuple[str, ...]:
    """Return the row of section 4.3 of a run."""
    answer, error = row.answer, row.answer.error
    before = at_hand(answer.before.free_blocks)
    real, drained = answer.actual.gained_blocks, error.corrected.gained_real
    statuses = f"{answer.actual.status or 'unknown'}, {answer.status}"
    return (
        row.run + ("" if row.quiet else " ~"),
        f"{answer.actual.moves_pages or 0:,}",
        signed(error.moves_percent),
        signed(error.free_scanned_percent),
        f"{before:,}, {before + real:,} ({before + drained:,}), {before + answer.gained_blocks:,}",
        signed(error.gained_percent),
        pair(error.left_precision, error.left_recall),
        pair(error.filled_precision, error.filled_recall),
        f"{error.free_mass_distance:.4f}",
        statuses.replace("complete", "met").replace("contended", "gave up"),
        f"{answer.foreign_pages or 0:,}",
        f"{row.parameters['drift_pages']:,}",
    )


def at_hand(blocks: tuple[int, ...]) -> int:
    """Return the blocks of 2 MiB that are there, larger ones divided."""
    return sum(nr << order - ORDER for order, nr in enumerate(blocks) if order >= ORDER)


def signed(value: float | None) -> str:
    """Return a signed error."""
    return "-" if value is None else f"{value:+.2f}%"


def pair(precision: float | None, recall: float | None) -> str:
    """Return precision and recall."""
    return "/".join("-" if value is None else f"{value:.3f}" for value in (precision, recall))


def summary(rows: list[Row]) -> None:
    """Print what the runs come to: median and worst, intervals that held, aborts that were missed."""
    met = [row for row in rows if row.answer.actual.status != "contended"]
    figures = {
        "pages moved": [row.answer.error.moves_percent for row in met],
        "free pages scanned": [row.answer.error.free_scanned_percent for row in met],
        "2 MiB blocks gained": [row.answer.error.gained_percent for row in met],
    }
    for name, values in figures.items():
        sizes = [abs(value) for value in values if value is not None]
        if sizes:
            print(
                f"{name}: median {statistics.median(sizes):.2f} %, worst {max(sizes):.2f} %, "
                f"{len(sizes)} runs in which the scanners met"
            )
    masses = [row.answer.error.free_mass_distance for row in rows]
    print(f"free mass distance: median {statistics.median(masses):.4f}, worst {max(masses):.4f}")
    held = [
        row.answer.interval[0] <= row.answer.actual.gained_blocks <= row.answer.interval[1]
        for row in rows
        if row.answer.interval is not None and row.answer.interval[0] < row.answer.interval[1]
    ]
    print(f"interval held the truth: {sum(held)} of {len(held)} runs that gave one")
    given_up = [row for row in rows if row.answer.actual.status == "contended"]
    missed = [row.run for row in given_up if row.answer.status != "contended"]
    false = [row.run for row in met if row.answer.status == "contended"]
    print(
        f"given up: {len(given_up)} runs, missed {missed or 'none'}, forecast without need {false or 'none'}"
    )
    for row in given_up:
        stops = [z.stopped_percent for z in row.answer.zones if z.status_actual == "contended"]
        print(f"  {row.run}: way to the stopping point {', '.join(map(signed, stops))}")


def keep(path: Path | None, row: Row) -> None:
    """Append one run to the output."""
    if path is not None:
        with path.open("a") as file:
            file.write(json.dumps({"run": row.run, **row.parameters, "answer": to_plain(row.answer)}) + "\n")


def in_guest(options: argparse.Namespace) -> int:
    """Do the same in a guest, all of it in one boot."""
    words = [
        "--seeds", ",".join(map(str, options.seeds)), "--shapes", ",".join(options.shapes),
        "--gib", str(options.gib), "--pcp", options.pcp, "--rounds", str(options.rounds),
        "--attempts", str(options.attempts),
        "--folder", "/run/scratch", "--output", "/run/out/rows.jsonl",
    ]  # fmt: skip
    if options.save:
        words += ["--save", "/run/out/save"]

    def pass_on(out: bytes, err: bytes) -> None:
        for stream, data in ((sys.stdout, out), (sys.stderr, err)):
            stream.buffer.write(data)
            stream.flush()

    shape = Shape(kernel=options.guest, memory_bytes=GUEST_BYTES, disk_bytes=1 << 30)
    with tempfile.TemporaryDirectory(prefix="vmprobe-lab-") as folder:
        files = options.save or Path(folder) / "out"
        command = ["python3", "benchmarks/acceptance_compaction.py", *words]
        done = guest.run(shape, command, files, time_limit_seconds=GUEST_SECONDS, show=pass_on)
        rows = files / "rows.jsonl"
        if options.output and rows.exists():
            with options.output.open("a") as file:
                file.write(rows.read_text())
    return done.status


def parsed() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--seeds", default="101,102,103,104", help="comma separated; default %(default)s")
    parser.add_argument("--shapes", default=",".join(SHAPES), help="default %(default)s")
    parser.add_argument("--gib", type=float, help="anonymous memory and files; default 4, in a guest 0.8")
    parser.add_argument("--pcp", choices=("small", "default"), default="small", help="per-CPU lists")
    parser.add_argument("--rounds", type=int, default=1, help="of each shape and seed")
    parser.add_argument("--attempts", type=int, default=3, help="until a run is quiet; default %(default)s")
    parser.add_argument("--folder", default="/tmp", help="for files of the page cache")
    parser.add_argument("--output", type=Path, metavar="FILE", help="append each run as a line of JSON")
    parser.add_argument(
        "--save", type=Path, metavar="DIR", help="keep the pictures of each run; a new folder"
    )
    parser.add_argument("--replay", type=Path, metavar="DIR", help="score pictures that were kept")
    parser.add_argument("--guest", metavar="SERIES", help="in a guest of the lab: 6.1 or 6.12")
    options = parser.parse_args()
    options.seeds = [int(seed) for seed in options.seeds.split(",")]
    options.shapes = options.shapes.split(",")
    if unknown := set(options.shapes) - set(SHAPES):
        parser.error(f"no shape {', '.join(sorted(unknown))}; there are {', '.join(SHAPES)}")
    options.gib = options.gib or (GUEST_GIB if options.guest else 4.0)
    if not 0 < options.gib <= MAX_GIB:
        parser.error(f"--gib is more than 0 and at most {MAX_GIB:g}")
    return options


def runs(options: argparse.Namespace) -> Iterator[Row]:
    """Yield each run when it is done."""
    if options.replay:
        for folder in sorted(path.parent for path in options.replay.rglob("run.json")):
            yield replay(folder)
        return
    for number in range(1, options.rounds + 1):
        for shape in options.shapes:
            for seed in options.seeds:
                for _ in range(options.attempts):
                    row = measure(options, shape, seed, number)
                    yield row
                    if row.quiet:
                        break


def main() -> int:
    """Print the table."""
    options = parsed()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        if options.guest and not options.replay:
            return in_guest(options)
        print(HEAD)
        rows = []
        with settings({} if options.replay else QUIET):
            for row in runs(options):
                show(row)
                keep(options.output, row)
                rows.append(row)
    except (LabError, VmprobeError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    quiet = [row for row in rows if row.quiet]
    print(f"{len(quiet)} of {len(rows)} runs were quiet and count; the others are marked ~")
    if quiet:
        summary(quiet)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""``vmprobe compact --verify``: compact this host, and hold a forecast against what happened.

Called by the verb when it is asked for, and by nothing else.
"""

from __future__ import annotations

import gc
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click

from vmprobe.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmprobe.analyses.verify import Happened
    from vmprobe.store.forecasts import History
    from vmprobe.tables import Snapshot

Function = TypeVar("Function", bound="Callable[..., object]")

STILL_SECONDS: Final = 1.2
"""How long free lists must stand still before the first look: per-CPU lists are emptied bit by bit, once a
second (``mm/vmstat.c: refresh_cpu_vm_stats``)."""

PATIENCE_SECONDS: Final = 8.0
"""A host that never stands still is photographed as it is."""


@dataclass(frozen=True)
class VerifyOptions:
    """What the command line says.

    Parameters
    ----------
    order
        Of the blocks that are counted.
    yes
        Whether to do it.
    as_json
        One JSON document.
    history
        The file of earlier errors; that of this user when None.
    path, procfs, sysfs
        Must all be None: only this live host can be compacted.
    """

    order: int
    yes: bool
    as_json: bool
    history: Path | None = None
    path: Path | None = None
    procfs: str | None = None
    sysfs: str | None = None


def verify_options(function: Function) -> Function:
    """Add ``--verify``, ``--yes`` and ``--history``, which become `verify`, `yes` and `history`."""
    made = click.option(
        "--history",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Where errors of verified forecasts are kept; default $XDG_STATE_HOME/vmprobe/forecasts.jsonl.",
    )(function)
    made = click.option("--yes", is_flag=True, help="With --verify: do it, do not only say what it does.")(
        made
    )
    return click.option(
        "--verify",
        is_flag=True,
        help="Compact this host now, as root, and print how far off the forecast was; see --yes.",
    )(made)


def run(options: VerifyOptions) -> int:
    """Say what would be done or, with ``yes``, do it; return the exit status.

    Raises
    ------
    UsageError
        A snapshot or another /proc was given.
    PrivilegeError
        This user may not.
    InputError
        This kernel cannot compact, or the history cannot be read.
    OutputError
        The history cannot be written; the answer was given before.
    """
    from vmprobe.analyses.verify_layout import intended, layout_intended
    from vmprobe.cli.output import write_answer
    from vmprobe.store import forecasts

    if options.path is not None:
        raise UsageError("--verify compacts this host now; a SNAPSHOT cannot be compacted")
    if options.procfs is not None or options.sysfs is not None:
        raise UsageError("--verify compacts this host now; leave out --procfs and --sysfs")
    where = options.history or forecasts.default_path(os.environ)
    if not options.yes:
        write_answer(intended(str(where)), layout_intended, as_json=options.as_json)
        return 0
    # What is wrong with the history is known before anything is moved.
    _compact(options, where, forecasts.read(where))
    return 0


def _compact(options: VerifyOptions, where: Path, earlier: History) -> None:
    """Photograph, compact, photograph, score, print, remember."""
    from vmprobe.analyses.record import record
    from vmprobe.analyses.verify import history_document, verify
    from vmprobe.analyses.verify_layout import layout
    from vmprobe.cli.output import write_answer
    from vmprobe.sources.host import wall_time
    from vmprobe.store import forecasts

    seen = photograph()
    host = seen.before.manifest["host"]
    answer = verify(seen.before, seen.after, options.order, seen.happened)
    document = history_document(answer, host, wall_time())
    summed = record((*earlier.documents, document), str(host["release"]))
    answer = replace(answer, record=summed, notes=(*seen.notes, *earlier.damaged))
    write_answer(answer, layout, as_json=options.as_json)
    forecasts.append(where, document)


def after_upheaval() -> None:
    """Wait until the free lists stand still after our own upheaval; not for ever."""
    from vmprobe.collect.settle import settle

    settle(STILL_SECONDS, PATIENCE_SECONDS)


@dataclass(frozen=True)
class Seen:
    """A compaction of this host: a picture just before it, one just after, and what the kernel told."""

    before: Snapshot
    after: Snapshot
    happened: Happened
    notes: tuple[str, ...]


def photograph(quieten: Callable[[], None] = after_upheaval) -> Seen:
    """Compact this host between two looks at it.

    The forecast is made after this, from what was read before: it depends on that alone, and the memory that
    it takes would have changed the layout.

    Parameters
    ----------
    quieten
        Called right before the first look, when all memory that the looks need is held.

    Raises
    ------
    PrivilegeError
        This user may not.
    InputError
        This kernel cannot compact.
    """
    from vmprobe.analyses.verify import Happened
    from vmprobe.cli.progress import progress_line
    from vmprobe.collect import Options, take
    from vmprobe.collect.again import Looks
    from vmprobe.sources.compact_memory import CompactMemory
    from vmprobe.sources.meter import Meter
    from vmprobe.sources.procfs import Tree

    proc, sys = Tree("/proc", Meter()), Tree("/sys", Meter())
    with CompactMemory(proc) as compaction:
        with progress_line() as progress:
            whole = take(Options(require_frames=True), progress=progress)
        with Looks(whole, proc, sys) as looks:
            gc.collect()
            looks.rehearse()
            quieten()
            before = looks.before()
            done = compaction.write()
            after = looks.after()
    ends = None if done.zones is None else [(z.start_pfn, z.migrate_pfn, z.status) for z in done.zones]
    notes = (
        () if done.why_unheard is None else (f"how zones ended is read off the frames: {done.why_unheard}",)
    )
    return Seen(before, after, Happened(done.counters, ends, done.seconds), notes)

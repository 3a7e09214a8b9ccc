"""Take a snapshot: counters, page tables and flags, counts, page tables and flags again, counters again.

What changes between the two looks is marked, not hidden. Nothing here decides what anything means; that is
done later, from the snapshot.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from vmprobe import __version__
from vmprobe.collect import counters
from vmprobe.collect.address_space import Reader
from vmprobe.collect.frames import Frames
from vmprobe.collect.lanes import Lanes
from vmprobe.collect.mappings import mapping_table, vma_table
from vmprobe.collect.open_files import OpenFiles
from vmprobe.collect.options import Options
from vmprobe.collect.place import find
from vmprobe.collect.redact import Redactor
from vmprobe.collect.stops import Stops
from vmprobe.collect.tasks import KSM_COLUMNS, Task, read_tasks, select, task_table
from vmprobe.collect.unread import ROOT, Unread
from vmprobe.collect.walks import Walks
from vmprobe.errors import InputError, PrivilegeError
from vmprobe.schema import FORMAT_MAJOR, FORMAT_MINOR, FORMAT_NAME, TABLES
from vmprobe.sources import host
from vmprobe.sources.cgroupfs import memory_cgroups
from vmprobe.sources.meter import Meter, Pace, now
from vmprobe.tables import MemoryTables, Snapshot, Table, from_rows

if TYPE_CHECKING:
    from vmprobe.collect.options import Progress
    from vmprobe.sources.procfs import Tree


def take(options: Options | None = None, progress: Progress | None = None) -> Snapshot:
    """Photograph this host, or a recorded one, and return the snapshot in memory.

    What cannot be read is left out and named in the manifest's ``unread``; see ``docs/snapshot-format.md``.

    Parameters
    ----------
    options
        What to read; everything when None.
    progress
        Called with a stage's name, pieces done and pieces in all.

    Raises
    ------
    InputError
        /proc is not there, is not one, is a damaged recording, or a chosen process is not there.
    FormatError
        A file of the kernel does not say what it should.
    UsageError
        Freezing was asked for what must not be stopped.
    PrivilegeError
        Freezing was asked for and nothing may be stopped, or frames were required and may not be read.
    """
    options = options or Options()
    show = progress or (lambda *_: None)
    meter = Meter()
    tables: dict[str, Table] = {}
    place = find(options, meter)
    proc, sys = place.proc, place.sys
    options = place.narrowed(options)
    # The probe of PAGEMAP_SCAN takes memory of its own: before anything is counted.
    rights, walk_end = place.privileges(), place.walk_end() if options.processes else None
    # Capabilities of another user namespace than the first open nothing here.
    unread = Unread(rights["capabilities"] if rights["initial_userns"] else ())
    open_files = OpenFiles(proc, unread, wanted=options.fds and options.processes)
    started, begin = host.wall_time(), now()

    tasks = _tasks(proc, options, unread)
    about, same_pids = place.host(), place.same_pids()
    ranges = counters.frame_ranges(proc) if options.frames else None
    reader = Reader(proc, meter, about["page_size"], with_smaps=options.smaps)
    with contextlib.ExitStack() as stack:
        frames = _frames(proc, ranges, options, unread, stack)
        before = counters.read_cheap(proc, sys, unread)
        pageblock_order = _by_type(proc, options, unread, tables)
        counters.read_once(proc, unread, tables)
        stops = stack.enter_context(Stops(options, same_pids=same_pids))
        stops.stop(tasks)
        walks = Walks(tasks, reader, unread, same_pids=same_pids)
        lanes = Lanes(Pace(options.pace_percent), stops.tick)
        if options.frames or options.processes:
            lanes.run(frames.first_pass(), walks.first_pass(), lambda *n: show("page tables, flags", *n))
            lanes.run(frames.middle_pass(), (), lambda *n: show("map counts, cgroups", *n))
            lanes.run(
                frames.last_pass(), walks.last_pass(frames.mark_unstable), lambda *n: show("what moved", *n)
            )
        looks = open_files.works(tasks, walks.names(("socket:[", "/dev/")))
        lanes.walk(looks, lambda *n: show("open files", *n))
    if options.sysvipc:
        counters.read_segments(proc, unread, tables)
    later = place.later()
    # What could not be read a second time could not be the first time, and is noted.
    after = counters.read_cheap(*later, Unread()) if later else counters.Cheap()

    moved = _moved(walks, options)  # the next line spends the runs
    tables |= _of_processes(tasks, walks, options, about["page_size"], unread)
    tables |= counters.tables(before, after)
    there = {"frames": frames.table(), "fds": open_files.table()}
    tables |= {name: table for name, table in there.items() if table is not None}
    if options.processes or options.frames:
        _cgroups(sys, unread, tables)
    asked = options.manifest()
    if options.redact:
        tables = _redacted(tables, options, asked, about)
    manifest = {
        "format": {"name": FORMAT_NAME, "version": [FORMAT_MAJOR, FORMAT_MINOR]},
        "program": {"name": "vmprobe", "version": __version__, "pid": place.reader_pid()},
        "host": about,
        "privileges": rights,
        "options": asked,
        "frozen": stops.manifest(),
        "replayed": place.replayed(),
        "volatility": {
            **frames.volatility(),
            **moved,
            "processes_appeared": _appeared(later, tasks, options),
            "forks": _forks(before, after, 0 if place.replayed() else lanes.nr_started),
            "free_pages_before": before.free_pages,
            "free_pages_after": after.free_pages,
        },
        "frame_ranges": [list(ends) for ends in frames.ranges] if "frames" in tables else [],
        "pageblock_order": pageblock_order,
        "max_order": len(before.buddy[0].nr_free) - 1 if before.buddy else None,
        "scan_ioctl": {"supported": place.scan_supported(reader.scanner), "stale_walk_end": walk_end},
        "unread": unread.manifest(),
        "tables": {name: {"null_columns": _nulls(table, options, unread)} for name, table in tables.items()},
        "sources": _costs(meter),
        "time": place.time(started, now() - begin),
    }
    return Snapshot(manifest, MemoryTables({name: tables[name] for name in TABLES if name in tables}))


def _tasks(proc: Tree, options: Options, unread: Unread) -> list[Task]:
    """List the processes and choose."""
    if not options.processes:
        unread.add("processes", "not asked for", lost="tasks, vmas, mappings, fds")
        return []
    hint = "--procfs names the folder where /proc is mounted"
    try:
        listed = read_tasks(proc, with_ksm=options.ksm_stat)
    except OSError as error:
        raise InputError(f"{proc.root}: {error.strerror}", hint=hint) from error
    if not listed:
        raise InputError(f"{proc.root}: no process is listed there", hint=hint)
    return select(listed, options, unread)


def _frames(
    proc: Tree,
    ranges: list[tuple[int, int]] | None,
    options: Options,
    unread: Unread,
    stack: contextlib.ExitStack,
) -> Frames:
    """Make room for the frames before anything is counted, so that it does not count as drift."""
    if not options.frames:
        unread.add("frames", "not asked for", lost="frames")
    frames = Frames(proc, ranges, unread, wanted=options.frames)
    stack.callback(frames.close)
    if options.require_frames and "kpageflags" not in frames.files:
        raise PrivilegeError(
            proc.path("kpageflags"), ROOT, hint="without --require-frames everything else is still read"
        )
    return frames


def _by_type(proc: Tree, options: Options, unread: Unread, tables: dict[str, Table]) -> int | None:
    """Read free lists by type, and with them the order of a pageblock."""
    if options.by_type:
        return counters.read_by_type(proc, unread, tables)
    unread.add("pagetypeinfo", "not asked for", lost="free_areas_by_type, pageblocks_by_type")
    return None


def _of_processes(
    tasks: list[Task], walks: Walks, options: Options, page_size: int, unread: Unread
) -> dict[str, Table]:
    """Return the tables of processes; none where they were not asked for."""
    if not options.processes:
        return {}
    walks.number()
    spaces = list(enumerate(walks.spaces))
    return {
        "tasks": task_table(tasks, unread),
        "vmas": vma_table(spaces, page_size, with_smaps=options.smaps),
        "mappings": mapping_table(spaces, frames_visible=walks.frames_visible()),
    }


def _moved(walks: Walks, options: Options) -> dict[str, Any]:
    """Return what the second look at page tables found; None for what was not looked at."""
    found = walks.volatility()
    return found if options.processes else found | dict.fromkeys(("entries_compared", "entries_changed"))


def _redacted(
    tables: dict[str, Table], options: Options, asked: dict[str, Any], about: dict[str, Any]
) -> dict[str, Table]:
    """Return the tables without names, and take what identifies the host out of the manifest's entries."""
    redactor = Redactor()
    asked["cgroups"] = [redactor.path(path) for path in options.cgroups]
    about["boot_id"] = None
    return redactor.tables(tables)


def _cgroups(sys: Tree, unread: Unread, tables: dict[str, Table]) -> None:
    """Read the names of memory cgroups after the frames, so that a new one is known."""
    try:
        tables["cgroups"] = from_rows(TABLES["cgroups"], ("inode", "path"), memory_cgroups(sys))
    except OSError as error:
        unread.failed("cgroups", error, needs=None, lost="cgroups")


def _nulls(table: Table, options: Options, unread: Unread) -> dict[str, str]:
    """Return why columns of a table are null in every row."""
    reasons = {}
    known = {entry["lost"]: entry["reason"] for entry in unread.manifest()}
    for column in table.schema.columns:
        if table.has(column.name):
            continue
        place = f"{table.schema.name}.{column.name}"
        if table.schema.name == "vmas" and not options.smaps:
            reasons[column.name] = "smaps was not asked for"
        elif table.schema.name == "mappings":
            reasons[column.name] = known.get("mappings.pfn", "unknown")
        elif column.name in KSM_COLUMNS:
            unasked = None if options.ksm_stat else "ksm_stat was not asked for"
            reasons[column.name] = unasked or known.get("tasks.ksm_merging_pages", "no process has memory")
        else:
            reasons[column.name] = known.get(place, "unknown")
    return reasons


def _appeared(later: tuple[Tree, Tree] | None, tasks: list[Task], options: Options) -> int | None:
    """Return how many processes are listed now that were not when the run began; None where not all were."""
    if later is None or options.selective or not options.processes:
        return None
    try:
        return len(set(later[0].pids()) - {task.pid for task in tasks})
    except OSError:
        return None


def _forks(before: counters.Cheap, after: counters.Cheap, nr_own: int) -> int | None:
    """Return how many processes and threads others started meanwhile; None where the kernel does not tell."""
    key = ("stat", "", "processes")
    if key not in before.values or key not in after.values:
        return None
    counts = [cheap.values[key][0] for cheap in (before, after)]
    first, second = (nr for nr in counts if nr is not None)
    return max(0, second - first - nr_own)


def _costs(meter: Meter) -> list[dict[str, Any]]:
    return [
        {"name": name, "seconds": round(cost.seconds, 6), "bytes": cost.nr_bytes, "reads": cost.nr_reads}
        for name, cost in sorted(meter.costs.items(), key=lambda item: -item[1].seconds)
    ]

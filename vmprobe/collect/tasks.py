"""Who is there: one row for every process that was listed, with data or a reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vmprobe.collect.unread import OWNER, reason
from vmprobe.errors import FormatError, InputError
from vmprobe.formats import cgroup, ksm_stat, stat, status
from vmprobe.schema import TABLES
from vmprobe.sources.procfs import ProcessDir
from vmprobe.tables import Table, from_rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmprobe.collect.options import Options
    from vmprobe.collect.unread import Unread
    from vmprobe.sources.procfs import Tree


ENDED: Final = "has ended (zombie): it has no memory"
VANISHED: Final = "vanished while it was read"

KSM_COLUMNS: Final = ("ksm_merging_pages", "ksm_zero_pages")
TASK_COLUMNS: Final = tuple(c.name for c in TABLES["tasks"].columns if c.name not in KSM_COLUMNS)


@dataclass
class Task:
    """One process; what could not be read is None."""

    pid: int
    stat: stat.TaskStat | None = None
    about: status.TaskStatus | None = None
    ksm: ksm_stat.KsmStat | None = None
    ksm_error: OSError | None = None
    cgroups: tuple[cgroup.CgroupRow, ...] = ()
    kernel_thread: bool | None = None
    mm: int | None = None
    mm_evidence: str | None = None
    frozen: bool = False
    error: str | None = None

    @property
    def has_memory(self) -> bool:
        """Whether there is an address space of its own to read, as far as is known."""
        return self.error is None and not self.kernel_thread


def read_tasks(proc: Tree, *, with_ksm: bool) -> list[Task]:
    """Return a row for every process that is listed now."""
    return [read_task(proc, pid, with_ksm=with_ksm) for pid in proc.pids()]


def read_task(proc: Tree, pid: int, *, with_ksm: bool) -> Task:
    """Return what ``stat``, ``status``, ``cgroup`` and, if asked, ``ksm_stat`` of one process say."""
    task = Task(pid)
    try:
        with ProcessDir(proc, pid) as folder:
            task.stat = stat.parse(folder.read("stat", "stat"), file=f"{proc.root}/{pid}/stat")
            task.about = about = status.parse(
                folder.read("status", "status"), file=f"{proc.root}/{pid}/status"
            )
            task.kernel_thread = (
                task.stat.kernel_thread if about.kernel_thread is None else about.kernel_thread
            )
            if task.stat.state in {"Z", "X"} and not task.stat.zombie_leader:
                task.error = ENDED
            task.cgroups = tuple(
                cgroup.parse(folder.read("cgroup", "cgroup"), file=f"{proc.root}/{pid}/cgroup")
            )
            if with_ksm and task.has_memory:
                _read_ksm(folder, task)
    except OSError as error:
        task.error = describe(error)
    except FormatError as error:
        # A process that ends between two reads can leave a file empty; anything else of that kind in a
        # live /proc is worth knowing by its text.
        task.error = error.without_text
    return task


def _read_ksm(folder: ProcessDir, task: Task) -> None:
    """Read what KSM merged; a refusal there is none for the memory of the process."""
    try:
        data = folder.read("ksm_stat", "ksm_stat")
    except OSError as error:
        task.ksm_error = error
    else:
        task.ksm = ksm_stat.parse(data, file=f"{folder.tree.root}/{task.pid}/ksm_stat")


def describe(error: OSError) -> str:
    """Return why a process could not be read."""
    if isinstance(error, FileNotFoundError | ProcessLookupError):
        return VANISHED
    return reason(error)


def select(tasks: list[Task], options: Options, unread: Unread) -> list[Task]:
    """Return the tasks that the options choose.

    Raises
    ------
    InputError
        A chosen pid, tree or cgroup is not there.
    """
    if not options.selective:
        if tasks and tasks[0].pid != 1:
            unread.add("processes", "PID 1 is not listed: hidepid hides other users' processes", lost="tasks")
        return tasks
    known = {task.pid for task in tasks}
    for pid in (*options.pids, *options.trees):
        if pid not in known:
            raise InputError(
                f"process {pid} is not there",
                hint="`ps -e` lists what runs here; a recorded tree has a folder for each",
            )
    chosen = set(options.pids)
    chosen |= _descendants(tasks, options.trees)
    for path in options.cgroups:
        found = {task.pid for task in tasks if _in_cgroup(task, path)}
        if not found:
            raise InputError(
                f"no process is in cgroup {path}", hint="give the path as /proc/PID/cgroup prints it"
            )
        chosen |= found
    return [task for task in tasks if task.pid in chosen]


def _descendants(tasks: list[Task], roots: Iterable[int]) -> set[int]:
    children: dict[int, list[int]] = {}
    for task in tasks:
        if task.stat is not None:
            children.setdefault(task.stat.ppid, []).append(task.pid)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, [])
    return found


def _in_cgroup(task: Task, path: str) -> bool:
    wanted = "/" + path.strip("/")
    return any(row.path == wanted or row.path.startswith(wanted.rstrip("/") + "/") for row in task.cgroups)


def task_table(tasks: list[Task], unread: Unread) -> Table:
    """Return the tasks table; what KSM did is left out where no process told, with the reason noted."""
    rows = []
    for task in tasks:
        known, about = task.stat, task.about
        rows.append(
            (
                task.pid,
                known and known.ppid,
                known and known.start_time,
                known and known.comm,
                about and about.uid,
                cgroup.memory_path(task.cgroups),
                task.mm,
                task.mm_evidence,
                known and known.nr_threads,
                known and known.rss_pages,
                task.kernel_thread,
                task.frozen,
                known and known.state,
                task.error,
                about and about.vm_lck_bytes,
                about and about.vm_pin_bytes,
                about and about.hugetlb_bytes,
                *(task.ksm or (None, None)),
            )
        )
        if task.ksm_error is not None:
            unread.failed("ksm_stat", task.ksm_error, needs=OWNER, lost="tasks.ksm_merging_pages")
    told = any(task.ksm is not None for task in tasks)
    names = (*TASK_COLUMNS, *KSM_COLUMNS) if told else TASK_COLUMNS
    return from_rows(TABLES["tasks"], names, rows)

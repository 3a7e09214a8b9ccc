"""Processes of a snapshot: one by its pid, all by their address space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmprobe.errors import InputError, PrivilegeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vmprobe.tables import Snapshot


MEMORY: Final = "memory of processes"
"""How the manifest calls what was not read of them."""


def address_space(snapshot: Snapshot, pid: int) -> tuple[str | None, int]:
    """Return name and address space of a process.

    Raises
    ------
    UsageError
        There is no such process, or it is a kernel thread.
    InputError
        Its memory could not be read.
    PrivilegeError
        Nor can it be by us, and the snapshot was taken just now.
    """
    names = ("pid", "comm", "mm", "kernel_thread", "error")
    rows = snapshot.table("tasks", names).rows(*names) if snapshot.has("tasks") else ()
    task = next((row for row in rows if row[0] == pid), None)
    if task is None:
        hint = (
            "it was taken of chosen processes only"
            if snapshot.selective
            else "threads are found under their process; the table tasks lists what is there"
        )
        raise UsageError(f"process {pid} is not in the snapshot", hint=hint)
    _, comm, mm, kernel_thread, error = task
    name = f"process {pid} ({comm or '?'})"
    if kernel_thread:
        raise UsageError(f"{name} is a kernel thread: it has no addresses of its own")
    if mm is None and snapshot.path is None and error is not None:
        # Taken just now: more privilege would help, and the manifest says which.
        unread = snapshot.manifest.get("unread", ())
        refused = (row["needs"] for row in unread if (row["what"], row["reason"]) == (MEMORY, error))
        if needs := next(refused, None):
            raise PrivilegeError(f"the memory of {name}", needs, hint="run it as root, or as that user")
    if mm is None:
        raise InputError(f"the memory of {name} is not in the snapshot: {error or 'not read'}")
    return comm, mm


def ancestors(pid: int, parents: Mapping[int, int | None]) -> Iterator[int]:
    """Yield the ancestors of a process that are in the snapshot, its parent first; never one of them twice.

    >>> list(ancestors(7, {7: 5, 5: 2, 2: 1, 1: 0}))
    [5, 2, 1]
    """
    seen = {pid}
    while (parent := parents.get(pid)) in parents and parent not in seen:
        assert parent is not None
        seen.add(parent)
        yield parent
        pid = parent


def owners(snapshot: Snapshot) -> dict[int, list[tuple[int, str | None]]]:
    """Return the processes of each address space, the lowest pid first."""
    found: dict[int, list[tuple[int, str | None]]] = {}
    if snapshot.has("tasks"):
        for pid, comm, mm in sorted(
            snapshot.table("tasks").rows("pid", "comm", "mm"), key=lambda row: row[0]
        ):
            if mm is not None:
                found.setdefault(mm, []).append((pid, comm))
    return found

"""What the kernel shows of this process and its children: a workload checks itself before it speaks.

Kernel source: ``fs/proc/task_mmu.c: pagemap_read, show_smap``.
"""

from __future__ import annotations

import array
import os
import time
from typing import TYPE_CHECKING, Final

from lab.errors import UnavailableError
from lab.workloads.layout import count, runs
from lab.workloads.made import DisagreesError
from lab.workloads.memory import PAGE

if TYPE_CHECKING:
    from lab.workloads.layout import Range

PRESENT: Final = 1 << 63
SWAP: Final = 1 << 62
FILE: Final = 1 << 61
MAPPED_ONCE: Final = 1 << 56
FRAME: Final = (1 << 55) - 1

FIRST_PSEUDO_SWAP_TYPE: Final = 23
"""Types from here on may be migration entries, poison or markers; no swap area has them on a stock kernel."""


def text(path: str) -> str:
    """Return a file of /proc or /sys.

    Raises
    ------
    UnavailableError
        This kernel has none.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        raise UnavailableError(f"this kernel has no {path}") from None


def entries(start: int, nr_pages: int, pid: int | str = "self") -> array.array[int]:
    """Return the pagemap words of a range, one a page.

    Raises
    ------
    DisagreesError
        The file ends before the range does.
    """
    words = array.array("Q")
    fd = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY)
    try:
        while len(words) < nr_pages:
            at = (start // PAGE + len(words)) * 8
            piece = os.pread(fd, min(nr_pages - len(words), 1 << 17) * 8, at)
            if not piece:
                raise DisagreesError(f"pagemap of {pid} ends at {at * PAGE // 8:#x}")
            words.frombytes(piece)
    finally:
        os.close(fd)
    return words


def pages_with(words: array.array[int], bits: int, wanted: int | None = None) -> list[Range]:
    """Return the pages whose masked bits are as wanted; all set by default."""
    wanted = bits if wanted is None else wanted
    return runs(page for page, word in enumerate(words) if word & bits == wanted)


def expect(what: str, found: list[Range], made: list[Range]) -> None:
    """Compare what the kernel shows with what was made.

    Raises
    ------
    DisagreesError
        They differ; the message names the first page.
    """
    if found != made:
        pages = {page for pair in found for page in range(*pair)}
        pages ^= {page for pair in made for page in range(*pair)}
        raise DisagreesError(
            f"{what}: the kernel shows {count(found)} pages, {count(made)} were made; "
            f"{len(pages)} differ, the first is page {min(pages)}"
        )


def expect_equal(what: str, found: object, made: object) -> None:
    """Compare one figure.

    Raises
    ------
    DisagreesError
        It differs.
    """
    if found != made:
        raise DisagreesError(f"{what}: the kernel shows {found}, made was {made}")


def smaps(start: int, pid: int | str = "self") -> dict[str, int]:
    """Return the fields in KiB of the VMA that starts there.

    Raises
    ------
    DisagreesError
        No VMA starts there.
    """
    fields: dict[str, int] = {}
    inside = False
    for line in text(f"/proc/{pid}/smaps").splitlines():
        name, _, value = line.partition(":")
        if "-" in name.split(" ")[0]:
            inside = int(name.split("-")[0], 16) == start
        elif inside and value.endswith(" kB"):
            fields[name] = int(value.split()[0])
    if not fields:
        raise DisagreesError(f"no VMA starts at {start:#x}")
    return fields


def status(pid: int | str = "self") -> dict[str, str]:
    """Return the fields of /proc/PID/status."""
    return dict(line.split(":\t") for line in text(f"/proc/{pid}/status").splitlines())


def capable(number: int) -> bool:
    """Return whether this process has a capability."""
    return bool(int(status()["CapEff"], 16) >> number & 1)


def state(pid: int) -> str:
    """Return the letter of a process's state in /proc/PID/stat."""
    return text(f"/proc/{pid}/stat").rpartition(")")[2].split()[0]


def asleep(pid: int) -> None:
    """Wait until a child is blocked: it has nothing to do before that, and would move pages."""
    while state(pid) != "S":
        time.sleep(0.001)

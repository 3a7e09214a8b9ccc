"""Names and paths replaced by keyed hashes that still compare equal within one snapshot.

The key is random and thrown away, so that a hash cannot be looked up by hashing likely names. What the kernel
itself says (``[heap]``, ``System RAM``, ``(deleted)``, the ``/memfd:`` before a name) stays: it tells which
mechanism a name belongs to, and which machine it comes from it does not.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmprobe.tables import Table, Values

DELETED: Final = " (deleted)"

KERNEL_NAME: Final = re.compile(
    r"\[(?!anon:|anon_shmem:)[a-z_]+\]|/dev/zero|/anon_hugepage|/secretmem|/\[aio\]|/drm mm object|/i915"
    r"|anon_inode:[][a-zA-Z0-9_:-]+"
)
"""Names of VMAs and open files that the kernel gives, the same on every host."""

NAMED_BY_USER: Final = re.compile(
    r"(?P<front>/memfd:|/dmabuf:|(?P<bracket>\[anon:|\[anon_shmem:))(?P<name>.*)(?(bracket)(?P<back>\])|)",
    re.DOTALL,
)
"""The kernel's own beginning of a name, and what a program put behind it."""

NUMBERED: Final = re.compile(r"(socket:\[|pipe:\[)([0-9]+)(\])")
"""Links that name an inode."""

SEGMENT: Final = re.compile(r"/SYSV([0-9a-f]{8})")
"""The key of a System V segment, in hexadecimal."""

DEVICE: Final = re.compile(r"/dev/([^/]*)")

KERNEL_DEVICES: Final = frozenset({
    "dma_heap", "dri", "fuse", "hugepages", "infiniband", "iommu", "kfd", "kmem", "kvm", "mem", "null",
    "nvidiactl", "shm", "udmabuf", "userfaultfd", "vfio", "zero",
})  # fmt: skip
"""Names below /dev that do not tell one machine from another."""

KERNEL_RANGES: Final = frozenset({
    "System RAM", "System RAM (kmem)", "System ROM", "Video ROM", "Reserved", "reserved", "Kernel code",
    "Kernel rodata", "Kernel data", "Kernel bss", "Crash kernel", "ACPI Tables", "Persistent Memory",
    "ACPI Non-volatile Storage", "Unknown E820 type", "PCI MMCONFIG", "Local APIC", "Soft Reserved",
})  # fmt: skip
"""Names of physical ranges that do not tell one machine from another."""


class Redactor:
    """Hashes with a key of its own."""

    def __init__(self) -> None:
        self._key = os.urandom(32)

    def word(self, text: str) -> str:
        """Return the hash of one name; empty stays empty."""
        if not text:
            return text
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=self._key, digest_size=6)
        return digest.hexdigest()

    def path(self, text: str) -> str:
        """Return a path with each component hashed, so that what lies below what still shows."""
        return "/".join(self.word(part) for part in text.split("/"))

    def file_name(self, text: str) -> str:
        """Return the name of a VMA or the link of an open file, equal ones alike.

        Kernel names, the kernel's part of others, and the mark of deleted files stay.
        """
        body, deleted = (text[: -len(DELETED)], DELETED) if text.endswith(DELETED) else (text, "")
        if KERNEL_NAME.fullmatch(body):
            return text
        if match := NAMED_BY_USER.fullmatch(body):
            return f"{match['front']}{self.word(match['name'])}{match['back'] or ''}{deleted}"
        if match := NUMBERED.fullmatch(body):
            return f"{match[1]}{self.number(int(match[2]))}{match[3]}"
        if match := SEGMENT.fullmatch(body):
            return f"/SYSV{self.segment_key(int(match[1], 16)):08x}{deleted}"
        match = DEVICE.match(body)
        kept = "" if match is None else match[0] if match[1] in KERNEL_DEVICES else "/dev/"
        return kept + self.path(body.removeprefix(kept)) + deleted

    def segment_key(self, key: int) -> int:
        """Return the hash of a System V key, as an unsigned number of 32 bits; 0 stays 0."""
        return self.number(key & 0xFFFFFFFF) & 0xFFFFFFFF

    def info(self, text: str) -> str:
        """Return lines of fdinfo: names and numbers stay, but for those that others look things up by."""
        return "\n".join(map(self._info_line, text.split("\n")))

    def _info_line(self, line: str) -> str:
        name, colon, value = line.partition(": ")
        if name == "map_id" and value.isascii() and value.isdecimal():
            return f"{name}{colon}{self.number(int(value))}"
        return f"{name}{colon}{self.word(value)}" if name == "drm-pdev" else line

    def range_name(self, text: str) -> str:
        """Return the name of a physical range."""
        return text if text in KERNEL_RANGES else self.word(text)

    def number(self, value: int) -> int:
        """Return the hash of a number that could be looked up, such as an inode; 0 stays 0."""
        if not value:
            return value
        digest = hashlib.blake2b(value.to_bytes(8, "little"), key=self._key, digest_size=6)
        return int.from_bytes(digest.digest(), "little")

    def tables(self, tables: dict[str, Table]) -> dict[str, Table]:
        """Return the tables with every name and path replaced."""
        plan: dict[str, dict[str, Callable[[Any], Any]]] = {
            "tasks": {"comm": self.word, "cgroup": self.path},
            "vmas": {"name": self.file_name, "inode": self.number},
            "fds": {"target": self.file_name, "inode": self.number, "info": self.info},
            "sysv_shm": {"shmid": self.number, "key": self.segment_key},
            "cgroups": {"path": self.path},
            "swap_areas": {"path": self.path},
            "resources": {"name": self.range_name},
        }
        return {name: self._table(table, plan.get(name, {})) for name, table in tables.items()}

    def _table(self, table: Table, plan: dict[str, Callable[[Any], Any]]) -> Table:
        columns: dict[str, Values] = dict(table.columns)
        for name, hashed in plan.items():
            if name in columns:
                old = table.column(name)
                new = np.empty(len(table), old.dtype)
                new[:] = [None if value is None else hashed(value) for value in old.tolist()]
                columns[name] = new
        return replace(table, columns=columns)

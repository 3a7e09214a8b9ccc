"""Names and paths replaced by keyed hashes that still compare equal within one snapshot.

The key is random and thrown away, so that a hash cannot be looked up by hashing likely names. What the kernel
itself says (``[heap]``, ``System RAM``, ``(deleted)``) stays.
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

KERNEL_NAME: Final = re.compile(r"\[(?!anon:|anon_shmem:)[a-z_]+\]|/dev/zero|/anon_hugepage|/secretmem")
"""VMA names that the kernel gives, the same on every host."""

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

    def vma_name(self, text: str) -> str:
        """Return the name of a VMA; kernel names and the mark of deleted files stay."""
        body, deleted = (text[: -len(DELETED)], DELETED) if text.endswith(DELETED) else (text, "")
        if KERNEL_NAME.fullmatch(body):
            return text
        return self.path(body) + deleted

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
            "vmas": {"name": self.vma_name, "inode": self.number},
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

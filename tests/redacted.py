"""A snapshot whose names are hashed, and an answer about sharing without the names."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from vmprobe.collect.redact import Redactor
from vmprobe.tables import MemoryTables

if TYPE_CHECKING:
    from vmprobe.analyses.sharing_answer import Sharing
    from vmprobe.tables import Snapshot


def redacted(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot as ``--redact`` would have written it."""
    tables = {name: snapshot.table(name) for name in snapshot.tables()}
    return replace(snapshot, source=MemoryTables(Redactor().tables(tables)))


def without_names(answer: Sharing) -> dict[str, Any]:
    """Return an answer that must be the same of a snapshot and of its redacted twin."""
    document = asdict(answer)
    for row in document["processes"]:
        del row["comm"]
    return document

"""Memory layouts made on purpose, each by a small program that says what it made and then holds still.

A spec is text such as ``holes pages=8192 pattern=random keep=0.5``: a name of `WORKLOADS`, then parameters of
the function of that name in the module of that name. All have ``seed=`` (same seed and parameters, same
layout), ``limit=`` (bytes, above which it refuses) and ``seconds=``. The standard library alone.
"""

from __future__ import annotations

from typing import Final

# Bound here before anything else imports the module of that name, which would take its place otherwise.
from lab.workloads.hold import hold

__all__ = ["WORKLOADS", "hold"]

WORKLOADS: Final = (
    "forks", "holes", "huge", "ksm", "mixed", "pagecache", "pinned", "pipes", "slab", "swapped",
)  # fmt: skip
"""Names that a spec may begin with."""

"""Workloads that are held for a test."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lab.errors import UnavailableError
from lab.workloads import hold
from vmprobe.formats import status

if TYPE_CHECKING:
    from collections.abc import Iterator

EVERY = ("slab objects=300", "pagecache bytes=64K", "forks children=2 pages=64", "holes pages=64")


@contextmanager
def held(*specs: str) -> Iterator[list[dict[str, Any]]]:
    """Hold workloads; what cannot run here skips with the workload's own reason."""
    with ExitStack() as stack:
        try:
            truths = stack.enter_context(hold(*specs))
        except UnavailableError as error:
            pytest.skip(str(error))
        yield truths


def task(pid: int) -> status.TaskStatus:
    return status.parse(Path(f"/proc/{pid}/status").read_bytes())

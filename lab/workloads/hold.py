"""``python -m lab hold``, and `hold`: workloads around a command, or around a ``with``.

Imported by the workloads' own program too, which must start fast: what the holder needs is imported late.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.workloads.made import Truth


@contextmanager
def hold(*specs: str, seed: int = 0, python: str = sys.executable) -> Iterator[list[Truth]]:
    """Start workloads one after the other, and end them in reverse order.

    Parameters
    ----------
    specs
        Such as ``holes pages=8192 keep=0.5``.
    seed
        Of the first; each further one has the next, unless its spec says ``seed=``.
    python
        Interpreter of the workloads; started with ``-S``, without environment.

    Yields
    ------
    list of dict
        What each said: ``workload``, ``pid``, ``seed``, ``parameters``, ``bytes`` and what it made.

    Raises
    ------
    UnavailableError
        A workload cannot run on this machine.
    LabError
        One failed, or ended while it was held.

    Notes
    -----
    The kernel ends the workloads with the thread that started them: keep it until the ``with`` is left.
    """
    from lab.workloads.children import Child  # noqa: PLC0415 - see above

    children = [Child(spec, seed + i, python) for i, spec in enumerate(specs)]
    with ExitStack() as stack:
        truths = []
        for child in children:
            stack.callback(child.end)
            truths.append(child.start())
        yield truths
        for child in children:
            child.check()


def main(argv: list[str]) -> int:
    """Hold workloads while a command runs, and return its exit status.

    Raises
    ------
    LabError
        A workload failed.
    """
    from lab.workloads import command  # noqa: PLC0415 - see above

    return command.main(argv, hold)

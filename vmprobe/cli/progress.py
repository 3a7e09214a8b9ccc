"""One line on stderr that tells how far a snapshot is; nothing where stderr is no terminal."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def progress_line() -> Iterator[Callable[[str, int, int], None] | None]:
    """Yield a function of stage, steps done and steps in all; None where nobody would see it.

    The line is gone when the block ends, also by an error.
    """
    stream = sys.stderr
    if stream is None or not stream.isatty():
        yield None
        return

    def show(stage: str, done: int, total: int) -> None:
        share = f" {100 * done // total} %" if total else ""
        # \x1b[K: the rest of an earlier, longer line.
        stream.write(f"\r{stage}{share}\x1b[K")
        stream.flush()

    try:
        yield show
    finally:
        stream.write("\r\x1b[K")
        stream.flush()

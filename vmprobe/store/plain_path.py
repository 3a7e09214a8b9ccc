"""Folders under names that DuckDB takes for what they are."""

from __future__ import annotations

import os
import re
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_SPECIAL: Final = re.compile(r"[*?\[\\]|[^\x20-\U0010ffff]|[\ud800-\udfff]")


@contextmanager
def plain_path(folder: Path) -> Iterator[Path]:
    """Give a path to `folder` that is UTF-8 and holds no wildcard.

    DuckDB reads ``a[1]`` as a pattern and would find ``a1``, with no way to quote it. Such a folder is
    reached through a symbolic link in a temporary one, which lasts as long as the context.
    """
    resolved = Path(os.path.realpath(folder))
    if not _SPECIAL.search(str(resolved)):
        yield resolved
        return
    with tempfile.TemporaryDirectory(prefix="vmprobe-") as temporary:
        link = Path(temporary) / "snapshot"
        link.symlink_to(resolved)
        yield link

"""What a shell is offered for a snapshot: the folders ``*.vmsnap`` and their archives."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from click.shell_completion import CompletionItem

from vmprobe.schema import SUFFIX

if TYPE_CHECKING:
    import click

ARCHIVES: Final = (".tar", ".tar.zst")


def snapshots(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the snapshots whose path begins with `incomplete`, and the folders on the way to others.

    Where there are only folders, the shell is left to complete those: it knows not to put a space behind.
    """
    folder, slash, begin = incomplete.rpartition("/")
    try:
        entries = list(os.scandir(Path(folder + slash).expanduser()))
        found = sorted((e.name, e.is_dir()) for e in entries if e.name.startswith(begin))
    except (OSError, RuntimeError):  # no such folder, or no such user behind ~
        return []
    taken = [folder + slash + name for name, is_dir in found if name.endswith(SUFFIX if is_dir else ARCHIVES)]
    if not taken:
        return [CompletionItem(incomplete, type="dir")]
    ways = [
        f"{folder}{slash}{name}/"
        for name, is_dir in found
        if is_dir and name[0] != "." and not name.endswith(SUFFIX)
    ]
    return [CompletionItem(path) for path in taken + ways]

"""What this user remembers of forecasts that were verified, for every later one to print."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vmprobe.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from vmprobe.analyses.record import History


def remembered(file: Path | None, *, live: bool) -> History:
    """Return the history of verified forecasts.

    Parameters
    ----------
    file
        Where it is kept; that of this user when None, which a forecast does without where it cannot be read.
    live
        Whether the question is about this machine as it is now.

    Raises
    ------
    InputError
        `file` cannot be read.
    """
    from vmprobe.analyses.record import History
    from vmprobe.store import forecasts

    try:
        kept = forecasts.read(forecasts.default_path(os.environ) if file is None else file)
    except InputError as error:
        if file is not None:
            raise
        return History(live=live, unread=(error.message,))
    return History(kept.documents, live=live, unread=kept.damaged)

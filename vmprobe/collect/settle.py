"""Wait for a host to stand still, so that what is read one file after the other is of one moment."""

from __future__ import annotations

import time
from typing import Final

from vmprobe.sources.meter import Meter
from vmprobe.sources.procfs import Tree

LOOK_SECONDS: Final = 0.1


def settle(still_seconds: float, patience_seconds: float) -> None:
    """Wait until the free lists of this host stand still for a while; not for ever.

    Parameters
    ----------
    still_seconds
        How long /proc/buddyinfo must read the same.
    patience_seconds
        After which a host that never stands still is taken as it is.
    """
    proc = Tree("/proc", Meter())
    begin = since = time.monotonic()
    last = b""
    while time.monotonic() < min(since + still_seconds, begin + patience_seconds):
        now = proc.read("buddyinfo")
        if now != last:
            since, last = time.monotonic(), now
        time.sleep(LOOK_SECONDS)

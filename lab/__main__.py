"""``python -m lab COMMAND``: each command is ``main`` of a module, imported when it is asked for.

The standard library alone, since some of them run in guests, where every import is slow.
"""

from __future__ import annotations

import importlib
import signal
import sys
from typing import Final

from lab.errors import LabError, UnavailableError

COMMANDS: Final = {
    "run": ("lab.run", "boot a guest and run a command in it"),
    "hold": ("lab.workloads.hold", "make memory layouts, and run a command while they are held"),
    "record": ("lab.record", "save what vmprobe reads of /proc, to be replayed with --procfs"),
    "fixtures": ("lab.fixtures", "make the committed snapshots again, in guests"),
    "support": ("lab.support", "write docs/support.md from the last results of `make test-lab`"),
}

UNAVAILABLE = 75
"""EX_TEMPFAIL: it cannot run here, and nothing is wrong with what was asked."""


def main(argv: list[str]) -> int:
    """Run one command and return its exit status."""
    if not argv or argv[0] in {"-h", "--help"} or argv[0] not in COMMANDS:
        lines = [f"  {name:9} {about}" for name, (_, about) in COMMANDS.items()]
        text = "\n".join(["usage: python -m lab COMMAND ...", "", *lines, ""])
        asked = bool(argv) and argv[0] in {"-h", "--help"}
        (sys.stdout if asked else sys.stderr).write(text)
        return 0 if asked else 2
    command = importlib.import_module(COMMANDS[argv[0]][0]).main
    try:
        status: int = command(argv[1:])
    except UnavailableError as error:
        sys.stderr.write(f"lab: skipped: {error}\n")
        return UNAVAILABLE
    except LabError as error:
        sys.stderr.write(f"lab: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("lab: interrupted\n")
        return 130
    return status


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no guest outlives us
    sys.exit(main(sys.argv[1:]))

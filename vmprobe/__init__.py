"""vmprobe: photograph the memory of a running Linux host from /proc, then ask the photograph.

>>> import vmprobe
>>> vmprobe.__version__
'0.1.0'

``vmprobe.snapshot()`` takes one of this host, ``vmprobe.load(path)`` opens a saved one; both return a
`vmprobe.tables.Snapshot`. Importing this package loads neither numpy nor ptrace; the first use does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vmprobe.collect import take as snapshot
    from vmprobe.store import load

__version__ = "0.1.0"
__all__ = ["__version__", "load", "snapshot"]


def __getattr__(name: str) -> Any:
    if name == "load":
        from vmprobe.store import load

        return load
    if name == "snapshot":
        from vmprobe.collect import take

        return take
    msg = f"module 'vmprobe' has no attribute {name!r}"
    raise AttributeError(msg)

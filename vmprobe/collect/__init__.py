"""Rows to tables: the order in which a moving machine is read.

`take` photographs this host and returns a `vmprobe.tables.Snapshot` in memory.
"""

from vmprobe.collect.options import Options
from vmprobe.collect.take import take

__all__ = ["Options", "take"]

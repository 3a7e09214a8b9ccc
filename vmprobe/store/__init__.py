"""The snapshot on disk: a folder of Parquet tables plus ``manifest.json`` (docs/snapshot-format.md).

`write` puts a snapshot into a folder, all or nothing; `load` opens one and checks everything that can be
checked without reading a table; `connect` and `query` offer its tables to SQL.
"""

from __future__ import annotations

from vmprobe.store.load import load
from vmprobe.store.sql import connect, query
from vmprobe.store.write import WrittenSnapshot, check_target, write

__all__ = ["WrittenSnapshot", "check_target", "connect", "load", "query", "write"]

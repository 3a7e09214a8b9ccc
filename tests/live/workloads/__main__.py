"""``python -m tests.live.workloads [NAME ...] [--json FILE]``: each mechanism made, and what was seen."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from lab.errors import LabError
from tests.live.workloads import judge
from tests.live.workloads.catalogue import WORKLOADS
from tests.live.workloads.report import ReportError
from tests.live.workloads.run import judged


def main(argv: list[str]) -> int:
    """Print the table; 1 when the report is not what was made, 3 when there is none, 4 without root."""
    parser = argparse.ArgumentParser("tests.live.workloads", description=__doc__)
    parser.add_argument("name", nargs="*", metavar="NAME", help=f"of {', '.join(WORKLOADS)}; all by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    options = parser.parse_args(argv)
    if unknown := [name for name in options.name if name not in WORKLOADS]:
        parser.error(f"no workload {unknown[0]!r}")
    if os.geteuid():
        sys.stderr.write("needs root: frame numbers and frame words are for root alone\n")
        return 4
    try:
        rows = judged(options.name)
    except (LabError, ReportError) as error:
        sys.stderr.write(f"{error}\n")
        return 3
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(judge.table(rows) + "\n")
    return int(any(row.verdict in {judge.DIFFERS, judge.FAILED} for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

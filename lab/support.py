"""``python -m lab support``: docs/support.md from the last results of the ring."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Final

from lab.errors import LabError
from lab.guest import TREE
from lab.ring import table

if TYPE_CHECKING:
    from lab.ring.table import Column

PAGE: Final = TREE / "docs" / "support.md"

HEAD: Final = """# Kernels and shapes that were tried

Made by `python -m lab support` from the last run of `make test-lab`. Each figure is of the last of three
photographs of a quiet guest; all three had to equal the witness. Quiet means that /proc/buddyinfo read the
same all the while. The guests have a CPU for each node and stock Debian kernels; workloads stood stopped in
them. Reasons stand in parentheses.
"""


def page(columns: dict[str, Column]) -> str:
    """Return the page: a table for each kernel, checks down, shapes across."""
    witnesses = {check.name: check.witness for check in table.CHECKS}
    parts = [HEAD]
    for kernel in dict.fromkeys(column.kernel for column in columns.values()):
        shown = [column for column in columns.values() if column.kernel == kernel]
        ran = [column for column in shown if set(column.cells.values()) != {f"({column.about})"}]
        parts.append(f"## Linux {kernel}\n")
        head = ["check", "witness", *(column.name for column in ran)]
        rows = [["the guest", "", *(column.about for column in ran)]]
        rows += [[name, witnesses[name], *(column.cells[name] for column in ran)] for name in witnesses]
        parts.append(
            "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)) + "\n"
        )
        parts += [f"- {column.name}: no figure: {column.about}." for column in shown if column not in ran]
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def main(argv: list[str]) -> int:
    """Write the page.

    Raises
    ------
    LabError
        There are no results, or cells of them did not run.
    """
    argparse.ArgumentParser(
        "lab support", description="Write docs/support.md from the ring's last results."
    ).parse_args(argv)
    try:
        columns = table.load()
    except OSError as error:
        raise LabError(f"{table.RESULTS}: {error.strerror}; `make test-lab` makes it") from error
    missing = [column.id for column in columns.values() if f"({table.NOT_RUN})" in column.cells.values()]
    if missing:
        raise LabError(f"{table.RESULTS}: some of {', '.join(missing)} was not run; `make test-lab` runs all")
    PAGE.write_text(page(columns), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE}\n")
    return 0

"""Write the parts of the documentation that are made from the code, or check that they are up to date.

Usage: gen_docs.py [--check]

``docs/cli.md`` and the man pages in ``docs/man`` are the help of every verb; the tables of
``docs/snapshot-format.md``, ``docs/quirks.md`` and ``docs/report.md`` come from the definitions that the
program runs on. With ``--check`` nothing is written and a difference is an error.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
from gen_man import pages as man_pages

from vmprobe.analyses.quirks import QUIRKS
from vmprobe.analyses.threshold import SIZES
from vmprobe.analyses.threshold_text import DEFAULTS
from vmprobe.cli.main import PROGRAM, VERBS, cli
from vmprobe.metrics import METRICS, Metric
from vmprobe.schema import TABLES
from vmprobe.units import bytes_text

DOCS = Path(__file__).resolve().parent.parent / "docs"
START, END = "<!-- {}:start -->", "<!-- {}:end -->"


def help_of(command: click.Command, name: str, parent: click.Context | None = None) -> str:
    """Return the help of one command as a terminal of 100 columns shows it."""
    settings = {**cli.context_settings, "max_content_width": 100, "terminal_width": 100}
    context = click.Context(command, info_name=name, parent=parent, **settings)
    return command.get_help(context)


def cli_page() -> str:
    """Return docs/cli.md."""
    parts = [
        "# The command line\n",
        "Made from `--help` by `make docs`; `make check` fails when it is out of date.\n",
        f"```text\n{help_of(cli, PROGRAM)}\n```\n",
    ]
    group = click.Context(cli, info_name=PROGRAM)
    for verb in VERBS:
        command = cli.get_command(group, verb)
        assert command is not None
        parts += [f"## {verb}\n", f"```text\n{help_of(command, verb, group)}\n```\n"]
    return "\n".join(parts)


def table_text() -> str:
    """Return the description of every table."""
    parts = []
    for table in TABLES.values():
        rows = [
            f"| `{c.name}` | {c.type}{' or null' if c.nullable else ''} | {c.about} |" for c in table.columns
        ]
        head = [
            f"### {table.name}",
            "",
            f"One row per {table.row}.",
            "",
            "| column | type | meaning |",
            "|---|---|---|",
        ]
        parts.append("\n".join([*head, *rows]))
    return "\n\n".join(parts)


def quirk_text() -> str:
    """Return the table of kernel quirks."""
    rows = [
        f"| `{q.id}` | {q.title} | {q.kernels} | {q.commit or 'not verified'} | {q.remedy} |" for q in QUIRKS
    ]
    return "\n".join(
        ["| quirk | what happens | where | commit | what vmprobe does |", "|---|---|---|---|---|", *rows]
    )


def figure_text() -> str:
    """Return the table of a report's figures, and the names for sizes."""
    rows = [
        f"| `{m.name}` | {m.about}{' Needs page frames.' if m.frames else ''} | {', '.join(m.labels)} |"
        f" {m.combine.value if m.labels else ''} | {_usual_limit(m)} | {_exposed(m)} |"
        for m in METRICS.values()
    ]
    sizes = ", ".join(f"`{name}` ({bytes_text(size)})" for name, size in SIZES.items())
    return "\n".join(
        [
            "| figure | what it is | labels | several | usual limit | in the metrics file |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            f"Names for `obtainable` of one size, whatever its order is on the host: {sizes}.",
            "Without `when` it is what can be had now.",
        ]
    )


def _usual_limit(metric: Metric) -> str:
    if metric.name not in DEFAULTS:
        return ""
    comparison, limit, percent = DEFAULTS[metric.name]
    return f"`{comparison} {limit}{'%' if percent else ''}`"


def _exposed(metric: Metric) -> str:
    if metric.exposed is None:
        return "no"
    return f"`{metric.exposed}`" + (f", times {metric.scale}" if metric.scale != 1 else "")


def filled(page: Path, name: str, text: str) -> str:
    """Return `page` with what stands between its markers `name` replaced."""
    start, end = START.format(name), END.format(name)
    before, found, rest = page.read_text().partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        sys.exit(f"gen_docs: {page.name} lacks the markers {start} and {end}")
    return f"{before}{start}\n\n{text}\n\n{end}{after}"


def main() -> None:
    """Write or check."""
    formats, quirks, report = DOCS / "snapshot-format.md", DOCS / "quirks.md", DOCS / "report.md"
    pages = {
        DOCS / "cli.md": cli_page(),
        formats: filled(formats, "tables", table_text()),
        quirks: filled(quirks, "quirks", quirk_text()),
        report: filled(report, "figures", figure_text()),
        **man_pages(DOCS / "man"),
    }
    stale = [page for page, text in pages.items() if not page.exists() or page.read_text() != text]
    if "--check" in sys.argv[1:]:
        if stale:
            sys.exit(f"gen_docs: out of date, run `make docs`: {', '.join(page.name for page in stale)}")
        return
    for page in stale:
        page.parent.mkdir(exist_ok=True)
        page.write_text(pages[page])


if __name__ == "__main__":
    main()

"""The man pages: there for each verb, whole, and clean for mandoc."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from vmprobe.cli.main import PROGRAM, VERBS, cli

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "man"
SECTIONS = ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "SEE ALSO")


def test_there_is_a_page_for_each_verb_and_no_other() -> None:
    expected = {f"{PROGRAM}.1", *(f"{PROGRAM}-{verb}.1" for verb in VERBS)}
    assert {path.name for path in PAGES.iterdir()} == expected


@pytest.mark.parametrize("verb", VERBS)
def test_a_page_has_every_section_and_option(verb: str) -> None:
    text = (PAGES / f"{PROGRAM}-{verb}.1").read_text()
    for section in SECTIONS:
        assert f"\n.SH {section}\n" in text
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    shown = text.replace("\\-", "-")
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert all(f"\\fB{name}\\fR" in shown for name in parameter.opts), parameter.opts


@pytest.fixture(scope="module")
def mandoc() -> str:
    """The path of mandoc."""
    program = shutil.which("mandoc")
    if program is None:
        pytest.skip("mandoc is missing (Debian package mandoc)")
    return program


@pytest.mark.live
def test_mandoc_has_nothing_to_say_of_the_pages(mandoc: str, tmp_path: Path) -> None:
    pages = sorted(map(str, PAGES.iterdir()))
    command = [mandoc, "-T", "lint", "-W", "warning"]
    done = subprocess.run([*command, *pages], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)
    planted = tmp_path / "planted.1"
    planted.write_text(Path(pages[0]).read_text().replace(".TP\n", ".TQQ\n", 1))
    done = subprocess.run([*command, str(planted)], capture_output=True, text=True, check=False)
    assert "TQQ" in done.stdout


@pytest.mark.live
@pytest.mark.parametrize("verb", ["sql", "compact"])
def test_a_page_reads_as_the_help_does(mandoc: str, verb: str) -> None:
    command = [mandoc, "-T", "utf8", "-O", "width=1000", str(PAGES / f"{PROGRAM}-{verb}.1")]
    page = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    page = re.sub(".\b", "", page)  # bold is a letter struck twice
    done = subprocess.run(
        [sys.executable, "-m", "vmprobe", verb, "--help"],
        capture_output=True, text=True, check=True, env={"COLUMNS": "1000", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip

    words = re.compile(r"[A-Za-z0-9_$/'*]{3,}")
    said = {"Usage", "Options", *words.findall(page)}
    assert [word for word in words.findall(done.stdout) if word not in said] == []

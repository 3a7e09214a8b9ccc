"""The repository's own rules: sizes of files, architecture, documentation, imports, licence."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from vmprobe.cli.main import VERBS

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    p
    for part in ("vmprobe", "kernelmodel", "lab", "tests", "tools", "benchmarks")
    for p in (ROOT / part).rglob("*.py")
)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_grows_past_500_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 500


def run(code: str) -> str:
    """Run Python in a fresh process and return what it prints."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout


def test_importing_vmprobe_loads_nothing_heavy() -> None:
    heavy = {"numpy", "duckdb", "ptrace", "psutil", "rich", "click", "kernelmodel"}
    loaded = set(run("import sys, vmprobe; print(*sys.modules)").split())
    assert "vmprobe" in loaded
    assert not heavy & loaded


def test_the_lazy_functions_are_there() -> None:
    assert run("import vmprobe; print(vmprobe.load.__name__, vmprobe.snapshot.__name__)").split() == [
        "load",
        "take",
    ]


def test_the_model_works_without_vmprobe() -> None:
    assert not re.search(r"\bvmprobe\b", run("import sys, kernelmodel.pageclass; print(*sys.modules)"))


def test_taking_without_freezing_never_loads_ptrace() -> None:
    assert "ptrace" not in run("import sys, vmprobe.collect; print(*sys.modules)").split()


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_documented(verb: str) -> None:
    assert f"## {verb}\n" in (ROOT / "docs" / "cli.md").read_text()
    assert f"vmprobe {verb}" in (ROOT / "README.md").read_text()


PLANTED = [
    ("kernelmodel/planted.py", "import os\n", "does no I/O"),
    ("kernelmodel/planted.py", "import vmprobe.units\n", "knows nothing of vmprobe"),
    ("vmprobe/analyses/planted.py", "import vmprobe.collect.lanes\n", "needs no machine"),
    ("vmprobe/analyses/planted.py", "import kernelmodel.pageclass\n", "only the bridge"),
    ("vmprobe/store/planted.py", "import psutil\n", "needs no machine"),
    ("vmprobe/formats/planted.py", "import os\n", "parsers are pure"),
    ("vmprobe/formats/planted.py", "import vmprobe.sources.meter\n", "only what stands below"),
    ("vmprobe/formats/vmstat.py", "import vmprobe.formats.meminfo\n", "do not know one another"),
    ("vmprobe/collect/planted.py", "import vmprobe.cli.main\n", "only what stands below"),
    ("vmprobe/newpart/__init__.py", "", "only what stands below"),
    ("vmprobe/bridge/planted.py", "import lab.shapes\n", "nothing that is shipped knows it"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("place", "line", "contract"), PLANTED, ids=[f"{p}-{c}" for p, _, c in PLANTED])
def test_each_contract_trips_on_a_planted_import(
    tmp_path: Path, place: str, line: str, contract: str
) -> None:
    for name in ("vmprobe", "kernelmodel", "lab", ".importlinter"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(tmp_path / name)], check=True)
    planted = tmp_path / place
    planted.parent.mkdir(exist_ok=True)
    planted.write_text(line + (planted.read_text() if planted.exists() else ""))
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(tmp_path)}
    )
    assert done.returncode == 1, done.stdout
    broken = [row for row in done.stdout.splitlines() if " BROKEN" in row]
    assert any(contract in row for row in broken), done.stdout

"""Golden files: every file of a parser's name under fixtures/proc is a test of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

PROC = Path(__file__).parents[2] / "fixtures" / "proc"


@pytest.fixture
def proc() -> Path:
    """The folder of captured /proc files, a folder per kernel and shape."""
    return PROC


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that asks for `golden` each captured file called the module's NAME, at least one."""
    if "golden" not in metafunc.fixturenames:
        return
    name = metafunc.module.NAME
    paths = sorted(p for p in PROC.rglob(name) if p.is_file())
    assert paths, f"fixtures/proc holds no file called {name}"
    metafunc.parametrize("golden", paths, ids=[str(p.relative_to(PROC)) for p in paths])

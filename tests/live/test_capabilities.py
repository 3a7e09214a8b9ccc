"""The privileges that the printed service has are those that a snapshot needs: all of them, and no others."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from vmprobe.render import service

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

NAMES = tuple(
    next(line for line in service.PRIVILEGES.splitlines() if line.startswith("CapabilityBoundingSet="))
    .partition("=")[2]
    .split()
)
NOBODY = "65534"

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.slow, pytest.mark.usefixtures("root_only")]


@pytest.fixture
def other() -> Iterator[int]:
    """The pid of another user's process."""
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is missing (Debian package util-linux)")
    command = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()  # from here on it is cat, and nobody's
        yield process.pid


def ask(held: Sequence[str], *arguments: str) -> dict[str, Any]:
    """Run a verb with no capabilities but `held` and no way to more, and return what ``--json`` says."""
    allowed = ",".join(["-all", *(f"+{name.lower().removeprefix('cap_')}" for name in held)])
    command = ["setpriv", "--no-new-privs", f"--bounding-set={allowed}", f"--inh-caps={allowed}", "--"]
    done = subprocess.run(
        [*command, sys.executable, "-m", "vmprobe", *arguments, "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_with_the_privileges_of_the_service_nothing_is_missing(tmp_path: Path, other: int) -> None:
    answer = ask(NAMES, "snapshot", "--pid", str(other), "-o", str(tmp_path / "a.vmsnap"))
    assert answer["unread"] == []
    assert answer["rows"]["frames"] > 0
    assert answer["rows"]["mappings"] > 0


@pytest.mark.parametrize("missing", NAMES)
def test_without_one_of_them_there_is_a_gap(tmp_path: Path, other: int, missing: str) -> None:
    held = [name for name in NAMES if name != missing]
    answer = ask(held, "snapshot", "--pid", str(other), "--no-frames", "-o", str(tmp_path / "a.vmsnap"))
    assert any(missing in (entry["needs"] or "") for entry in answer["unread"])


def test_a_report_without_frames_needs_none_of_them(other: int) -> None:
    root, nobody = ask(NAMES, "report", "--no-frames"), ask((), "report", "--no-frames")
    assert root["missing"] == nobody["missing"]
    assert [row["now"] is None for row in root["obtainable"]] == [
        row["now"] is None for row in nobody["obtainable"]
    ]
    assert root["events"].keys() == nobody["events"].keys()

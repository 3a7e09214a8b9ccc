"""The model of address spaces against stock kernels, whose merge rules differ: the live test in guests."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from lab.guest import TREE
from lab.kernels import KERNELS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.lab
COMMAND = (
    'cd "$LAB_TREE" && python3 -m pytest -q -p no:cacheprovider -m "not slow"'
    " tests/live/test_mm_conformance.py"
)


@pytest.mark.parametrize("kernel", KERNELS)
def test_address_spaces_are_those_of_the_kernel(kernel: str, tmp_path: Path) -> None:
    guest = ("--kernel", kernel, "--memory", "1G", "--cpus", "1", "--time-limit", "400")
    command = [sys.executable, "-m", "lab", "run", *guest, "--", "sh", "-c", COMMAND]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=TREE, timeout=500)
    if done.returncode == 75:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    # A rule that a kernel has not cannot be flipped: that one test skips, and no other.
    counted = re.search(r"^(\d+) passed(?:, (\d) skipped)?", done.stdout, re.MULTILINE)
    assert counted is not None, done.stdout
    assert int(counted[1]) >= 35
    assert int(counted[2] or 0) <= 1

"""The mechanisms of sharing on stock kernels with swap, huge pages and KSM: made and recognised."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from lab.guest import TREE
from lab.kernels import KERNELS
from tests.live.workloads import judge
from tests.live.workloads.catalogue import NOT_MADE, WORKLOADS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.lab
SHAPE = (
    *("--memory", "1G", "--cpus", "2", "--swap", "file:64M", "--hugepages", "16", "--ksm"),
    # The last 64 MiB are a device, for a file system whose files are that memory.
    *("--append", "secretmem.enable=1 memmap=64M!896M", "--time-limit", "900"),
)
COMMAND = """
modprobe -a nd_e820 nd_pmem
for _ in $(seq 100); do [ -b /dev/pmem0 ] && break; sleep 0.1; done
mkfs.ext4 -q -b 4096 /dev/pmem0 && mkdir /run/dax && mount -o dax /dev/pmem0 /run/dax || exit 3
cd "$LAB_TREE" && python3 -P -m tests.live.workloads --json "$LAB_OUT/rows.json"
"""

MAY_LACK = {
    "guard-pages": "madvise 102",
    "kvm": "/dev/kvm",
    "udmabuf": "/dev/udmabuf",
    "lru-batch": "the kernel had freed",
}
"""What these kernels may be without, and how the reason begins; all else must be there."""


@pytest.fixture(scope="module", params=KERNELS)
def rows(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What one guest brought back."""
    folder: Path = tmp_path_factory.mktemp("sharing") / "out"
    words = ("--kernel", request.param, *SHAPE, "--files", str(folder))
    command = [sys.executable, "-m", "lab", "run", *words, "--", "sh", "-c", COMMAND]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=TREE, timeout=1000)
    if done.returncode == 75:
        pytest.skip(done.stderr.strip())
    sys.stdout.write(done.stdout)
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    found: list[dict[str, Any]] = json.loads((folder / "rows.json").read_text())
    return found


def test_each_mechanism_is_recognised(rows: list[dict[str, Any]]) -> None:
    bad = [judge.Row(**row) for row in rows if row["verdict"] in {judge.DIFFERS, judge.FAILED}]
    assert not bad, "\n" + judge.table(bad)


def test_nothing_is_skipped_that_these_kernels_have(rows: list[dict[str, Any]]) -> None:
    assert [row["workload"] for row in rows if row["workload"] != "-"] == list(WORKLOADS)
    assert {row["mechanism"] for row in rows if row["workload"] == "-"} == set(NOT_MADE)
    for row in rows:
        if row["verdict"] == judge.SKIPPED and row["workload"] != "-":
            assert row["reason"].startswith(MAY_LACK[row["workload"]]), row

"""A process by its pid: found, not there, a kernel thread, not read, not permitted."""

from __future__ import annotations

import pytest

from tests.synthetic import MANIFEST, snapshot
from vmprobe.analyses.process import address_space
from vmprobe.errors import InputError, PrivilegeError, UsageError

DENIED = {
    "unread": [
        {"what": "kpageflags", "reason": "Permission denied", "needs": "root", "lost": "frames", "count": 1},
        {"what": "memory of processes", "reason": "Permission denied", "needs": "CAP_SYS_PTRACE",
         "lost": "vmas, mappings", "count": 1}
    ]
}  # fmt: skip


def test_a_process_has_a_name_and_an_address_space() -> None:
    assert address_space(snapshot(), 71) == ("worker", 1)


@pytest.mark.parametrize(("pid", "words"), [(4711, "process 4711 is not in"), (2, "is a kernel thread")])
def test_a_pid_that_cannot_be_meant_is_wrong_usage(pid: int, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        address_space(snapshot(), pid)
    with pytest.raises(UsageError, match="is not in the snapshot"):
        address_space(snapshot(without=("tasks",)), pid)


def test_a_snapshot_of_chosen_processes_says_so() -> None:
    chosen = {"options": MANIFEST["options"] | {"pids": [70]}}
    with pytest.raises(UsageError) as caught:
        address_space(snapshot(manifest=chosen), 4711)
    assert caught.value.hint == "it was taken of chosen processes only"


def test_memory_that_was_not_read_is_a_matter_of_the_snapshot_or_of_privilege() -> None:
    with pytest.raises(InputError, match=r"process 1 \(init\) is not in the snapshot: Permission denied"):
        address_space(snapshot(path="saved.vmsnap", manifest=DENIED), 1)
    with pytest.raises(PrivilegeError, match=r"the memory of process 1 \(init\): needs CAP_SYS_PTRACE"):
        address_space(snapshot(manifest=DENIED), 1)
    # What has vanished comes back with no privilege.
    with pytest.raises(InputError, match="vanished"):
        address_space(snapshot(manifest=DENIED), 91)

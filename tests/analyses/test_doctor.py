"""vmprobe.analyses.doctor: verdict, sources and next steps for each kind of refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.synthetic import MANIFEST, rows, snapshot
from vmprobe.analyses.doctor import SOURCES, Doctor, doctor
from vmprobe.analyses.doctor_layout import layout
from vmprobe.analyses.parts import Note

if TYPE_CHECKING:
    from vmprobe.tables import Table

READ = [{"name": source.name, "seconds": 0.5, "bytes": 1000, "reads": 1} for source in SOURCES]
DENIED = "Permission denied"
MAPPINGS = "mm vma vpn nr_pages kind pfn exclusive file soft_dirty uffd_wp unstable"


def tasks(*errors: str | None) -> Table:
    return rows("tasks", "pid frozen error", *((pid, False, error) for pid, error in enumerate(errors, 1)))


def host(
    *,
    unread: tuple[tuple[str, str], ...] = (),
    errors: tuple[str | None, ...] = (None, None),
    pfn: int | None = 77,
    told: bool = True,
    **privileges: Any,
) -> Doctor:
    entries = [{"what": w, "reason": r, "needs": "root", "lost": None, "count": 1} for w, r in unread]
    mappings = rows("mappings", MAPPINGS, (1, 0, 9, 3, "present", pfn, False, False, False, False, False))
    merged = rows("tasks", "pid frozen ksm_merging_pages", (1, False, 5), (2, False, None))
    return doctor(
        snapshot(
            tasks=merged if told and errors == (None, None) else tasks(*errors),
            mappings=mappings,
            **({"fds": rows("fds", "pid fd target", (1, 3, "pipe:[7]"))} if told else {}),
            manifest={"sources": READ, "unread": entries, "privileges": MANIFEST["privileges"] | privileges},
        )
    )


def status(answer: Doctor, name: str) -> tuple[str, str | None]:
    return next((row.status, row.reason) for row in answer.sources if row.name == name)


def test_a_host_that_shows_everything() -> None:
    answer = host()
    assert answer.complete
    assert answer.verdict == f"all {len(SOURCES)} sources can be read"
    assert {row.status for row in answer.sources} == {"yes"}
    assert answer.hints == ()
    flags = answer.sources[0]
    assert (flags.duration_seconds, flags.nr_bytes, flags.bytes_per_second) == (0.5, 1000, 2000)


def test_the_verdict_comes_first() -> None:
    answer = host(unread=(("kpageflags", DENIED),), euid=1000, capabilities=[])
    first = layout(answer).parts[0]
    assert isinstance(first, Note)
    assert first.lines == (f"1 of {len(SOURCES)} sources cannot be read in full: kpageflags",)
    assert status(answer, "kpageflags") == ("no", DENIED)
    assert not answer.complete


def test_a_user_is_told_root_and_the_capabilities() -> None:
    commands = [
        hint.command for hint in host(unread=(("kpageflags", DENIED),), euid=1000, capabilities=[]).hints
    ]
    assert commands[0] == "sudo vmprobe doctor"
    assert commands[1] is not None
    assert "--ambient-caps=+sys_admin,+sys_ptrace,+dac_read_search" in commands[1]


def test_a_user_namespace_of_its_own_needs_the_hosts() -> None:
    commands = [hint.command for hint in host(pfn=None, initial_userns=False).hints]
    assert commands[0] == "sudo vmprobe doctor"
    assert commands[1] is not None
    assert "--userns=host" in commands[1]
    assert "--procfs /host/proc" in commands[1]


def test_root_without_capabilities_is_in_a_container() -> None:
    commands = [hint.command for hint in host(pfn=None, capabilities=[]).hints]
    assert len(commands) == 1
    assert commands[0] is not None
    assert "--cap-add SYS_ADMIN" in commands[0]


def test_frame_numbers_that_are_hidden_are_named() -> None:
    assert status(host(pfn=None), "frame numbers") == ("no", "the kernel hides them")
    assert status(host(pfn=7), "frame numbers") == ("yes", None)


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ((None, None), ("yes", None)),
        ((None, "vanished while it was read"), ("yes", None)),
        ((None, DENIED), ("partly", "1 of 2 processes refuse")),
        ((DENIED, "Operation not permitted"), ("no", "2 of 2 processes refuse")),
    ],
)
def test_processes_that_refuse_are_counted(
    errors: tuple[str | None, ...], expected: tuple[str, str | None]
) -> None:
    assert status(host(errors=errors), "maps") == expected


def test_one_process_that_refuses_root_is_no_reason_for_a_container() -> None:
    hints = host(errors=(None, DENIED)).hints
    assert [hint.command for hint in hints] == [None]


def test_a_file_that_the_kernel_does_not_have_needs_no_privilege() -> None:
    answer = host(unread=(("kpagecgroup", "No such file or directory"),), euid=1000, capabilities=[])
    assert status(answer, "kpagecgroup") == ("no", "No such file or directory")
    assert answer.hints == ()


def test_hidepid_has_its_own_hint() -> None:
    hidden = "PID 1 is not listed: hidepid hides other users' processes"
    commands = [hint.command for hint in host(unread=(("processes", hidden),)).hints]
    assert commands == ["mount -o remount,hidepid=0 /proc"]


def test_what_was_not_asked_for_is_not_called_unreadable() -> None:
    answer = doctor(snapshot(without=("frames",), tasks=tasks(None), manifest={"sources": [], "unread": []}))
    assert answer.complete
    assert status(answer, "kpageflags") == ("not read", None)
    assert answer.verdict.startswith("everything that was asked for can be read; not asked for: kpageflags")


@pytest.mark.parametrize("name", ["fds", "ksm_stat"])
def test_what_some_processes_gave_is_read_in_part(name: str) -> None:
    assert status(host(), name) == ("yes", None)
    refusing = ((name, DENIED),)
    assert status(host(unread=refusing), name) == ("partly", "refused 1 times")
    assert status(host(unread=refusing, told=False), name) == ("no", DENIED)
    cut = "more than 65536 open files: only the first are looked at"
    assert status(host(unread=((name, cut),)), name) == ("partly", cut)


@pytest.mark.parametrize("name", ["sysvipc", "loadavg"])
def test_what_the_whole_host_gives_is_there_or_not(name: str) -> None:
    assert status(host(unread=((name, "No such file or directory"),)), name) == (
        "no",
        "No such file or directory",
    )

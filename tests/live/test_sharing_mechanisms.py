"""Each mechanism of sharing, made on this host: recognised with its figures, absent from a control."""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.live.workloads import judge
from tests.live.workloads.catalogue import NOT_MADE, WORKLOADS
from tests.live.workloads.run import judged

if TYPE_CHECKING:
    from tests.live.workloads.judge import Row

PAGE = 4096
ROW = judge.Row("made", "ksm")
WANTED: dict[str, Any] = {"frames": 24, "processes": 2, "bytes": None, "entries": 48, "least": ("processes",)}
NOTHING: dict[str, Any] = {"mechanisms": [], "processes": []}


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    """What is reported with all workloads held at once."""
    if os.geteuid():
        pytest.skip("needs root: frame numbers and frame words are for root alone")
    return {row.workload: row for row in judged([])}


@pytest.mark.live
@pytest.mark.root
@pytest.mark.parametrize("name", WORKLOADS)
def test_a_mechanism_is_recognised_and_absent_from_the_control(name: str, rows: dict[str, Row]) -> None:
    row = rows[name]
    if row.verdict == judge.SKIPPED:
        pytest.skip(row.reason)
    assert row.verdict == judge.SAME, "\n" + judge.table([row])


def test_every_mechanism_has_a_workload_or_a_reason() -> None:
    """The names of the issue, which nobody may drop."""
    named = (
        "zero-page huge-zero-page shared-mm hugetlb-pmd-sharing pfnmap mixedmap vdso dax ksm"
        " ksm-zero swap-slot swap-cache migration-entry page-cache-unmapped same-file-other-path"
        " fd-only sysv-unattached shmem-swapped pinned pipe-buffer kvm-guest userfaultfd bpf-map"
        " dma-buf perf-ring large-folio-average partial-folio mapped-twice hidden-mappers exiting-mm"
        " secretmem lru-batch"
    )
    made = {workload.mechanism for workload in WORKLOADS.values()}
    assert made - {""} | set(NOT_MADE) == set(named.split())


def document(**figures: Any) -> dict[str, Any]:
    """Return a report of one mechanism."""
    each = {"mechanism": "ksm", "evidence": "proved", "bytes": None, **figures}
    return {"mechanisms": [each], "processes": []}


GOOD = document(frames=24, processes=3, entries=48)


def of_processes(asked: dict[str, Any], control: dict[str, Any]) -> str:
    return judge.of_processes(ROW, WANTED, [GOOD, asked], control).verdict


def test_a_report_that_is_right_is_the_same() -> None:
    assert of_processes(GOOD, NOTHING) == judge.SAME


@pytest.mark.parametrize(
    "planted", [{"frames": 23}, {"frames": 25}, {"frames": None}, {"processes": 1}, {"entries": 47}]
)
def test_one_figure_that_is_wrong_is_noticed(planted: dict[str, Any]) -> None:
    wrong = copy.deepcopy(GOOD)
    wrong["mechanisms"][0] |= planted
    assert of_processes(wrong, NOTHING) == judge.DIFFERS


def test_a_control_with_the_mechanism_is_noticed() -> None:
    assert of_processes(GOOD, document(frames=1, processes=1, entries=1)) == judge.DIFFERS


def test_a_process_without_the_mechanism_is_noticed() -> None:
    assert of_processes(NOTHING, NOTHING) == judge.DIFFERS
    row = judge.of_processes(ROW, WANTED, [GOOD, NOTHING], NOTHING)
    assert row.reported == judge.ABSENT


def test_figures_of_several_kinds_of_evidence_are_added() -> None:
    both = {"mechanisms": [*document(frames=20, processes=3, entries=40)["mechanisms"]], "processes": []}
    both["mechanisms"] += document(frames=4, processes=2, entries=8)["mechanisms"]
    both["mechanisms"][1]["evidence"] = "likely"
    row = judge.of_processes(ROW, WANTED, [both], NOTHING)
    assert (row.verdict, row.evidence) == (judge.SAME, "proved, likely")
    both["mechanisms"][1]["frames"] = None
    assert judge.figures(both, "ksm") == {"frames": None, "processes": 3, "bytes": None, "entries": 48}


@pytest.mark.parametrize(
    ("named", "moved", "verdict"),
    [
        (24, 0, judge.SAME),
        (22, 2, judge.SAME),
        (23, 0, judge.DIFFERS),
        (25, 0, judge.DIFFERS),
        (21, 3, judge.DIFFERS),
    ],
)
def test_each_frame_that_was_made_is_named(named: int, moved: int, verdict: str) -> None:
    assert judge.of_frames(ROW, WANTED, named, moved, "proved").verdict == verdict


@pytest.mark.parametrize(("before", "verdict"), [(6, judge.SAME), (5, judge.SAME), (7, judge.DIFFERS)])
def test_what_grew_on_the_whole_host_is_at_least_what_was_made(before: int, verdict: str) -> None:
    wanted = {**WANTED, "processes": None, "entries": None}
    row = judge.of_host(ROW, wanted, document(frames=before), document(frames=30))
    assert row.verdict == verdict
    assert judge.of_host(ROW, wanted, NOTHING, document(frames=24)).verdict == judge.SAME
    assert judge.of_host(ROW, wanted, NOTHING, NOTHING).verdict == judge.DIFFERS


@pytest.mark.parametrize(
    ("name", "more", "verdict"),
    [
        ("rss_bytes", 0, judge.SAME),
        ("pss_bytes", PAGE // 2, judge.DIFFERS),
        ("uss_bytes", PAGE, judge.DIFFERS),
    ],
)
def test_accounts_are_equal_to_the_byte(name: str, more: int, verdict: str) -> None:
    def asked(pid: int, rss: int, pss: int, uss: int) -> dict[int, Any]:
        account = {"pid": pid, "rss_bytes": rss * PAGE, "pss_bytes": pss * PAGE, "uss_bytes": uss * PAGE}
        return {pid: {"mechanisms": [], "processes": [account]}}

    control = ({"accounts": {"8": (25, 25, 25)}}, asked(8, 25, 25, 25))
    made = asked(7, 25, 19, 13)
    made[7]["processes"][0][name] += more
    wanted = {"accounts": {"7": (25, 19, 13)}}
    assert judge.of_accounts(ROW, wanted, made, control).verdict == verdict
    made[7]["mechanisms"] = GOOD["mechanisms"]
    assert judge.of_accounts(ROW, wanted, made, control).verdict == judge.DIFFERS

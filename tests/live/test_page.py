"""Pages of our own children on the live kernel: who maps them, and what stands behind other addresses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from lab.workloads.children import TREE
from tests.live.held import held
from vmprobe.analyses.page import page
from vmprobe.cli.main import run
from vmprobe.collect import Options, take

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmprobe.analyses.page_answer import Page

pytestmark = [pytest.mark.live, pytest.mark.root]
PAGE = os.sysconf("SC_PAGE_SIZE")


def mappers(answer: Page) -> set[tuple[int | None, int]]:
    assert answer.mappings is not None
    return {(row.pid, row.address) for row in answer.mappings}


def inside(ranges: list[list[int]], index: int) -> bool:
    return any(first <= index < end for first, end in ranges)


def test_private_shared_and_file_pages_of_a_family(root_only: None) -> None:
    with held("forks children=3 pages=48 share=0.6") as (truth,):
        snapshot = take(Options())
    private, shared, file = truth["areas"]
    parent = truth["pid"]
    family = {parent: [], **{child["pid"]: child["own"] for child in truth["children"]}}
    # One page for each number of processes that left it as it was.
    untouched = {
        index: {pid for pid, own in family.items() if not inside(own, index)}
        for index in range(private["nr_pages"])
    }
    chosen = {len(pids): index for index, pids in untouched.items()}
    assert len(chosen) > 2
    for nr, index in chosen.items():
        at = private["start"] + index * PAGE
        answer = page(snapshot, at=(parent, at + index))
        assert mappers(answer) == {(pid, at) for pid in untouched[index]}
        assert (answer.page_class, answer.entries) == ("anonymous", nr)
        for pid in sorted(set(family) - untouched[index])[:1]:
            assert mappers(page(snapshot, at=(pid, at))) == {(pid, at)}
    for area, kinds in ((shared, {"shmem"}), (file, {"file", "shmem"})):
        at = area["start"] + PAGE
        answer = page(snapshot, at=(truth["children"][2]["pid"], at))
        assert mappers(answer) == {(pid, at) for pid in family}
        assert answer.page_class in kinds
        assert answer.mappings is not None
        assert {row.vma_start for row in answer.mappings} == {area["start"]}
    assert all(
        row.vma_name.startswith(truth["folder"]) for row in answer.mappings if row.vma_name is not None
    )
    of_frame = page(snapshot, answer.pfn)
    assert (of_frame.mappings, of_frame.movable, of_frame.pageblock) == (
        answer.mappings, answer.movable, answer.pageblock,
    )  # fmt: skip


def test_a_transparent_huge_page(root_only: None) -> None:
    with held("huge bytes=4M kind=thp") as (truth,):
        snapshot = take(Options())
    at = truth["areas"][0]["start"] + 700 * PAGE
    answer = page(snapshot, at=(truth["pid"], at))
    assert mappers(answer) == {(truth["pid"], at)}
    assert answer.folio is not None
    assert answer.pfn is not None
    assert answer.movable is not None
    assert (answer.folio.head_pfn + 700 % 512, answer.folio.order) == (answer.pfn, 9)
    assert answer.movable.verdict in {"yes", "if"}
    # A neighbour in the same folio lies one page further.
    assert mappers(page(snapshot, answer.pfn + 1)) == {(truth["pid"], at + PAGE)}


def test_processes_that_share_their_memory_are_all_named(start: Callable[..., Any], root_only: None) -> None:
    child = start("shared_mm")
    answer = page(take(Options()), at=(child.pid, child.facts["start"]))
    family = (child.pid, child.facts["cloned"], child.facts["forked"])
    assert mappers(answer) == {(pid, child.facts["start"]) for pid in family}
    assert (answer.entries, answer.mapcount) == (2, 2)


def test_addresses_without_a_page(start: Callable[..., Any], root_only: None) -> None:
    child = start("sparse")
    facts = child.facts
    snapshot = take(Options())
    kinds = {facts["touched"][0]: "present", facts["touched"][0] + PAGE: "none", facts["guard"]: "guard"}
    for address, kind in kinds.items():
        if address is not None:
            answer = page(snapshot, at=(child.pid, address))
            assert answer.at is not None
            assert (answer.at.kind, answer.pfn is not None) == (kind, kind == "present")


def test_the_command_line_on_this_host(
    start: Callable[..., Any], root_only: None, capsys: pytest.CaptureFixture[str]
) -> None:
    child = start("quiet")
    address = child.facts["start"]
    assert run(["page", "--at", f"{child.pid}:{address + 5:x}", "--json"]) == 0
    by_address = json.loads(capsys.readouterr().out)
    assert [(row["pid"], row["address"]) for row in by_address["mappings"]] == [(child.pid, address)]
    assert (by_address["mapcount"], by_address["unseen_mappers"]) == (1, 0)
    assert run(["page", hex(by_address["pfn"]), "--json"]) == 0
    by_frame = json.loads(capsys.readouterr().out)
    assert by_frame["mappings"] == by_address["mappings"]
    # Memory that was only read is the shared zero page: mapped, and not counted.
    assert run(["page", "--at", f"{child.pid}:{address + 40 * PAGE:#x}", "--json"]) == 0
    zero = json.loads(capsys.readouterr().out)
    assert (zero["class"], zero["mapcount"]) == ("zero page", 0)
    # It is every process's: others may map it while we look.
    assert zero["mechanism"] in {"zero-page", "unstable"}
    assert (child.pid, address + 40 * PAGE) in {(row["pid"], row["address"]) for row in zero["mappings"]}
    assert zero["entries"] >= 8
    assert not zero["unseen_mappers"]


def test_without_privilege_the_missing_one_is_named(root_only: None) -> None:
    command = [sys.executable, "-m", "vmprobe", "page", "1"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=TREE, user=65534, group=65534,
        extra_groups=[], env={"PYTHONPATH": str(TREE), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    if done.returncode == 1 or "No module" in done.stderr:
        pytest.skip(f"nobody can run {sys.executable}: {done.stderr.splitlines()[-1]}")
    assert (done.returncode, done.stdout) == (4, "")
    assert "kpageflags" in done.stderr
    assert "CAP_DAC_READ_SEARCH" in done.stderr

"""What of the lab needs no guest: shapes, exact reasons, the table and the page made of it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lab import __main__ as command
from lab import guest, kernels, support, tools
from lab.errors import DiffersError, LabError, UnavailableError
from lab.ring import table
from lab.ring.checks_frames import SLAB, without_recycled
from lab.ring.guests import GUESTS
from lab.shapes import Shape

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"memory_bytes": 1 << 20}, "256M to 12G"),
        ({"memory_bytes": 13 << 30}, "256M to 12G"),
        ({"nodes": 3}, "3 nodes need as many CPUs"),
        ({"hugepages": 600}, "more than half"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        Shape(**wrong)


def test_a_shape_asks_for_what_its_kernel_must_have() -> None:
    shape = Shape(nodes=2, swap=(("file", 1 << 20),), hugepages=1, ksm=True, cma_bytes=1, page_owner=True)
    assert shape.needed_options == (
        "CONFIG_NUMA",
        "CONFIG_HUGETLBFS",
        "CONFIG_KSM",
        "CONFIG_CMA",
        "CONFIG_PAGE_OWNER",
    )
    assert shape.kernel_parameters == "mitigations=off hugepages=1 cma=1 page_owner=on"
    assert shape.scratch_bytes == (1 << 20) + (64 << 20)


def test_a_kernel_names_what_it_was_built_without(tmp_path: Path) -> None:
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot" / "config-6.x").write_text("CONFIG_KSM=y\nCONFIG_ZRAM=m\n# CONFIG_CMA is not set\n")
    kernel = kernels.Kernel("6", "6.x", tmp_path)
    assert kernel.lacks(("CONFIG_KSM", "CONFIG_ZRAM", "CONFIG_CMA", "CONFIG_NUMA")) == [
        "CONFIG_CMA",
        "CONFIG_NUMA",
    ]


def test_the_newest_package_of_a_series_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    names = ["linux-image-6.1.0-9-amd64-unsigned", "linux-image-6.1.0-56-amd64-unsigned"]
    for name in (*names, "linux-image-6.1.0-99-cloud-amd64-unsigned"):
        (tmp_path / "vmprobe-lab" / name).mkdir(parents=True)
    monkeypatch.setattr(kernels, "_package_names", lambda _series: [names[0]])
    found = kernels.get("6.1")
    assert (found.release, found.image.name) == ("6.1.0-56-amd64", "vmlinuz-6.1.0-56-amd64")


def without_programs(monkeypatch: pytest.MonkeyPatch, *gone: str) -> None:
    which = shutil.which
    monkeypatch.setattr(
        tools.shutil, "which", lambda name, **words: None if name in gone else which(name, **words)
    )


@pytest.mark.parametrize(
    ("gone", "euid", "words"),
    [
        (("busybox",), 1000, "missing: busybox-static; as root: `apt-get install -y"),
        (("busybox", "apt-get"), 0, "missing: busybox-static; there is no apt-get here to get it with"),
    ],
)
def test_what_is_missing_and_may_not_be_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, gone: tuple[str, ...], euid: int, words: str
) -> None:
    without_programs(monkeypatch, *gone)
    monkeypatch.setattr(tools.os, "geteuid", lambda: euid)
    monkeypatch.setattr(tools, "vng", lambda: Path("/"))
    monkeypatch.setattr(tools, "PACKAGES", {"busybox": "busybox-static"})
    with pytest.raises(UnavailableError, match=re.escape(words)):
        tools.ensure()


def test_another_architecture_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools.platform, "machine", lambda: "aarch64")
    with pytest.raises(UnavailableError, match="boots amd64 kernels, and this is aarch64"):
        tools.ensure()


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UnavailableError("no QEMU"), 75, "lab: skipped: no QEMU\n"),
        (LabError("it broke"), 1, "lab: it broke\n"),
        (KeyboardInterrupt(), 130, "lab: interrupted\n"),
    ],
)
def test_errors_are_one_line_and_a_status(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    line: str,
) -> None:
    def fail(_argv: list[str]) -> int:
        raise error

    monkeypatch.setattr("lab.run.main", fail)
    assert command.main(["run", "--", "true"]) == status
    assert capsys.readouterr().err == line


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([]) == 2
    assert command.main(["nonsense"]) == 2
    assert command.main(["--help"]) == 0
    told = capsys.readouterr()
    for name in command.COMMANDS:
        assert f"\n  {name}" in told.out
        assert f"\n  {name}" in told.err


@pytest.mark.parametrize(
    "words", [["--memory", "lots"], ["--swap", "tape:1M"], ["--numa", "2", "--memory", "1K"]]
)
def test_a_wrong_option_is_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        command.main(["run", *words, "--", "true"])
    assert end.value.code == 2
    assert capsys.readouterr().out == ""


def test_every_guest_has_a_name_of_its_own_and_every_check_too() -> None:
    assert len({made.id for made in GUESTS}) == len(GUESTS)
    assert len({check.name for check in table.CHECKS}) == len(table.CHECKS)


def test_results_come_back_as_they_were_saved(tmp_path: Path) -> None:
    columns = table.empty()
    columns["6.1 cma"].about = "built without it"
    columns["6.1 cma"].cells = dict.fromkeys(columns["6.1 cma"].cells, "(built without it)")
    table.save(columns, tmp_path / "x" / "results.json")
    assert table.load(tmp_path / "x" / "results.json") == columns
    shown = table.text(columns)
    assert shown.count("(built without it)") == len(table.CHECKS), "and no other guest"


def test_guests_that_were_not_run_keep_their_results(tmp_path: Path) -> None:
    first, second = table.empty(), table.empty()
    first["6.1 swap"].about, second["6.1 ksm"].about = "ran first", "ran later"
    for columns in (first, second):
        table.save(columns, tmp_path / "results.json")
    kept = table.load(tmp_path / "results.json")
    assert [kept[name].about for name in ("6.1 swap", "6.1 ksm")] == ["ran first", "ran later"]


def test_a_guest_that_was_never_quiet_enough_fails_the_check() -> None:
    class Restless:
        rounds: tuple[()] = ()
        facts = {"rounds": {"quiet": 0, "attempts": 16}}  # noqa: RUF012

    with pytest.raises(DiffersError, match="0 of 16 rounds were quiet, 3 are needed"):
        table.cell(table.CHECKS[0], Restless())  # type: ignore[arg-type]


def test_support_needs_every_cell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table.save(table.empty(), tmp_path / "results.json")
    load = table.load
    monkeypatch.setattr(table, "load", lambda: load(tmp_path / "results.json"))
    with pytest.raises(LabError, match="was not run; `make test-lab` runs all"):
        support.main([])


def test_the_support_page_has_every_guest_and_check_and_no_empty_cell() -> None:
    text = support.PAGE.read_text()
    for made in GUESTS:
        section = text.partition(f"## Linux {made.shape.kernel}\n")[2].partition("## Linux")[0]
        assert f" {made.name} |" in section or f"- {made.name}: no figure: " in section
        for check in table.CHECKS:
            (row,) = [
                line
                for line in section.splitlines()
                if line.startswith(f"| {check.name} | {check.witness} |")
            ]
            assert "FAILED" not in row
            assert all(cell.strip() for cell in row.strip("|").split("|"))


def test_a_guest_is_emulated_where_no_cpu_feature_is_behind_kvm(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(text: str) -> Callable[..., str]:
        return lambda *_args, **_words: text

    monkeypatch.setattr(guest.os, "access", lambda *_: True)
    monkeypatch.setattr(guest.Path, "read_text", read("flags : fpu svm nx"))
    assert not guest.emulated()
    monkeypatch.setattr(guest.Path, "read_text", read("flags : fpu nx"))
    assert guest.emulated()


@pytest.mark.parametrize(("nr_recycled", "fits"), [(0, True), (8, True), (9, False)])
def test_a_handful_of_frames_may_be_taken_as_slab_again(nr_recycled: int, fits: bool) -> None:
    pfn = np.arange(100, dtype=np.uint64)
    witness = np.full(100, SLAB)
    found = witness.copy()
    found[:nr_recycled] = 0
    if fits:
        assert len(without_recycled(pfn, found, witness)[0]) == 100 - nr_recycled
    else:
        with pytest.raises(DiffersError, match="9 frames are slab for one"):
            without_recycled(pfn, found, witness)


class Boots:
    """Guests that die before their command, then one that runs it; nothing is booted."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, deaths: int, status: str | None
    ) -> None:
        self.nr, self.deaths, self.status = 0, deaths, status
        (tmp_path / "boot").mkdir()
        (tmp_path / "boot" / "config-6.x").touch()
        monkeypatch.setattr(guest.tools, "ensure", lambda: None)
        monkeypatch.setattr(guest.kernels, "get", lambda _series: kernels.Kernel("6", "6.x", tmp_path))
        monkeypatch.setattr(guest, "_vng_words", lambda *_: [])
        monkeypatch.setattr(guest, "_wait", self.wait)

    def wait(self, _words: list[str], _console: int, plan: Path, *_rest: Any) -> bool:
        self.nr += 1
        if self.nr > self.deaths:
            (plan / "uptime").write_text("3.5")
            if self.status is not None:
                (plan / "status").write_text(self.status)
        return True


@pytest.mark.parametrize("deaths", range(guest.MAX_BOOTS))
def test_a_guest_that_dies_before_its_command_is_booted_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaths: int
) -> None:
    boots = Boots(monkeypatch, tmp_path, deaths, "7")
    assert guest.run(Shape(), ["true"], tmp_path / "out").status == 7
    assert boots.nr == deaths + 1


@pytest.mark.parametrize(("deaths", "nr"), [(guest.MAX_BOOTS, guest.MAX_BOOTS), (0, 1)])
def test_a_guest_that_dies_again_or_in_its_command_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaths: int, nr: int
) -> None:
    boots = Boots(monkeypatch, tmp_path, deaths, None)
    with pytest.raises(LabError, match="without running the command to its end"):
        guest.run(Shape(), ["true"], tmp_path / "out")
    assert boots.nr == nr

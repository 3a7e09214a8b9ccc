"""vmprobe.cli.main: what loads, what errors become, and what happens when nobody reads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.synthetic import snapshot
from vmprobe.cli import main
from vmprobe.errors import (
    FormatError,
    InputError,
    OutputError,
    PrivilegeError,
    SnapshotError,
    UsageError,
    VmprobeError,
)
from vmprobe.store import write

ROOT = Path(main.__file__).parents[2]
REPORT_IT = "hint: run again with --debug to see where, and report it\n"
HEAVY = ("numpy", "duckdb", "rich", "psutil", "ptrace")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("main") / "host.vmsnap")
    write(snapshot(), path)
    return path


def environment(**added: str) -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], **added}


def vmprobe(*args: str, **added: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vmprobe", *args],
        capture_output=True, text=True, check=False, timeout=60, env=environment(**added),
    )  # fmt: skip


@pytest.mark.parametrize(
    "args", [["--help"], ["--version"], ["shw"], *([verb, "--help"] for verb in main.VERBS)]
)
def test_help_loads_nothing_heavy(args: list[str]) -> None:
    code = (
        "import sys; from vmprobe.cli.main import run; run(sys.argv[2:]);"
        "print('loaded', [m for m in sys.argv[1].split() if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, " ".join(HEAVY), *args],
        capture_output=True, text=True, check=True, timeout=60, env=environment(),
    )  # fmt: skip
    assert done.stderr.splitlines()[-1] == "loaded []"


def test_the_check_for_heavy_modules_can_fail(saved: str) -> None:
    code = (
        "import sys; from vmprobe.cli.main import run; run(sys.argv[1:]);"
        "print('numpy' in sys.modules, 'ptrace' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "show", saved],
        capture_output=True, text=True, check=True, timeout=60, env=environment(),
    )  # fmt: skip
    assert done.stderr == "True False\n"


def test_every_verb_is_there_and_has_help() -> None:
    context = click.Context(main.cli)
    for verb in main.cli.list_commands(context):
        command = main.cli.get_command(context, verb)
        assert command is not None
        assert command.help
        options = [option for option in command.params if isinstance(option, click.Option)]
        assert options
        assert all(option.help for option in options), verb


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (UsageError("a and b", hint="drop b"), 2, "vmprobe: a and b\nhint: drop b\n"),
        (InputError("torn"), 3, "vmprobe: torn\n"),
        (FormatError("maps", 3, "x", "no address"), 3, "vmprobe: maps, line 3: no address: 'x'\n"),
        (SnapshotError("a.vmsnap", "gone"), 3, "vmprobe: a.vmsnap: gone\n"),
        (OutputError("no space"), 3, "vmprobe: no space\n"),
        (PrivilegeError("frames", "root"), 4, "vmprobe: frames: needs root\n"),
        (KeyboardInterrupt(), 130, "vmprobe: interrupted; no answer was given\n"),
        (InputError("a\nb\x1b[31m"), 3, "vmprobe: a\\nb\\x1b[31m\n"),
        (
            ZeroDivisionError("division by zero"),
            70,
            f"vmprobe: a defect: ZeroDivisionError: division by zero\n{REPORT_IT}",
        ),
    ],
)
def test_each_error_has_its_status_and_one_line(
    error: BaseException, status: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main._failed(error, main.State()) == status
    assert capsys.readouterr().err == text


def test_every_kind_of_error_has_a_status() -> None:
    kinds = [VmprobeError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    for kind in kinds[1:]:
        assert any(issubclass(kind, known) for known, _ in main._STATUS), kind


def test_debug_shows_where(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.vmsnap")
    plain, debug = vmprobe("show", missing), vmprobe("show", "--debug", missing)
    assert (plain.returncode, debug.returncode) == (3, 3)
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr
    assert debug.stderr.endswith(plain.stderr)


def test_a_reader_that_goes_away_ends_it_silently(saved: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "vmprobe", "sql", saved, "SELECT * FROM range(1000000)", "--csv"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"range\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


def test_a_short_answer_to_nobody_is_silent_too(saved: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "vmprobe", "show", saved],
        stdout=writer, stderr=subprocess.PIPE, check=False, timeout=60, env=environment(),
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("args", [["show"], ["show", "--json"], ["sql", "--csv"], ["doctor"]])
def test_a_full_disk_is_told(args: list[str], saved: str) -> None:
    query = ["SELECT * FROM zones"] if args[0] == "sql" else []
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "vmprobe", *args, saved, *query],
            stdout=full, stderr=subprocess.PIPE, check=False, timeout=60, env=environment(),
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (3, b"vmprobe: standard output: No space left on device\n")


def test_a_plugin_whose_line_nobody_takes_is_unknown(saved: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "vmprobe", "report", saved, "--plugin"],
            stdout=full, stderr=subprocess.PIPE, check=False, timeout=60, env=environment(),
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (3, b"")


def test_a_closed_standard_output_is_told(saved: str) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -m vmprobe show "$1" >&-', sys.executable, saved],
        capture_output=True, text=True, check=False, timeout=60, env=environment(),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (3, "vmprobe: standard output is closed\n")


def test_an_interrupt_ends_a_long_question(saved: str) -> None:
    question = "SELECT i FROM range(1000000000000) t(i)"
    with subprocess.Popen(
        [sys.executable, "-m", "vmprobe", "sql", saved, question, "--csv"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"i\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (130, b"vmprobe: interrupted; no answer was given\n")


def test_no_verb_shows_the_help_and_is_wrong_usage() -> None:
    done = vmprobe()
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("Usage: vmprobe [OPTIONS] COMMAND")


def test_a_shell_can_complete_verbs_and_options() -> None:
    words = {"_VMPROBE_COMPLETE": "bash_complete", "COMP_CWORD": "1"}
    assert vmprobe(COMP_WORDS="vmprobe sho", **words).stdout == "plain,show\n"
    options = vmprobe(COMP_WORDS="vmprobe show --js", **(words | {"COMP_CWORD": "2"}))
    assert options.stdout == "plain,--json\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_names_that_the_encoding_lacks_do_not_stop_an_answer(encoding: str, saved: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vmprobe", "sql", saved, "SELECT 'caf\u00e9 \u2192' AS name"],
        capture_output=True, check=False, timeout=60, env=environment(PYTHONIOENCODING=encoding),
    )  # fmt: skip
    shown = "name\ncaf\u00e9 \u2192\n".encode(encoding, "backslashreplace")
    assert (done.returncode, done.stdout, done.stderr) == (0, shown, b"")


def test_colour_never_reaches_a_pipe(saved: str) -> None:
    assert "\x1b" not in vmprobe("show", saved).stdout

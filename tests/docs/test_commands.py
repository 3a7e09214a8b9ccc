"""Every command that README.md and docs/ show is run, and prints what they say it prints."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.docs.commands import Command, agrees, commands
from vmprobe.cli.main import VERBS
from vmprobe.store import load, write

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SNAPSHOTS = ROOT / "fixtures" / "snapshots"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
COMMANDS = {page.name: commands(page) for page in PAGES}

STANDS_FOR: Final = {
    "before.vmsnap": "6.12-shared",
    "after.vmsnap": "6.12-shared",
    "host.vmsnap": "6.12-compacting",
}
"""Snapshots that pages name, and the fixture that each is here; after.vmsnap is taken a minute later."""

HISTORY: Final = "frag.duckdb"
"""A history that pages name."""

PROCESS: Final = {"4711": "274"}
"""A process that pages name, and which it is in those snapshots; of this host it is a child of the test."""

NOT_RUN: Final = {
    r"make install && \. \.venv/bin/activate": "makes the environment that the tests run in",
    r"make snapshot\b": "writes into the repository; its two commands are run by themselves",
    r"make test\b": "is what runs this",
    r"make test-lab\b": "boots guests for an hour",
    r"make lab |python -m lab run": "boots a guest: tests/lab/test_guest.py does",
    r"vmprobe snapshot --cgroup /system\.slice": "needs systemd's cgroups",
    r"python3 record\.py ": "records a whole host: tests/live/test_record.py does",
    r"vmprobe (show|snapshot) --procfs host\.recording": "replays that: tests/live/test_record.py does",
    r"vmprobe report .* > /etc/cron\.d/": "puts a job on the host: tests/live/test_cron.py runs its line",
    r"vmprobe report .*--print-systemd \| awk": "puts units on the host: tests/live/systemd_for_real.py",
    r"systemctl ": "needs a systemd that runs: tests/live/systemd_for_real.py",
    r"vmprobe record -o build": "records this host: tests/live/test_allocations.py does",
    r"vmprobe whatif --demand build": "replays that: tests/lab/test_replay.py does",
    r"vmprobe page --at": "the address is another in each process",
}
"""Commands that are not run, as patterns of their begin, and why."""


def why_not(command: Command) -> str | None:
    """Return the reason for which a command is not run, None where it is."""
    return next((why for pattern, why in NOT_RUN.items() if re.match(pattern, command.text)), None)


def is_live(command: Command) -> bool:
    """Whether a command asks this host: then it takes root, and seconds."""
    if not command.text.startswith("vmprobe "):
        return False
    verb = command.text.split()[1]
    saved = re.search(r"\.vmsnap\b(?!\S*/)", re.sub(r"(-o|--output) \S+", "", command.text))
    asks_nothing = re.search(r"--help|--version|--print-|^vmprobe history", command.text)
    return verb == "snapshot" or not (saved or asks_nothing)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the names that pages use mean something."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "fixtures").symlink_to(ROOT / "fixtures")
    for name, fixture in STANDS_FOR.items():
        shutil.copytree(SNAPSHOTS / f"{fixture}.vmsnap", folder / name)
    _later(folder / "after.vmsnap")
    report = [BIN / "vmprobe", "report", "before.vmsnap", "--history", HISTORY]
    subprocess.run(report, cwd=folder, stdout=subprocess.DEVNULL, check=True)
    return folder


@pytest.fixture
def workplace(prepared: Path, tmp_path: Path) -> Path:
    """A copy of that, for one page."""
    return shutil.copytree(prepared, tmp_path / "work", symlinks=True)


def _later(path: Path) -> None:
    """Give a snapshot a time that is a minute later."""
    snapshot = load(path)
    for name in ("start", "end"):
        snapshot.manifest["time"][name] = str(
            (datetime.fromisoformat(snapshot.manifest["time"][name]) + timedelta(minutes=1)).isoformat()
        )
    write(snapshot, path, force=True)


@pytest.fixture(scope="module")
def child() -> Iterator[str]:
    """The pid of a process to look at."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield str(process.pid)
        process.kill()


class Shell:
    """Types commands, one after the other, and remembers how the last ended."""

    def __init__(self, folder: Path, pid: str) -> None:
        self.folder = folder
        self.pid = pid
        self.status = 0

    def type(self, command: Command) -> str:
        """Run a command and return what a terminal shows."""
        text = command.text
        assert not re.search(r"> ?/(?!dev/null)|\betc\b", text), f"{text} would change this host"
        for name, here in PROCESS.items():
            text = re.sub(rf"\b{name}\b", self.pid if is_live(command) else here, text)
        environment = {
            **os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
            "HOME": str(self.folder), "XDG_STATE_HOME": "", "LC_ALL": "C.UTF-8", "TZ": "UTC",
        }  # fmt: skip
        done = subprocess.run(
            ["sh", "-c", f"(exit {self.status})\n{text}"],
            cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False, timeout=300,
        )  # fmt: skip
        self.status = done.returncode
        return done.stdout


def try_all(page: str, shell: Shell, *, live: bool) -> None:
    """Run the commands of a page, and fail with all that differ."""
    wrong = []
    for command in COMMANDS[page]:
        if why_not(command) is not None or is_live(command) is not live:
            continue
        printed = shell.type(command)
        if command.output is None:
            if shell.status not in {0, 1}:
                wrong.append(f"{command.place}: {command.text}\nstatus {shell.status}\n{printed}")
        elif not agrees(command, printed):
            wrong.append(f"{command.place}: {command.text}\nprints\n{printed}")
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.parametrize("page", COMMANDS)
def test_commands_on_snapshots_print_what_the_page_says(page: str, workplace: Path) -> None:
    try_all(page, Shell(workplace, "1"), live=False)


@pytest.mark.live
@pytest.mark.root
@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the pages show what root sees")
@pytest.mark.parametrize("page", [page for page in COMMANDS if any(map(is_live, COMMANDS[page]))])
def test_commands_on_this_host_do_what_the_page_says(page: str, tmp_path: Path, child: str) -> None:
    try_all(page, Shell(tmp_path, child), live=True)


def unseen(page: Path) -> list[str]:
    """Return the lines of code blocks that a reader takes for a command of ours, and `commands` does not."""
    known = {line for command in commands(page) for line in command.text.split("\n")}
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    typed = (line.strip().removeprefix("$ ").removeprefix("sudo ") for line in "".join(blocks).splitlines())
    return [line for line in typed if re.match(rf"vmprobe ({'|'.join(VERBS)})\b", line) and line not in known]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_line_that_names_the_program_is_a_command_that_is_run(page: Path) -> None:
    assert unseen(page) == []


def test_a_command_in_a_block_that_is_not_read_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```bash\nvmprobe show a.vmsnap\n```\n\n```\n; vmprobe\nvmprobe frag\n```\n")
    assert unseen(page) == ["vmprobe show a.vmsnap"]


def test_no_exception_is_left_over() -> None:
    everything = [command for found in COMMANDS.values() for command in found]
    assert [pattern for pattern in NOT_RUN if not any(re.match(pattern, c.text) for c in everything)] == []


def test_a_page_is_read_as_it_is_meant(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Text\n\n```\n$ vmprobe show a.vmsnap\none\n...\n\nlast\n$ echo $?\n0\n```\n\n"
        "<!-- figures differ -->\n```console\n$ vmprobe show\n```\n\n"
        "```\nvmprobe frag a.vmsnap   # a word on it\n"
        'vmprobe sql a.vmsnap "SELECT 1\n                  FROM x"\nno command\n```\n\n'
        "```python\nvmprobe.load('a')\n```\n\n```text\nUsage: vmprobe show\n\n  vmprobe show b.vmsnap\n```\n"
    )  # fmt: skip
    assert [(c.place, c.text, c.output, c.figures_differ) for c in commands(page)] == [
        ("page.md:4", "vmprobe show a.vmsnap", ("one", "...", "", "last"), False),
        ("page.md:9", "echo $?", ("0",), False),
        ("page.md:15", "vmprobe show", (), True),
        ("page.md:19", "vmprobe frag a.vmsnap   # a word on it", None, False),
        ("page.md:20", 'vmprobe sql a.vmsnap "SELECT 1\n                  FROM x"', None, False),
        ("page.md:32", "vmprobe show b.vmsnap", None, False),
    ]


@pytest.mark.live
@pytest.mark.slow
def test_a_wrong_output_in_a_page_trips_it(
    tmp_path: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    right = (
        "```\n$ vmprobe sql host.vmsnap 'SELECT count(*) AS n FROM zones' --csv\nn\n5\n"
        "$ vmprobe check no.vmsnap\n...\n$ echo $?\n3\n```\n"
    )
    for text, status in [
        (right, True),
        (right.replace("5", "6"), False),
        (right.replace("\n3\n", "\n0\n"), False),
    ]:
        page.write_text(text)
        monkeypatch.setitem(COMMANDS, "page.md", commands(page))
        if status:
            try_all("page.md", Shell(workplace, "1"), live=False)
        else:
            with pytest.raises(AssertionError, match=r"page\.md:"):
                try_all("page.md", Shell(workplace, "1"), live=False)

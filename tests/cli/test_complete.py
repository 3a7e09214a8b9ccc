"""Completion: what each shell is told, and what a real bash makes of it."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vmprobe.cli.complete import snapshots
from vmprobe.cli.main import VERBS, cli

ROOT = Path(__file__).parents[2]
CONTEXT = cli.make_context("vmprobe", ["show"])
PARAMETER = cli.params[0]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with snapshots, archives, other folders and other files."""
    for name in ("a.vmsnap", "b.vmsnap", "beside", ".hidden", "only/deep.vmsnap", "ways/to/nothing"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("b.vmsnap.tar.zst", "c.tar", "notes.txt", "z.vmsnap"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def offered(incomplete: str) -> list[str]:
    return [f"{item.value}|{item.type}" for item in snapshots(CONTEXT, PARAMETER, incomplete)]


def test_snapshots_and_archives_are_offered_and_other_files_are_not(folder: Path) -> None:
    assert offered("") == [
        "a.vmsnap|plain", "b.vmsnap|plain", "b.vmsnap.tar.zst|plain", "c.tar|plain",
        "beside/|plain", "only/|plain", "ways/|plain",
    ]  # fmt: skip
    assert offered("b") == ["b.vmsnap|plain", "b.vmsnap.tar.zst|plain", "beside/|plain"]
    assert offered("only/") == ["only/deep.vmsnap|plain"]
    assert offered(f"{folder}/a") == [f"{folder}/a.vmsnap|plain"]


def test_where_there_are_only_folders_the_shell_completes_them(folder: Path) -> None:
    assert offered("w") == ["w|dir"]
    assert offered("ways/") == ["ways/|dir"]
    assert offered("nothing/here") == []


def test_a_home_folder_stays_as_it_was_typed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert offered("~/a") == ["~/a.vmsnap|plain"]
    assert offered("~nobody-of-that-name/") == []


def asked(shell: str, *words: str) -> list[str]:
    """Return what a shell is answered when the last of `words` is to be completed."""
    environment = {
        **os.environ, "_VMPROBE_COMPLETE": f"{shell}_complete", "COMP_CWORD": str(len(words)),
        "COMP_WORDS": " ".join(("vmprobe", *words)), "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    if shell == "fish":
        environment["COMP_CWORD"] = words[-1]
    done = subprocess.run(
        [sys.executable, "-m", "vmprobe"], capture_output=True, text=True, check=False, env=environment
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_is_told_verbs_options_and_snapshots(shell: str, folder: Path) -> None:
    verbs = "\n".join(asked(shell, ""))
    assert all(re.search(rf"\b{verb}\b", verbs) for verb in VERBS)
    assert any("--history" in line for line in asked(shell, "compact", "--hi"))
    assert any("gravity" in line for line in asked(shell, "compact", "--strategy", "g"))
    for verb in ("show", "sql", "sharing", "page", "rmap"):
        assert any("a.vmsnap" in line for line in asked(shell, verb, "a")), verb
    assert any("only/deep.vmsnap" in line for line in asked(shell, "rmap", "--since", "only/"))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_is_one(shell: str, tmp_path: Path) -> None:
    environment = {**os.environ, "_VMPROBE_COMPLETE": f"{shell}_source", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "vmprobe"], capture_output=True, text=True, check=True, env=environment
    )
    assert f"_VMPROBE_COMPLETE={shell}_complete" in done.stdout
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is missing, which would read it")
    (tmp_path / "script").write_text(done.stdout)
    subprocess.run([shell, "-n", str(tmp_path / "script")], check=True)


class Bash:
    """An interactive bash on a terminal, with completion set up as the help says."""

    def __init__(self, folder: Path) -> None:
        program = folder / "bin" / "vmprobe"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m vmprobe "$@"\n')
        program.chmod(0o755)
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            environment = {
                "PATH": f"{program.parent}:/usr/bin:/bin", "TERM": "dumb", "INPUTRC": "/dev/null"
            }  # fmt: skip
            os.chdir(folder)
            os.execve("/bin/bash", ["bash", "--norc", "--noprofile", "-i"], environment)
        self.type('PS1=REA; PS1=${PS1}DY; eval "$(_VMPROBE_COMPLETE=bash_source vmprobe)"\n')
        self.wait_for("READY$")

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def wait_for(self, pattern: str, seconds: float = 20) -> str:
        """Return what is on the terminal once it matches."""
        seen, give_up = "", time.monotonic() + seconds
        while not re.search(pattern, seen):
            left = give_up - time.monotonic()
            assert left > 0, f"{pattern!r} did not come: {seen!r}"
            if select.select([self.terminal], [], [], left)[0]:
                seen += os.read(self.terminal, 4096).decode().replace("\r", "").replace("\a", "")
        return seen

    def end(self) -> None:
        os.close(self.terminal)  # bash gets a hangup
        os.waitpid(self.pid, 0)


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is missing")
def test_the_tab_key_in_a_real_bash(folder: Path) -> None:
    bash = Bash(folder)
    try:
        for typed, completed in [
            ("vmprobe fra\t", "frag "),
            ("vmprobe sharing a\t", "a.vmsnap "),
            ("vmprobe sharing on\t", "only/"),
            ("vmprobe sharing only/\t", "only/deep.vmsnap "),
            ("vmprobe compact --strat\t", "--strategy "),
            ("vmprobe sharing b\t", "b"),
        ]:
            bash.type(typed)
            bash.wait_for(re.escape(completed) + "$")
            bash.type("\x15")  # Ctrl-U takes the line away
    finally:
        bash.end()

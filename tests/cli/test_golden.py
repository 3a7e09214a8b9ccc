"""What each command line prints, whole: one file a case, with arguments, exit status, stdout and stderr.

A deliberate change: run once with ``UPDATE_GOLDEN=1`` and read the difference.
"""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest

from tests.before_after import after, before
from tests.histories import six_days
from tests.synthetic import snapshot, tables
from vmprobe.cli.main import VERBS, run
from vmprobe.store import write
from vmprobe.store.history import append

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(GOLDEN.glob("*.txt"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the cases name: snapshots with everything and with nothing but the manifest, and a history."""
    folder = tmp_path_factory.mktemp("golden")
    paths = {"HOST": str(folder / "host.vmsnap"), "EMPTY": str(folder / "empty.vmsnap")}
    write(snapshot(), paths["HOST"])
    unread = [
        {"what": what, "reason": "Permission denied", "needs": "root, or CAP_DAC_READ_SEARCH", "lost": lost,
         "count": 1}
        for what, lost in (("kpageflags", "frames.flags"), ("zoneinfo", "zones"))
    ]  # fmt: skip
    privileges = {"euid": 1000, "capabilities": [], "initial_userns": True}
    write(
        snapshot(
            without=tuple(tables()), manifest={"unread": unread, "privileges": privileges, "sources": []}
        ),
        paths["EMPTY"],
    )
    paths["HISTORY"] = str(folder / "history.duckdb")
    for kept in six_days():
        append(Path(paths["HISTORY"]), kept)
    paths |= {name: str(folder / f"{name.lower()}.vmsnap") for name in ("OLD", "NEW")}
    write(before(), paths["OLD"])
    write(after(), paths["NEW"])
    return paths


def text(args: str, status: int, out: str, err: str) -> str:
    return f"args: {args}\nstatus: {status}\n--- stdout ---\n{out}--- stderr ---\n{err}"


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_output_is_as_written_down(
    case: Path, saved: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")  # click wraps help to it
    expected = case.read_text(encoding="utf-8")
    args = expected.splitlines()[0].removeprefix("args: ")
    status = run([saved.get(word, word) for word in shlex.split(args)])
    out, err = capsys.readouterr()
    for name, path in saved.items():
        out, err = out.replace(path, name), err.replace(path, name)
    found = text(args, status, out, err)
    if os.environ.get("UPDATE_GOLDEN"):
        case.write_text(found, encoding="utf-8")
    assert found == expected
    assert all(line == line.rstrip() for line in out.splitlines())
    if "--json" in args and status == 0:
        json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_there_are_cases_for_every_verb_and_status() -> None:
    heads = [case.read_text(encoding="utf-8").splitlines()[:2] for case in CASES]
    verbs = {head[0].split()[1] for head in heads if len(head[0].split()) > 1}
    assert set(VERBS) - {"snapshot"} <= verbs
    assert {"status: 0", "status: 1", "status: 2", "status: 3"} <= {head[1] for head in heads}

"""``compact --verify``: refused, described, done, remembered; no test here compacts anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import verified
from vmprobe.cli import compact_verify
from vmprobe.cli.compact_verify import Seen, VerifyOptions, run
from vmprobe.cli.main import run as vmprobe
from vmprobe.errors import InputError, OutputError, UsageError
from vmprobe.store import forecasts


@pytest.fixture
def compacted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let a compaction be a recorded one; each adds to the list."""
    done: list[int] = []

    def photograph() -> Seen:
        done.append(1)
        return Seen(verified.host(), verified.after(), verified.happened(), ("a note",))

    monkeypatch.setattr(compact_verify, "photograph", photograph)
    return done


def options(history: Path, *, yes: bool = True, as_json: bool = True) -> VerifyOptions:
    return VerifyOptions(order=verified.ORDER, yes=yes, as_json=as_json, history=history)


def test_without_yes_nothing_is_done(
    tmp_path: Path, compacted: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(options(tmp_path / "f", yes=False)) == 0
    assert json.loads(capsys.readouterr().out)["done"] is False
    assert not compacted
    assert not (tmp_path / "f").exists()


def test_each_run_is_remembered_and_told_by_the_next(
    tmp_path: Path, compacted: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "f"
    assert run(options(path)) == 0
    first = json.loads(capsys.readouterr().out)
    assert (first["record"]["runs"], first["error"]["moves_percent"]) == (1, 0)
    assert first["notes"] == ["a note"]
    with path.open("a") as file:
        file.write("damaged\n")
    assert run(options(path)) == 0
    second = json.loads(capsys.readouterr().out)
    assert second["record"]["runs"] == 2
    assert second["notes"] == ["a note", f"{path}, line 2: is no forecast, and is left out"]
    assert [each["error"]["moves_percent"] for each in forecasts.read(path).documents] == [0, 0]
    assert len(compacted) == 2
    assert run(options(path, as_json=False)) == 0
    assert "Forecasts verified on this host" in capsys.readouterr().out


@pytest.mark.usefixtures("compacted")
def test_an_answer_that_cannot_be_remembered_is_given_all_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(InputError, match="is no plain file"):
        run(options(Path("/dev/full")))
    assert not capsys.readouterr().out


def test_a_disk_that_is_full_comes_after_the_answer(
    tmp_path: Path, compacted: list[int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, _document: object) -> None:
        raise OutputError(f"{path}: No space left on device")

    monkeypatch.setattr(forecasts, "append", full)
    with pytest.raises(OutputError, match="No space"):
        run(options(tmp_path / "f"))
    assert json.loads(capsys.readouterr().out)["record"]["runs"] == 1
    assert compacted


def test_a_history_that_cannot_be_read_stops_it_before_anything_moves(
    tmp_path: Path, compacted: list[int]
) -> None:
    with pytest.raises(InputError):
        run(options(tmp_path))
    assert not compacted


@pytest.mark.parametrize(
    "given", [{"path": Path("a.vmsnap")}, {"procfs": "/host/proc"}, {"sysfs": "/host/sys"}]
)
@pytest.mark.parametrize("yes", [False, True])
def test_only_this_host_can_be_compacted(given: dict[str, object], yes: bool, compacted: list[int]) -> None:
    with pytest.raises(UsageError, match="--verify compacts this host now"):
        run(VerifyOptions(order=9, yes=yes, as_json=False, **given))  # type: ignore[arg-type]
    assert not compacted


def test_the_verb_hands_over(
    tmp_path: Path, compacted: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compact", "--verify", "--json", "--history", str(tmp_path / "f")]
    assert vmprobe(words) == 0
    assert not compacted
    assert vmprobe([*words, "--yes"]) == 0
    assert len(compacted) == 1
    capsys.readouterr()
    assert vmprobe([*words, "--yes", "some.vmsnap"]) == 2
    assert "a SNAPSHOT cannot be compacted" in capsys.readouterr().err
    assert vmprobe(["compact", "--yes", "some.vmsnap"]) == 2
    assert len(compacted) == 1

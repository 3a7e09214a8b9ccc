"""Pictures written by ``vmprobe map``: whole files, private ones, and what is said where that fails."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from tests.synthetic import snapshot
from vmprobe.cli.main import run
from vmprobe.store import write

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("map") / "host.vmsnap"
    write(snapshot(), path)
    return str(path)


def test_a_png_file_is_written(saved: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("PIL", reason="Pillow is not installed")
    path = tmp_path / "map.png"
    assert run(["map", saved, "--png", str(path)]) == 0
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    # Layouts defeat address randomisation.
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert capsys.readouterr() == ("", "")


def test_an_svg_file_is_written_over_an_older_one(saved: str, tmp_path: Path) -> None:
    path = tmp_path / "map.svg"
    path.write_text("old")
    assert run(["map", saved, "--svg", str(path), "--width", "2"]) == 0
    assert ET.fromstring(path.read_bytes()).tag == "{http://www.w3.org/2000/svg}svg"
    assert [each.name for each in tmp_path.iterdir()] == ["map.svg"]


def test_a_picture_that_cannot_be_written_is_told(
    saved: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "nowhere" / "map.svg"
    assert run(["map", saved, "--svg", str(path)]) == 3
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith(f"vmprobe: {path}: there is no folder")


def test_without_pillow_the_remedy_is_told(
    saved: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    path = tmp_path / "map.png"
    assert run(["map", saved, "--png", str(path)]) == 2
    assert "pip install 'vmprobe[html]'" in capsys.readouterr().err
    assert not path.exists()


def test_json_has_every_pageblock(capsys: pytest.CaptureFixture[str]) -> None:
    name = "fixtures/snapshots/6.12-two-nodes.vmsnap"
    assert run(["map", name, "--json", "--forecast", "gravity"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [len(zone["content"]) for zone in answer["zones"]] == [8, 1016, 1024]
    for now, after, change in zip(
        answer["zones"], answer["forecast"]["zones"], answer["forecast"]["changes"], strict=True
    ):
        assert len(now["content"]) == len(after["content"]) == len(change)
        assert {len(now[name]) for name in ("free", "stays", "unknown", "owner", "user")} == {len(change)}

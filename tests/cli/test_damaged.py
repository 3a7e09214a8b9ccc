"""A manifest that was tampered with gives an answer or one clear line, never a defect."""

from __future__ import annotations

import copy
import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from tests.synthetic import snapshot
from vmprobe.cli.main import run
from vmprobe.store import write

if TYPE_CHECKING:
    from pathlib import Path

JUNK: list[Any] = [None, "x", -1, 2**70, 1.5, True, [], {}, [[1]], {"a": 1}, ["x"], "\x1b[31m", "\ud800"]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of everything inside a JSON value."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [found for key in keys for found in ((*path, key), *places(value[key], (*path, key)))]


@pytest.mark.parametrize("seed", range(4))
def test_any_manifest_gives_an_answer_or_one_line(
    seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "host.vmsnap"
    write(snapshot(), path)
    whole = json.loads((path / "manifest.json").read_bytes())
    generator = random.Random(seed)
    statuses = set()
    for _ in range(60):
        changed = copy.deepcopy(whole)
        *outer, last = generator.choice(places(whole))
        holder = changed
        for key in outer:
            holder = holder[key]
        junk = generator.choice([*JUNK, "gone"])
        if junk == "gone":
            del holder[last]
        else:
            holder[last] = junk
        (path / "manifest.json").write_text(json.dumps(changed))
        verb = generator.choice([["show"], ["show", "--json"], ["doctor"], ["doctor", "--json"]])
        status = run([*verb, str(path)])
        out, err = capsys.readouterr()
        assert status in {0, 3}, (outer, last, junk, err)
        assert "\x1b" not in out + err
        assert len(err.splitlines()) <= 2
        statuses.add(status)
    assert 3 in statuses

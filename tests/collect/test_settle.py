"""How long a host is waited for, by a clock and a buddyinfo of our own."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import TYPE_CHECKING

from vmprobe.collect import settle as module
from vmprobe.collect.settle import LOOK_SECONDS, settle
from vmprobe.sources.procfs import Tree

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest


def waited(monkeypatch: pytest.MonkeyPatch, buddyinfo: Iterable[bytes], still: float, patience: float) -> int:
    """Return how many looks were taken at what is there, one after the other."""
    looks = iter(buddyinfo)
    slept: list[float] = []
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: sum(slept), sleep=slept.append))
    monkeypatch.setattr(Tree, "read", lambda _self, name: next(looks) if name == "buddyinfo" else b"")
    settle(still, patience)
    assert set(slept) <= {LOOK_SECONDS}
    return len(slept)


def test_it_ends_once_nothing_changed_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    changing = [b"%d" % n for n in range(7)]
    # The seventh look is the first of those that read the same.
    assert waited(monkeypatch, itertools.chain(changing, itertools.repeat(b"6")), 1.05, 9) == 6 + 11


def test_a_host_that_never_stands_still_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert waited(monkeypatch, (b"%d" % n for n in itertools.count()), 1.05, 2.05) == 21

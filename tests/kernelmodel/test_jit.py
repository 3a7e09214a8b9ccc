"""The shim over numba: what is compiled, what is plain, and when the cache must not be believed."""

from __future__ import annotations

from types import FunctionType

import numpy as np
import pytest

from kernelmodel import _jit
from kernelmodel._jit import compiled, digest, jit

SCALE = 3
TABLE = (5, 7)


@jit
def inner(value: int) -> int:
    return value * SCALE + TABLE[1]


@jit
def outer(values: np.ndarray) -> int:
    total = 0
    for value in values:
        total += inner(value)
    return total


def changed(function: FunctionType, **names: object) -> FunctionType:
    """Return `function` in a copy of its module where some names mean something else."""
    copy = FunctionType(function.__code__, dict(function.__globals__) | names, function.__name__)
    return jit(copy)


def test_marking_changes_nothing() -> None:
    assert inner(2) == 13
    assert compiled(outer, pure=True) is outer


def test_where_there_is_no_numba_the_plain_function_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_jit, "HAVE_NUMBA", False)
    assert compiled(outer) is outer


def test_the_digest_covers_constants_and_callees() -> None:
    same = changed(outer, inner=changed(inner))
    assert digest(same) == digest(outer)
    assert digest(changed(outer, inner=changed(inner, SCALE=4))) != digest(outer)
    assert digest(changed(outer, inner=changed(inner, TABLE=(5, 8)))) != digest(outer)

    def inner_minus(value: int) -> int:
        return value * SCALE - TABLE[1]

    other = FunctionType(inner_minus.__code__, inner.__globals__, "inner")
    assert digest(changed(outer, inner=jit(other))) != digest(outer)


@pytest.mark.slow
def test_the_twin_is_compiled_through_and_through() -> None:
    numba = pytest.importorskip("numba")
    twin = compiled(outer)
    values = np.arange(10)
    assert twin(values) == outer(values) == 205
    assert compiled(outer) is twin
    assert isinstance(twin, numba.core.dispatcher.Dispatcher)
    assert isinstance(twin.py_func.__globals__["inner"], numba.core.dispatcher.Dispatcher)
    assert outer.__globals__["inner"] is inner


def test_what_cannot_be_kept_is_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who may write neither beside the source nor at home: numba refuses to cache."""
    asked = []

    class Numba:
        @staticmethod
        def njit(*, cache: bool = False, **_options: object) -> object:
            asked.append(cache)

            def decorate(function: FunctionType) -> FunctionType:
                if cache:
                    raise RuntimeError("cannot cache function: no locator available")
                return function

            return decorate

    monkeypatch.setattr(_jit.importlib, "import_module", lambda _name: Numba)
    assert _jit._compile(outer, {})(np.arange(3)) == outer(np.arange(3))
    assert asked == [False, True, False]


def test_another_failure_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    class Numba:
        @staticmethod
        def njit(**_options: object) -> object:
            def decorate(_function: FunctionType) -> FunctionType:
                raise RuntimeError("broken")

            return decorate

    monkeypatch.setattr(_jit.importlib, "import_module", lambda _name: Numba)
    with pytest.raises(RuntimeError, match="broken"):
        _jit._compile(outer, {})


@jit
def minus(value: int) -> int:
    return -value


@jit
def through(values: np.ndarray) -> int:
    return outer(values) + 1


@pytest.mark.parametrize("pure", [True, False])
def test_a_twin_calls_what_is_given_however_deep_it_is_called(pure: bool) -> None:
    values = np.arange(4)
    twin = compiled(through, pure=pure, given={inner: minus})
    assert twin(values) == -5
    assert compiled(through, pure=pure)(values) == through(values) == 47
    assert digest(through, {inner: minus}) != digest(through)


def test_what_is_given_must_be_marked() -> None:
    def unmarked(value: int) -> int:
        return value

    with pytest.raises(KeyError):
        compiled(through, pure=True, given={inner: unmarked})

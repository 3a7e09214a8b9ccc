"""Compile with numba where there is numba; run the same code as plain Python where there is none.

A function marked with `jit` stays the plain Python function that it is, and calls its plain neighbours.
`compiled` makes its twin: the function and all marked functions that it reaches, compiled together in a world
of their own. So both can run side by side in one process, and numba (whose import takes about a second) is
loaded only when something compiled is first asked for.

Inside a marked function: scalars, numpy arrays that the caller made, named tuples of them, other marked
functions, and module constants that are numbers or tuples of numbers.
"""

from __future__ import annotations

import hashlib
import importlib
from importlib.util import find_spec
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

F = TypeVar("F", bound="Callable[..., Any]")

HAVE_NUMBA: Final = find_spec("numba") is not None
"""Whether `compiled` can compile."""

OPTIONS: Final = {"forceinline": True, "_nrt": False, "nogil": True}
"""How numba compiles: calls made inline, no counting of references, and other threads run meanwhile.

A marked function makes no arrays and keeps none, so that its caller's reference is enough. Counting costs
more than the work itself: each call counts every array of a named tuple up and down with locked instructions.
On the stream of ``benchmarks/bench_page_alloc.py`` 3.9 million operations a second become 6.9 without
counting, and 13 with both.
"""

_marked: Final[dict[int, FunctionType]] = {}
_compiled: Final[dict[tuple[FunctionType, ...], Any]] = {}


def jit(function: F) -> F:
    """Mark `function` as one that can be compiled, and return it unchanged."""
    assert isinstance(function, FunctionType)
    _marked[id(function)] = function
    return function


def compiled(
    function: F, *, pure: bool = False, given: Mapping[Callable[..., Any], Callable[..., Any]] | None = None
) -> F:
    """Return the compiled twin of a marked function, or the function itself.

    The first call for each function loads numba and compiles, or finds the machine code of an earlier process
    in numba's cache; it is kept under a digest of the code of every function in it, because numba itself
    only looks at the file of the outermost one.

    Parameters
    ----------
    function
        A function marked with `jit`.
    pure
        True asks for the plain Python function even where there is numba.
    given
        Marked functions to be called in place of others: one loop, compiled once for each structure it
        works on.

    Examples
    --------
    >>> @jit
    ... def step(value):
    ...     raise NotImplementedError
    >>> @jit
    ... def double(value):
    ...     return 2 * value
    >>> @jit
    ... def twice(value):
    ...     return step(step(value))
    >>> compiled(double, pure=True)(21)
    42
    >>> compiled(twice, pure=True, given={step: double})(3)
    12
    """
    plain = pure or not HAVE_NUMBA
    if plain and not given:
        return function
    assert isinstance(function, FunctionType)
    pairs = [(_marked[id(was)], _marked[id(is_)]) for was, is_ in (given or {}).items()]
    key: tuple[FunctionType, ...] = (function, *(each for pair in pairs for each in pair))
    if plain:
        pure_twin: F = _with_callees(function, dict(pairs))
        return pure_twin
    if key not in _compiled:
        _compiled[key] = _compile(function, dict(pairs))
    twin: F = _compiled[key]
    return twin


_Given = dict[FunctionType, FunctionType]


def _callees(function: FunctionType, given: _Given) -> dict[str, FunctionType]:
    """Return the marked functions that `function` calls, by the names it has for them."""
    named = ((name, function.__globals__.get(name)) for name in function.__code__.co_names)
    marked = {
        name: value for name, value in named if id(value) in _marked and isinstance(value, FunctionType)
    }
    return {name: given.get(value, value) for name, value in marked.items()}


def _reached(function: FunctionType, given: _Given) -> list[FunctionType]:
    """Return the marked functions that `function` reaches, callees before callers, itself last."""
    order: list[FunctionType] = []

    def visit(visited: FunctionType) -> None:
        if visited not in order:
            for callee in _callees(visited, given).values():
                visit(callee)
            order.append(visited)

    visit(function)
    return order


def digest(function: FunctionType, given: _Given | None = None) -> str:
    """Return a short digest of the code of `function` and all it reaches, module constants included."""
    found = hashlib.sha256(repr(OPTIONS).encode())
    for reached in _reached(function, given or {}):
        code = reached.__code__
        constants = [
            (name, repr(reached.__globals__[name]))
            for name in code.co_names
            if isinstance(reached.__globals__.get(name), (int, float, tuple))
        ]
        found.update(repr((code.co_code, code.co_consts, code.co_names, constants)).encode())
    return found.hexdigest()[:16]


def _with_callees(function: FunctionType, given: _Given) -> Any:
    """Return a plain copy of `function` in which it and all it reaches call what is given."""
    twins: dict[int, Any] = {}
    for reached in _reached(function, given):
        twins[id(reached)] = _copy(reached, twins, given)
    return twins[id(function)]


def _copy(function: FunctionType, twins: dict[int, Any], given: _Given) -> FunctionType:
    """Return a copy of `function` that calls twins."""
    world = dict(function.__globals__)
    world.update({name: twins[id(callee)] for name, callee in _callees(function, given).items()})
    copy = FunctionType(function.__code__, world, function.__name__, function.__defaults__)
    copy.__qualname__, copy.__module__ = function.__qualname__, function.__module__
    return copy


def _compile(function: FunctionType, given: _Given) -> Any:
    """Compile `function` and all it reaches; only the outermost is kept in numba's cache."""
    numba = importlib.import_module("numba")
    twins: dict[int, Any] = {}
    for reached in _reached(function, given):
        copy = _copy(reached, twins, given)
        outermost = reached is function
        if outermost:
            copy.__qualname__ += f"_{digest(function, given)}"
        twins[id(reached)] = _njit(numba, copy, cache=outermost)
    return twins[id(function)]


def _njit(numba: Any, function: FunctionType, *, cache: bool) -> Any:
    """Compile one function, without keeping the machine code where there is no place to keep it."""
    try:
        return numba.njit(cache=cache, **OPTIONS)(function)
    except RuntimeError:
        # "no locator available": neither beside the source nor in the home folder may this user write.
        if not cache:
            raise
        return numba.njit(**OPTIONS)(function)

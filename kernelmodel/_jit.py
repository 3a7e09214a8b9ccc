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
    from collections.abc import Callable

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
_compiled: Final[dict[FunctionType, Any]] = {}


def jit(function: F) -> F:
    """Mark `function` as one that can be compiled, and return it unchanged."""
    assert isinstance(function, FunctionType)
    _marked[id(function)] = function
    return function


def compiled(function: F, *, pure: bool = False) -> F:
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

    Examples
    --------
    >>> @jit
    ... def double(value):
    ...     return 2 * value
    >>> compiled(double, pure=True)(21)
    42
    """
    if pure or not HAVE_NUMBA:
        return function
    assert isinstance(function, FunctionType)
    if function not in _compiled:
        _compiled[function] = _compile(function)
    twin: F = _compiled[function]
    return twin


def _callees(function: FunctionType) -> dict[str, FunctionType]:
    """Return the marked functions that `function` names, by that name."""
    named = ((name, function.__globals__.get(name)) for name in function.__code__.co_names)
    return {name: value for name, value in named if id(value) in _marked and isinstance(value, FunctionType)}


def _reached(function: FunctionType) -> list[FunctionType]:
    """Return the marked functions that `function` reaches, callees before callers, itself last."""
    order: list[FunctionType] = []

    def visit(visited: FunctionType) -> None:
        if visited not in order:
            for callee in _callees(visited).values():
                visit(callee)
            order.append(visited)

    visit(function)
    return order


def digest(function: FunctionType) -> str:
    """Return a short digest of the code of `function` and all it reaches, module constants included."""
    found = hashlib.sha256(repr(OPTIONS).encode())
    for reached in _reached(function):
        code = reached.__code__
        constants = [
            (name, repr(reached.__globals__[name]))
            for name in code.co_names
            if isinstance(reached.__globals__.get(name), (int, float, tuple))
        ]
        found.update(repr((code.co_code, code.co_consts, code.co_names, constants)).encode())
    return found.hexdigest()[:16]


def _compile(function: FunctionType) -> Any:
    """Compile `function` and all it reaches; only the outermost is kept in numba's cache."""
    numba = importlib.import_module("numba")
    twins: dict[int, Any] = {}
    for reached in _reached(function):
        world = dict(reached.__globals__)
        world.update({name: twins[id(callee)] for name, callee in _callees(reached).items()})
        copy = FunctionType(reached.__code__, world, reached.__name__, reached.__defaults__)
        outermost = reached is function
        copy.__qualname__ = (
            f"{reached.__qualname__}_{digest(function)}" if outermost else reached.__qualname__
        )
        copy.__module__ = reached.__module__
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

"""An ordered map as a list of pairs sorted again at each step, and keys that only the caller compares."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cmp_to_key, reduce
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Key:
    """A key without an order of its own: ``<`` between two of them is a TypeError."""

    number: int


class SortedPairs:
    """What every kind of ordered map must answer, as slowly and plainly as possible."""

    def __init__(self, less: Callable[[Any, Any], bool]) -> None:
        self.less = less
        self.pairs: list[tuple[Any, Any]] = []

    def insert(self, key: Any, value: Any) -> None:
        if any(key == other for other, _ in self.pairs):
            raise KeyError(key)
        self.pairs.append((key, value))
        self.pairs.sort(key=cmp_to_key(self._compare))

    def _compare(self, a: tuple[Any, Any], b: tuple[Any, Any]) -> int:
        return self.less(b[0], a[0]) - self.less(a[0], b[0])

    def remove(self, key: Any) -> Any:
        for pair in self.pairs:
            if pair[0] == key:
                self.pairs.remove(pair)
                return pair[1]
        raise KeyError(key)

    def get(self, key: Any) -> Any:
        return next((value for other, value in self.pairs if other == key), None)

    def items(self, start: Any = None) -> list[tuple[Any, Any]]:
        return [pair for pair in self.pairs if start is None or not self.less(pair[0], start)]

    def reversed_items(self, start: Any = None) -> list[tuple[Any, Any]]:
        return [pair for pair in self.pairs[::-1] if start is None or not self.less(start, pair[0])]

    def floor(self, key: Any) -> tuple[Any, Any] | None:
        return next(iter(self.reversed_items(key)), None)

    def ceiling(self, key: Any) -> tuple[Any, Any] | None:
        return next(iter(self.items(key)), None)

    def summary(self, measure: Callable[[Any, Any], Any], combine: Callable[[Any, Any], Any]) -> Any:
        return reduce(combine, [measure(*pair) for pair in self.pairs]) if self.pairs else None

"""Intervals in a list; two overlap if they have a number in common."""

from __future__ import annotations

from typing import Any


class Intervals:
    """Start, last and value of each interval, sorted by start; equal starts stay in order of insertion."""

    def __init__(self) -> None:
        self.all: list[tuple[int, int, Any]] = []

    def insert(self, start: int, last: int, value: Any) -> None:
        self.all.append((start, last, value))
        self.all.sort(key=lambda interval: interval[0])

    def remove(self, start: int, last: int, value: Any) -> None:
        self.all = [one for one in self.all if not (one[:2] == (start, last) and one[2] is value)]

    def overlaps(self, first: int, last: int) -> list[Any]:
        wanted = set(range(first, last + 1))
        return [value for start, end, value in self.all if wanted & set(range(start, end + 1))]

"""Intervals that may overlap, and which of them meet a given one.

Mirrors: ``include/linux/interval_tree_generic.h``: ``_insert`` (equal starts stay in order of insertion),
``_remove``, ``_subtree_search``, ``_iter_first``, ``_iter_next``, ``_compute_subtree_last``.

Fidelity: over any ordered map, so that the same searches can be counted on each; the kernel's is always a
red-black tree, and compares starts alone. A number of insertion makes keys of equal starts distinct. No
shortcut by the smallest start (``rb_leftmost``).
"""

from __future__ import annotations

from itertools import count
from operator import lt
from typing import TYPE_CHECKING, Generic, TypeVar

from kernelmodel.errors import InvariantError, ModelError
from kernelmodel.ordered import Augment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kernelmodel.ordered import Counters, MapFactory, OrderedMap

V = TypeVar("V")


class IntervalTree(Generic[V]):
    """Closed intervals of integers, each with a value, in order of their starts.

    Insertion and removal cost O(log n), a search O(log n) for each interval found. Do not change the tree
    while iterating over it.

    Parameters
    ----------
    factory
        What makes the ordered map, as in `kernelmodel.ordered.TREES`.

    Examples
    --------
    >>> from kernelmodel.ordered import RedBlackTree
    >>> tree = IntervalTree[str](RedBlackTree)
    >>> text, heap = "text", "heap"
    >>> tree.insert(0, 9, text)
    >>> tree.insert(5, 20, heap)
    >>> list(tree.iter_overlaps(9, 12))
    ['text', 'heap']
    >>> tree.remove(0, 9, text)
    >>> list(tree.iter_overlaps(9, 12))
    ['heap']
    """

    __slots__ = ("_map", "_next_sequence", "_sequences")

    def __init__(self, factory: MapFactory) -> None:
        # Key: start and number of insertion; value: last and the caller's value.
        augment: Augment[tuple[int, int], tuple[int, V]] = Augment(lambda _, entry: entry[0], max)
        self._map: OrderedMap[tuple[int, int], tuple[int, V]] = factory(lt, augment)
        self._next_sequence = count()
        # The kernel removes a node it has in hand; here start, last and the value's identity lead to it.
        self._sequences: dict[tuple[int, int, int], int] = {}

    def __len__(self) -> int:
        return len(self._map)

    @property
    def counters(self) -> Counters:
        """What operations cost so far; visits are nodes looked at."""
        return self._map.counters

    def insert(self, start: int, last: int, value: V) -> None:
        """Add an interval.

        Parameters
        ----------
        start, last
            The first and the last number in it.
        value
            The caller's; told from others by identity.

        Raises
        ------
        ModelError
            The interval is empty, or `value` stands under the same ends already.
        """
        if last < start:
            raise ModelError(f"the interval from {start} to {last} is empty")
        if (start, last, id(value)) in self._sequences:
            raise ModelError(f"{value!r} stands under [{start}, {last}] already")
        sequence = self._sequences[start, last, id(value)] = next(self._next_sequence)
        self._map.insert((start, sequence), (last, value))

    def remove(self, start: int, last: int, value: V) -> None:
        """Take out the interval that `insert` was given; KeyError if there is none with this very value."""
        self._map.remove((start, self._sequences.pop((start, last, id(value)))))

    def items(self) -> Iterator[tuple[int, int, V]]:
        """Iterate start, last and value of all intervals, in order of start, then of insertion."""
        return ((start, last, value) for (start, _), (last, value) in self._map.items())

    def iter_overlaps(self, first: int, last: int) -> Iterator[V]:
        """Iterate the values of intervals that share a number with [`first`, `last`], in order of start.

        An interval does if its start is not after `last` (Cond1 in the kernel) and its last not before
        `first` (Cond2). Subtrees in which none fulfils Cond2 are passed by; the first interval that fulfils
        Cond2 but not Cond1 ends the search, because all behind it start later still.
        """
        for (start, _), (_, value) in self._map.prune(lambda subtree_last: subtree_last >= first):
            if start > last:
                return
            yield value

    def validate(self) -> None:
        """Check the map's own rules, ``interval-ends``, ``interval-key`` and ``subtree-last``."""
        self._map.validate()
        largest = None
        for (start, sequence), (last, value) in self._map.items():
            where = f"{value!r} under [{start}, {last}]"
            if last < start:
                raise InvariantError("interval-ends", where, "the last is before the start")
            if (noted := self._sequences.get((start, last, id(value)))) != sequence:
                raise InvariantError("interval-key", where, f"insertion {sequence}, noted as {noted}")
            largest = last if largest is None else max(largest, last)
        if len(self._sequences) != len(self._map):
            detail = f"{len(self._sequences)} noted, {len(self._map)} in the map"
            raise InvariantError("interval-key", "tree", detail)
        if self._map.summary() != largest:
            detail = f"says {self._map.summary()}, the largest last is {largest}"
            raise InvariantError("subtree-last", "tree", detail)

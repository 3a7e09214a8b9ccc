"""An ordered map as a sorted array: the yardstick of the trees.

Mirrors: nothing in the kernel; ``lib/bsearch.c`` is its search. It stands behind the same interface so that
a benchmark can say what a tree costs beyond it.

Fidelity: two Python lists, so that shifting entries is a block move in C; ``nr_rotations`` counts the entries
moved all the same. Summaries are not kept but computed when asked for, in O(n).
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any, Generic

from kernelmodel.errors import InvariantError, ModelError
from kernelmodel.ordered.protocol import Counters, K, V

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kernelmodel.ordered.protocol import Augment


class SortedArray(Generic[K, V]):
    """Distinct keys in the caller's order in one list, their values in another.

    Search is O(log n), insertion and removal O(n) for the shift.

    Parameters
    ----------
    less
        The order: strict, total on the keys in the map.
    augment
        Measured and combined on demand.

    Examples
    --------
    >>> from operator import lt
    >>> tree = SortedArray(lt)
    >>> for pfn in (8, 0, 4):
    ...     tree.insert(pfn, f"block {pfn}")
    >>> tree.floor(7)
    (4, 'block 4')
    >>> [pfn for pfn, _ in tree.items(4)]
    [4, 8]
    """

    __slots__ = ("_augment", "_keys", "_less", "_values", "counters")

    def __init__(self, less: Callable[[K, K], bool], augment: Augment[K, V] | None = None) -> None:
        self._less = less
        self._augment = augment
        self._keys: list[K] = []
        self._values: list[V] = []
        self.counters = Counters()

    def __len__(self) -> int:
        return len(self._keys)

    def insert(self, key: K, value: V) -> None:
        """Add an entry; KeyError if the key is there. O(n)."""
        slot = self._lower_bound(key)
        if self._holds(slot, key):
            raise KeyError(key)
        self.counters.nr_rotations += len(self._keys) - slot
        self._keys.insert(slot, key)
        self._values.insert(slot, value)

    def remove(self, key: K) -> V:
        """Take an entry out and return its value; KeyError if there is none. O(n)."""
        slot = self._slot(key)
        self.counters.nr_rotations += len(self._keys) - slot - 1
        del self._keys[slot]
        return self._values.pop(slot)

    def get(self, key: K) -> V | None:
        """Return the value of `key`, None if there is none."""
        slot = self._lower_bound(key)
        return self._values[slot] if self._holds(slot, key) else None

    def floor(self, key: K) -> tuple[K, V] | None:
        """Return the last entry whose key is not after `key`."""
        return self._entry(self._upper_bound(key) - 1)

    def ceiling(self, key: K) -> tuple[K, V] | None:
        """Return the first entry whose key is not before `key`."""
        return self._entry(self._lower_bound(key))

    def first(self) -> tuple[K, V] | None:
        """Return the first entry."""
        return self._entry(0)

    def last(self) -> tuple[K, V] | None:
        """Return the last entry."""
        return self._entry(len(self._keys) - 1)

    def items(self, start: K | None = None) -> Iterator[tuple[K, V]]:
        """Iterate entries in order, from the first whose key is not before `start`."""
        begin = 0 if start is None else self._lower_bound(start)
        for slot in range(begin, len(self._keys)):
            yield self._keys[slot], self._values[slot]

    def reversed_items(self, start: K | None = None) -> Iterator[tuple[K, V]]:
        """Iterate entries backwards, from the last whose key is not after `start`."""
        end = len(self._keys) if start is None else self._upper_bound(start)
        for slot in reversed(range(end)):
            yield self._keys[slot], self._values[slot]

    def refresh(self, key: K) -> None:
        """Take note of a changed measure; KeyError without `key`. Nothing is stored, so only that is done."""
        self._slot(key)

    def summary(self) -> Any:
        """Return the summary of all entries, None when empty or without augmentation. O(n)."""
        if self._augment is None or not self._keys:
            return None
        return reduce(self._augment.combine, map(self._augment.measure, self._keys, self._values))

    def prune(self, accept: Callable[[Any], bool]) -> Iterator[tuple[K, V]]:
        """Iterate in order the entries with an accepted summary; ModelError without augmentation. O(n)."""
        if self._augment is None:
            raise ModelError("prune needs an augmentation")
        return self._accepted(accept, self._augment.measure)

    def depth(self) -> int:
        """Return 1, or 0 when empty: there is but one node."""
        return 1 if self._keys else 0

    def validate(self) -> None:
        """Check the lengths of both lists (``length``) and the order of the keys (``order``)."""
        if len(self._keys) != len(self._values):
            detail = f"{len(self._keys)} keys for {len(self._values)} values"
            raise InvariantError("length", "array", detail)
        for slot in range(1, len(self._keys)):
            if not self._less(self._keys[slot - 1], self._keys[slot]):
                detail = f"{self._keys[slot - 1]!r} stands before {self._keys[slot]!r}"
                raise InvariantError("order", f"slot {slot}", detail)

    def _lower_bound(self, key: K) -> int:
        """Return the first slot whose key is not before `key`."""
        less, keys = self._less, self._keys
        low, high, nr = 0, len(keys), 0
        while low < high:
            middle = (low + high) >> 1
            nr += 1
            if less(keys[middle], key):
                low = middle + 1
            else:
                high = middle
        self._count(nr)
        return low

    def _upper_bound(self, key: K) -> int:
        """Return the first slot whose key is after `key`."""
        less, keys = self._less, self._keys
        low, high, nr = 0, len(keys), 0
        while low < high:
            middle = (low + high) >> 1
            nr += 1
            if less(key, keys[middle]):
                high = middle
            else:
                low = middle + 1
        self._count(nr)
        return low

    def _count(self, nr: int) -> None:
        self.counters.nr_comparisons += nr
        self.counters.nr_visits += nr

    def _holds(self, slot: int, key: K) -> bool:
        """Tell whether `slot`, a lower bound of `key`, holds just that."""
        if slot == len(self._keys):
            return False
        self.counters.nr_comparisons += 1
        return not self._less(key, self._keys[slot])

    def _slot(self, key: K) -> int:
        slot = self._lower_bound(key)
        if not self._holds(slot, key):
            raise KeyError(key)
        return slot

    def _entry(self, slot: int) -> tuple[K, V] | None:
        return (self._keys[slot], self._values[slot]) if 0 <= slot < len(self._keys) else None

    def _accepted(
        self, accept: Callable[[Any], bool], measure: Callable[[K, V], Any]
    ) -> Iterator[tuple[K, V]]:
        for key, value in zip(self._keys, self._values, strict=True):
            self.counters.nr_visits += 1
            if accept(measure(key, value)):
                yield key, value

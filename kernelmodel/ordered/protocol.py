"""What every ordered map offers: the mechanism, with the order and the augmentation given by the caller.

Mirrors: ``include/linux/rbtree_augmented.h`` (the tree knows neither key nor summary), generalised to any
shape of tree: a summary is a monoid, so that a node of a B-tree can hold it as well as one of a binary tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True)
class Augment(Generic[K, V]):
    """A summary kept for every subtree.

    Parameters
    ----------
    measure
        The summary of one entry.
    combine
        The summary of two neighbouring ranges of entries, the lower first. Associative.
    """

    measure: Callable[[K, V], Any]
    combine: Callable[[Any, Any], Any]


@dataclass
class Counters:
    """What operations cost so far; the caller may set any of them back to 0.

    Parameters
    ----------
    nr_comparisons
        Calls of the caller's order.
    nr_rotations
        Rotations of a binary tree; splits and joins of nodes of a B-tree; entries shifted in an array.
    nr_visits
        Nodes (or array slots) looked at by searches.
    """

    nr_comparisons: int = 0
    nr_rotations: int = 0
    nr_visits: int = 0


class OrderedMap(Protocol[K, V]):
    """Distinct keys in the caller's order, each with a value.

    Constructors take ``less: Callable[[K, K], bool]`` and optionally ``augment: Augment``. An iteration is
    over when the map changes; what it gives after that is undefined.
    """

    counters: Counters

    def __len__(self) -> int:
        """Return the number of entries."""

    def insert(self, key: K, value: V) -> None:
        """Add an entry; KeyError if the key is there."""

    def remove(self, key: K) -> V:
        """Take an entry out and return its value; KeyError if there is none."""

    def get(self, key: K) -> V | None:
        """Return the value of `key`, None if there is none."""

    def floor(self, key: K) -> tuple[K, V] | None:
        """Return the last entry whose key is not after `key`."""

    def ceiling(self, key: K) -> tuple[K, V] | None:
        """Return the first entry whose key is not before `key`."""

    def first(self) -> tuple[K, V] | None:
        """Return the first entry."""

    def last(self) -> tuple[K, V] | None:
        """Return the last entry."""

    def items(self, start: K | None = None) -> Iterator[tuple[K, V]]:
        """Iterate entries in order, from the first whose key is not before `start`."""

    def reversed_items(self, start: K | None = None) -> Iterator[tuple[K, V]]:
        """Iterate entries backwards, from the last whose key is not after `start`."""

    def refresh(self, key: K) -> None:
        """Take note that what `measure` returns for this entry has changed; KeyError if there is none."""

    def summary(self) -> Any:
        """Return the summary of all entries, None when empty or without augmentation."""

    def prune(self, accept: Callable[[Any], bool]) -> Iterator[tuple[K, V]]:
        """Iterate in order the entries whose own summary is accepted, passing by subtrees that are not.

        `accept` must be true of a combined summary whenever it is true of a part. ModelError without
        augmentation.
        """

    def depth(self) -> int:
        """Return the number of nodes on the longest way from the root, 0 when empty."""

    def validate(self) -> None:
        """Check every invariant; InvariantError names the rule and the witnesses."""


class MapFactory(Protocol):
    """What makes an empty ordered map: the class of any of the trees."""

    def __call__(
        self, less: Callable[[K, K], bool], augment: Augment[K, V] | None = None
    ) -> OrderedMap[K, V]:
        """Return an empty map in the order `less`, with summaries if `augment` is given."""

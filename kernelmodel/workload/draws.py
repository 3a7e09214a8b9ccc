"""Random numbers that are the same on every machine: raw words of PCG64 and integer arithmetic on them.

numpy promises the words of a bit generator, not what its distributions make of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

HALF: Final = np.uint64(32)
MOST_HALVINGS: Final = 16
"""Lifetimes end somewhere: one in 65,536 would be longer."""


class Draws:
    """Draws of one stream.

    Parameters
    ----------
    seed
        Of the demand.
    stream
        Number of the stream in it: each has words of its own.

    Examples
    --------
    >>> Draws(1, 0).below(6, 4).tolist() == Draws(1, 0).below(6, 4).tolist()
    True
    """

    def __init__(self, seed: int, stream: int) -> None:
        self._words = np.random.PCG64([seed, stream])

    def raw(self, nr: int) -> NDArray[np.uint64]:
        """Return words, uint64."""
        return np.asarray(self._words.random_raw(nr), np.uint64)

    def below(self, bound: int, nr: int) -> NDArray[np.int64]:
        """Return numbers from 0 to `bound` - 1, each as likely; `bound` is at most 2**31."""
        return (((self.raw(nr) >> HALF) * np.uint64(bound)) >> HALF).astype(np.int64)

    def choose(self, values: Sequence[int], weights: Sequence[int], nr: int) -> NDArray[np.int64]:
        """Return some of `values`, as likely as `weights` say."""
        ends = np.cumsum(np.asarray(weights, np.int64))
        chosen: NDArray[np.int64] = np.asarray(values, np.int64)[
            np.searchsorted(ends, self.below(int(ends[-1]), nr), side="right")
        ]
        return chosen

    def halvings(self, nr: int) -> NDArray[np.int64]:
        """Return how often in a row a coin falls tails: 0 in a half of all cases, 1 in a quarter, ..."""
        words = self.raw(nr)
        found = np.zeros(nr, np.int64)
        for bit in range(MOST_HALVINGS):
            found += words & np.uint64((2 << bit) - 1) == 0
        return found

    def lifetimes(self, mean: int, nr: int) -> NDArray[np.int64]:
        """Return times of at least 1 that end as likely at any age, about `mean` on average.

        Exponential, in straight pieces: each piece of two thirds of the mean has half the weight of the one
        before it.
        """
        piece = max(1, 2 * mean // 3)
        return self.halvings(nr) * piece + self.below(piece, nr) + 1

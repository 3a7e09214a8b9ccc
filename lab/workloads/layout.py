"""Which pages: seeded choices as half-open ranges. Pure; the kernel is not asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    Range = tuple[int, int]


def runs(pages: Iterable[int]) -> list[Range]:
    """Return ascending page numbers as ranges.

    >>> runs([0, 1, 2, 5, 7, 8])
    [(0, 3), (5, 6), (7, 9)]
    """
    found: list[Range] = []
    first, end = 0, -1
    for page in pages:
        if page != end:
            if end > first:
                found.append((first, end))
            first = page
        end = page + 1
    if end > first:
        found.append((first, end))
    return found


def gaps(ranges: list[Range], nr_pages: int) -> list[Range]:
    """Return what ranges leave of `nr_pages`.

    >>> gaps([(0, 3), (5, 6)], 8)
    [(3, 5), (6, 8)]
    """
    edges = [0, *(edge for pair in ranges for edge in pair), nr_pages]
    return [(first, end) for first, end in zip(edges[::2], edges[1::2], strict=True) if first < end]


def count(ranges: Iterable[Range]) -> int:
    """Return how many pages ranges hold.

    >>> count([(0, 3), (5, 6)])
    4
    """
    return sum(end - first for first, end in ranges)


def sample(rng: Random, nr_pages: int, nr_chosen: int) -> list[Range]:
    """Return exactly `nr_chosen` pages, each set of them equally likely.

    One look at each page in order, without a list of all of them [1]_: the maker must stay smaller than the
    layout.

    References
    ----------
    .. [1] D. E. Knuth, The Art of Computer Programming, volume 2, section 3.4.2, algorithm S.

    >>> from random import Random
    >>> count(sample(Random(1), 100, 30))
    30
    """
    chosen: list[int] = []
    draw = rng.random
    for page in range(nr_pages):
        if (nr_pages - page) * draw() < nr_chosen - len(chosen):
            chosen.append(page)
    return runs(chosen)


def clusters(rng: Random, nr_pages: int, share: float, mean_pages: float) -> list[Range]:
    """Return runs of chosen pages between runs of others, their lengths geometric.

    The mean of both kinds together is `mean_pages`; chosen runs are longer than the others as `share` is
    larger than a half. Each page ends its run with the same probability, which makes lengths geometric.

    >>> from random import Random
    >>> clusters(Random(1), 40, 0.5, 8)
    [(0, 8), (9, 13), (19, 20), (26, 35)]
    """
    ends = {True: 1 / (2 * mean_pages * share), False: 1 / (2 * mean_pages * (1 - share))}
    inside = rng.random() < share
    chosen: list[int] = []
    for page in range(nr_pages):
        if inside:
            chosen.append(page)
        if rng.random() < ends[inside]:
            inside = not inside
    return runs(chosen)

"""Anonymous memory with holes: what compaction and the buddy allocator are about."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lab.workloads import layout, look
from lab.workloads.made import LIMIT_BYTES, bounded, need
from lab.workloads.memory import DONTNEED, NOHUGEPAGE, PAGE, Area

if TYPE_CHECKING:
    from lab.workloads.layout import Range
    from lab.workloads.made import Made


@contextmanager
def holes(
    *,
    pages: int,
    pattern: str = "random",
    keep: float = 0.5,
    cluster: float = 16.0,
    seed: int = 0,
    limit: int = LIMIT_BYTES,
) -> Made:
    """Touch pages in order, then give some of them back.

    Parameters
    ----------
    pages
        Touched at first.
    pattern
        ``random``: exactly ``round(keep * pages)`` pages are kept, every such set equally likely.
        ``clustered``: runs of kept and of freed pages, their lengths geometric.
    keep
        Share that is kept; with clusters it is reached on average.
    cluster
        Mean length in pages of the runs of both kinds together, clustered only.
    seed, limit
        As for every workload.

    Yields
    ------
    dict
        ``bytes``, ``nr_kept``, and one area with the ranges ``kept`` and ``freed``.
    """
    need(pages >= 1, f"pages={pages}: at least 1")
    need(0 <= keep <= 1, f"keep={keep}: 0 to 1")
    nr_bytes = bounded(pages * PAGE, limit)
    kept = kept_pages(random.Random(seed), pages, pattern, keep, cluster)
    freed = layout.gaps(kept, pages)
    with Area(pages) as area:
        area.advise(NOHUGEPAGE)
        area.stamp(seed)
        for first, end in freed:
            area.advise(DONTNEED, first, end)
        found = look.entries(area.start, pages)
        look.expect("kept pages", look.pages_with(found, look.PRESENT), kept)
        look.expect("freed pages", look.pages_with(found, look.PRESENT | look.SWAP, 0), freed)
        place = {"name": "holes", "start": area.start, "nr_pages": pages}
        yield {
            "bytes": nr_bytes,
            "nr_kept": layout.count(kept),
            "areas": [{**place, "kept": kept, "freed": freed}],
        }


def kept_pages(rng: random.Random, pages: int, pattern: str, keep: float, cluster: float) -> list[Range]:
    """Draw which pages are kept; parameters as for `holes`."""
    need(pattern in {"random", "clustered"}, f"pattern={pattern}: random or clustered")
    if pattern == "random":
        return layout.sample(rng, pages, round(keep * pages))
    shortest = 2 * cluster * min(keep, 1 - keep)
    need(shortest >= 1, f"cluster={cluster} keep={keep}: runs of a mean of {shortest:.2f} pages")
    return layout.clusters(rng, pages, keep, cluster)

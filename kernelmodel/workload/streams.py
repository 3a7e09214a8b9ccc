"""The streams: who asks for what, and how long it is kept.

Each holds a share of the memory that is free at the start once it has run long enough; how long that takes
hangs on the memory (`kernelmodel.workload.mix.held_pages`). That of page-cache is a mean: it holds 45 %
before each drop, and half of that after it.

================== ======= =============================================================================
stream             share   what it models
================== ======= =============================================================================
page-cache         35 %    files are read, and half of them dropped at once, again and again
process-churn      30 %    processes of the host's sizes start and exit
huge-storm         12 %    faults of transparent huge pages
unmovable-sprinkle  4 %    slab pages that stay for long
net-burst           1 %    packets that must not wait
sound-card         97 %    an image browser eats memory; a driver wants 64 KiB below 16 MiB (1998)
print-job          99 %    memory is gone; a print job wants orders 1 to 3 (1998)
================== ======= =============================================================================

Fidelity: shares and mixtures of orders are chosen, not measured; sizes of processes and VMAs are the host's.
A request does not hang on whether those before it were met.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from kernelmodel.compaction.zone_layout import Frame
from kernelmodel.page_alloc.state import MOVABLE, RECLAIMABLE, UNMOVABLE
from kernelmodel.priority import Priority
from kernelmodel.workload.demand import FOREVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from kernelmodel.workload.draws import Draws
    from kernelmodel.workload.scale import Scale

DMA: Final = 0
NORMAL: Final = 2
MOVABLE_ZONE: Final = 3
# The parts of a process, in the order in which it asks: stack, page tables, slab, huge and single pages.
SLAB: Final = 2
HUGE: Final = 3
ORDER_OF_PART: Final = (2, 0, 0, 0, 0)
SOUND_ORDER: Final = 4
"""64 KiB."""


class Stream(NamedTuple):
    """Columns of one stream, a row a request; what `kernelmodel.workload.demand.Requests` says, and lifetime.

    Parameters
    ----------
    lifetime
        int64, further requests of this stream until it is given back, or FOREVER.
    source
        0 or 1: which of the stream's sources it belongs to.
    """

    order: NDArray[np.int64]
    migratetype: NDArray[np.int64]
    kind: NDArray[np.int64]
    priority: NDArray[np.int64]
    highest_zone: NDArray[np.int64]
    lifetime: NDArray[np.int64]
    source: NDArray[np.int64]


def _stream(
    order: NDArray[np.int64],
    lifetime: NDArray[np.int64],
    *,
    migratetype: NDArray[np.int64] | int,
    kind: NDArray[np.int64] | int,
    highest_zone: NDArray[np.int64] | int,
    priority: int = Priority.WAITS,
    source: NDArray[np.int64] | int = 0,
) -> Stream:
    """Return a stream; a number stands for a column of it."""
    columns = (migratetype, kind, priority, highest_zone)
    full = [np.broadcast_to(np.asarray(each, np.int64), order.shape) for each in (*columns, source)]
    return Stream(order, full[0], full[1], full[2], full[3], lifetime, full[4])


def _user_zone(scale: Scale) -> int:
    """Return the highest zone for memory of users."""
    return scale.highest_zone


def _kernel_zone(scale: Scale) -> int:
    """Return the highest zone for memory of the kernel, which never comes from Movable."""
    return min(scale.highest_zone, NORMAL)


def page_cache(draws: Draws, nr: int, scale: Scale) -> Stream:
    """Read files, single pages and large folios; at the end of each round every file goes or stays."""
    order = np.minimum(draws.choose((0, 2, 4), (70, 20, 10), nr), scale.nr_orders - 1)
    pages_permille = 70 * 10 + 20 * 40 + 10 * 160
    # Before a drop there is the whole of this round, half of the last one, a quarter of that before, ...
    round_length = max(1, scale.free_pages * 450 // (2 * pages_permille))
    file = np.cumsum(draws.below(32, nr) == 0)
    rounds = 1 + draws.halvings(int(file[-1]) + 1 if nr else 1)[file]
    at = np.arange(nr)
    lifetime = (at // round_length + rounds) * round_length - at
    kind = draws.choose((Frame.CLEAN, Frame.DIRTY), (85, 15), nr)
    return _stream(order, lifetime, migratetype=MOVABLE, kind=kind, highest_zone=_user_zone(scale))


def process_churn(draws: Draws, nr: int, scale: Scale) -> Stream:
    """Start processes and let them exit: stack, page tables, slab, anonymous pages, some of them huge."""
    sizes, vmas = scale.processes(), scale.vmas()
    nr_processes = max(1, nr // 8)
    resident = sizes[draws.below(len(sizes), nr_processes)]
    vma = vmas[draws.below(len(vmas), nr_processes)]
    huge_pages = 1 << scale.huge_order
    nr_huge = np.where((vma >= huge_pages) & (draws.below(4, nr_processes) == 0), resident // huge_pages, 0)
    nr_tables = 4 + np.minimum(resident // np.minimum(vma, 512), 64)
    nr_slab = 2 + draws.below(6, nr_processes)
    nr_anon = resident - nr_huge * huge_pages
    parts = np.stack([np.ones_like(nr_slab), nr_tables, nr_slab, nr_huge, nr_anon], axis=1)
    nr_of = parts.sum(axis=1)
    mean_pages = int((resident + nr_tables + 4 + 2 * nr_slab).sum()) // nr_processes
    last = int(np.searchsorted(np.cumsum(nr_of), nr)) + 1
    parts, nr_of = parts[:last], nr_of[:last]
    part = np.repeat(np.tile(np.arange(5), len(parts)), parts.ravel())[:nr]
    process = np.repeat(np.arange(len(parts)), nr_of)[:nr]
    slab_order = draws.choose((0, 1, 2, 3), (50, 25, 15, 10), nr)
    order = np.where(part == SLAB, slab_order, np.array(ORDER_OF_PART)[part])
    order[part == HUGE] = scale.huge_order
    user = part >= HUGE
    mean_requests = max(1, int(nr_of.sum()) // len(nr_of))
    # So many processes live at a time, and each of them as many requests as those that come meanwhile.
    living = max(1, scale.free_pages * 300 // 1000 // max(1, mean_pages))
    ends = np.cumsum(nr_of) + draws.lifetimes(living * mean_requests, len(nr_of))
    return _stream(
        np.minimum(order, scale.nr_orders - 1),
        ends[process] - np.arange(nr),
        migratetype=np.where(user, MOVABLE, UNMOVABLE),
        kind=np.where(user, Frame.ANON, Frame.FIXED),
        highest_zone=np.where(user, _user_zone(scale), _kernel_zone(scale)),
    )


def net_burst(draws: Draws, nr: int, scale: Scale) -> Stream:
    """Receive packets: atomic, from heads of one page to jumbo frames, gone soon."""
    order = draws.choose((0, 1, 2, 3), (60, 15, 10, 15), nr)
    mean = max(1, min(2048, scale.free_pages * 10 // 2500))
    return _stream(
        order,
        draws.lifetimes(mean, nr),
        migratetype=UNMOVABLE,
        kind=Frame.FIXED,
        priority=Priority.ATOMIC,
        highest_zone=_kernel_zone(scale),
    )


def huge_storm(draws: Draws, nr: int, scale: Scale) -> Stream:
    """Fault huge pages."""
    huge = min(scale.huge_order, scale.nr_orders - 1)
    order = np.full(nr, huge, np.int64)
    mean = max(1, scale.free_pages * 120 // 1000 >> huge)
    lifetime = draws.lifetimes(mean, nr)
    return _stream(order, lifetime, migratetype=MOVABLE, kind=Frame.ANON, highest_zone=_user_zone(scale))


def unmovable_sprinkle(draws: Draws, nr: int, scale: Scale) -> Stream:
    """Fill slabs of inodes, dentries and others; one in eight stays for good."""
    order = draws.choose((0, 1, 2, 3), (60, 20, 10, 10), nr)
    mean = max(1, scale.free_pages * 40 // 2200)
    lifetime = np.where(draws.below(8, nr) == 0, FOREVER, draws.lifetimes(mean, nr))
    # What stays for good may not come to more than the share either: later ones leave like others.
    forever = (lifetime == FOREVER) & (np.arange(nr) >= mean)
    lifetime[forever] = 2 * mean
    return _stream(
        order,
        lifetime,
        migratetype=draws.choose((RECLAIMABLE, UNMOVABLE), (60, 40), nr),
        kind=Frame.FIXED,
        highest_zone=_kernel_zone(scale),
    )


def _eaten(draws: Draws, nr: int, scale: Scale, permille: int) -> Stream:
    """Eat memory page by page: pictures and their files, some of which leave as a whole."""
    picture = np.cumsum(draws.below(200, nr) == 0)
    mean = max(1, scale.free_pages * permille // 1000)
    whole = draws.lifetimes(mean, int(picture[-1]) + 1 if nr else 1)
    end = np.zeros(len(whole), np.int64)
    np.maximum.at(end, picture, np.arange(nr))
    together = (end + whole)[picture] - np.arange(nr)
    alone = draws.lifetimes(mean, nr)
    kind = draws.choose((Frame.ANON, Frame.CLEAN, Frame.DIRTY), (60, 30, 10), nr)
    return _stream(
        np.zeros(nr, np.int64),
        np.where(draws.below(2, nr) == 0, together, alone),
        migratetype=MOVABLE,
        kind=kind,
        highest_zone=_user_zone(scale),
    )


def _driver(nr: int) -> tuple[NDArray[np.bool_], int]:
    """Return which requests are those of a driver: one in so many of the second half."""
    each = max(64, nr // 2000)
    at = np.arange(nr)
    return (at >= nr // 2) & (at % each == each - 1), each


def sound_card(draws: Draws, nr: int, scale: Scale) -> Stream:
    """Eat memory with an image browser; now and then a sound driver opens its device."""
    eaten = _eaten(draws, nr, scale, 970)
    driver, each = _driver(nr)
    return eaten._replace(
        order=np.where(driver, min(SOUND_ORDER, scale.nr_orders - 1), eaten.order),
        migratetype=np.where(driver, UNMOVABLE, eaten.migratetype),
        kind=np.where(driver, Frame.FIXED, eaten.kind),
        highest_zone=np.where(driver, DMA, eaten.highest_zone),
        lifetime=np.where(driver, each // 2, eaten.lifetime),
        source=driver.astype(np.int64),
    )


def print_job(draws: Draws, nr: int, scale: Scale) -> Stream:
    """Eat all memory; now and then a print job wants a few contiguous pages, and keeps them for a while."""
    eaten = _eaten(draws, nr, scale, 990)
    driver, each = _driver(nr)
    return eaten._replace(
        order=np.where(driver, draws.choose((1, 2, 3), (50, 30, 20), nr), eaten.order),
        migratetype=np.where(driver, UNMOVABLE, eaten.migratetype),
        kind=np.where(driver, Frame.FIXED, eaten.kind),
        highest_zone=np.where(driver, _kernel_zone(scale), eaten.highest_zone),
        lifetime=np.where(driver, 4 * each, eaten.lifetime),
        source=driver.astype(np.int64),
    )


class Kind(NamedTuple):
    """One stream: a line about it, the names of its sources, and what makes it."""

    description: str
    sources: tuple[str, ...]
    make: Callable[[Draws, int, Scale], Stream]


STREAMS: Final[dict[str, Kind]] = {
    "page-cache": Kind("files are read, and half of them dropped at once", ("page-cache",), page_cache),
    "process-churn": Kind("processes of the host's sizes start and exit", ("process-churn",), process_churn),
    "net-burst": Kind("packets: atomic, order 0 to 3, gone soon", ("net-burst",), net_burst),
    "huge-storm": Kind("faults of huge pages", ("huge-storm",), huge_storm),
    "unmovable-sprinkle": Kind("slab pages that stay for long", ("unmovable-sprinkle",), unmovable_sprinkle),
    "sound-card": Kind(
        "an image browser eats memory, then a driver wants 64 KiB below 16 MiB",
        ("image-browser", "sound-card"),
        sound_card,
    ),
    "print-job": Kind(
        "memory is gone, then a print job wants orders 1 to 3", ("memory-eater", "print-job"), print_job
    ),
}
"""By name."""

MIXED: Final = (
    ("page-cache", 30), ("process-churn", 60), ("net-burst", 30), ("huge-storm", 1),
    ("unmovable-sprinkle", 6),
)  # fmt: skip
"""The mixed stream: requests of each, of 127. Those that eat all memory by themselves are no part of it."""

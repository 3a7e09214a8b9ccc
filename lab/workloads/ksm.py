"""Pages that KSM merges: copies of the same pages, and patience."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

from lab.errors import UnavailableError
from lab.workloads import look
from lab.workloads.made import LIMIT_BYTES, TooSlowError, bounded, need
from lab.workloads.memory import MERGEABLE, NOHUGEPAGE, PAGE, Area

if TYPE_CHECKING:
    from lab.workloads.made import Made

KSM: Final = "/sys/kernel/mm/ksm"
LOOK_SECONDS: Final = 0.1
SETTLED_SECONDS: Final = 4.0
"""Merging has stopped when nothing was merged for so long; ksmd needs two passes to merge a page."""


@contextmanager
def ksm(*, pages: int, copies: int = 2, seed: int = 0, limit: int = LIMIT_BYTES) -> Made:
    """Write the same distinct pages into several areas and wait until they are merged.

    Parameters
    ----------
    pages
        Distinct contents; each is in no other place, but in another workload with this seed.
    copies
        Areas.
    seed, limit
        As for every workload.

    Yields
    ------
    dict
        ``bytes``; ``areas``; ``merging_pages``, the kernel's count for this process; ``all_merged``;
        ``pages_shared`` and ``pages_sharing``, the kernel's counts for the machine.
    """
    need(pages >= 1, f"pages={pages}: at least 1")
    need(copies >= 2, f"copies={copies}: at least 2")
    nr_bytes = bounded(pages * copies * PAGE, limit)
    run = look.text(f"{KSM}/run").strip()
    if run != "1":
        raise UnavailableError(f"KSM does not run: {KSM}/run is {run}, not 1")
    with ExitStack() as stack:
        areas = [stack.enter_context(Area(pages)) for _ in range(copies)]
        for area in areas:
            area.advise(NOHUGEPAGE)
            for page in range(pages):
                area.write(page, f"vmprobe-lab ksm {seed} {page}".encode())
            area.advise(MERGEABLE)
        merging = _settle(pages * copies)
        for area in areas:
            present = look.pages_with(look.entries(area.start, pages), look.PRESENT)
            look.expect("pages that can merge", present, [(0, pages)])
        yield {
            "bytes": nr_bytes,
            "areas": [
                {"name": f"copy {i}", "start": area.start, "nr_pages": pages, "written": [(0, pages)]}
                for i, area in enumerate(areas)
            ],
            "merging_pages": merging,
            "all_merged": merging == pages * copies,
            "pages_shared": int(look.text(f"{KSM}/pages_shared")),
            "pages_sharing": int(look.text(f"{KSM}/pages_sharing")),
        }


def _settle(nr_pages: int) -> int:
    """Return how many pages of this process are merged, once all are or no more become so."""
    merging, since = 0, time.monotonic()
    try:
        while merging < nr_pages and (not merging or time.monotonic() - since < SETTLED_SECONDS):
            time.sleep(LOOK_SECONDS)
            now = int(look.text("/proc/self/ksm_merging_pages"))
            if now != merging:
                merging, since = now, time.monotonic()
    except TooSlowError as error:
        raise TooSlowError(f"{error}: {merging} of {nr_pages} pages are merged") from None
    return merging

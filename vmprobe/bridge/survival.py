"""What workers still share of their parent's image, from two snapshots of one boot."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kernelmodel.pageflags import mask
from kernelmodel.sharing.survival import Image, Survival, image, survival
from vmprobe.bridge.model import frames, page_tables
from vmprobe.bridge.swap import swap_runs
from vmprobe.errors import SnapshotError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.page_tables import PageTables
    from kernelmodel.sharing.facts import SwapRuns
    from vmprobe.tables import Snapshot

__all__ = ["Images", "Survival", "images", "private_areas", "survive"]


class Images(NamedTuple):
    """A snapshot, ready to be asked for the anonymous pages of one address space."""

    tables: PageTables
    anonymous: NDArray[np.bool_]
    swap: SwapRuns
    swap_vpn: NDArray[np.int64]

    def of(self, mm: int | None) -> Image:
        """Return the anonymous pages of an address space, swapped ones included; none of None."""
        wanted = -1 if mm is None else mm
        return image(self.tables, wanted, chosen=self.anonymous, swap=(self.swap, self.swap_vpn))


def images(snapshot: Snapshot) -> Images:
    """Return what images are made from.

    Raises
    ------
    SnapshotError
        There are no flag words or no frame numbers.
    """
    memmap = frames(snapshot)
    tables = page_tables(snapshot)
    if tables is None:
        raise SnapshotError(snapshot.path or "snapshot", "it has no page tables with frame numbers")
    # Pages of files and zero pages are shared with everybody, whoever forked whom.
    words = memmap.run_words
    own = ((words & np.uint64(mask("ANON"))) != 0) & ((words & np.uint64(mask("ZERO_PAGE"))) == 0)
    rows = memmap.rows(tables.pfn)
    anonymous = memmap.spread(own.view(np.uint8))[rows].view(np.bool_) & (rows >= 0)
    return Images(tables, anonymous, *swap_runs(snapshot))


def private_areas(snapshot: Snapshot, mm: int) -> NDArray[np.int64]:
    """Return the rows in vmas of the private VMAs of an address space, ascending by address."""
    table = snapshot.table("vmas", ("mm", "perms", "start"))
    private = np.array([perms.endswith("p") for perms in table.column("perms").tolist()], np.bool_)
    rows = np.flatnonzero((table.column("mm") == mm) & private)
    order: NDArray[np.int64] = rows[np.argsort(table.column("start")[rows], kind="stable")]
    return order


def survive(
    old: tuple[Image, Image],
    new: tuple[Image, Image],
    snapshot: Snapshot,
    areas: NDArray[np.int64],
    seconds: float,
) -> Survival:
    """Compare what parent and worker shared with what they share now.

    Parameters
    ----------
    old, new
        Images of parent and worker in the earlier and the later snapshot.
    snapshot
        The earlier one.
    areas
        Rows of its vmas to report on.
    seconds
        Between the two.
    """
    table, page = snapshot.table("vmas", ("start", "end")), np.uint64(snapshot.page_size)
    start, end = ((table.column(name)[areas] // page).astype(np.int64) for name in ("start", "end"))
    return survival(old, new, start, end, seconds=seconds)

"""What the frames of a snapshot are used for: every frame in exactly one class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kernelmodel.pageclass import CLASS_INFO, PageClass, classify, inherit_from_head
from vmprobe.bridge.resources import frames_inside, ram_ranges

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vmprobe.bridge.memmap import Runs
    from vmprobe.tables import Snapshot


@dataclass(frozen=True)
class ClassCount:
    """Frames of one class."""

    page_class: PageClass
    nr_frames: int
    nr_unstable: int

    @property
    def name(self) -> str:
        """The class as people call it."""
        return CLASS_INFO[self.page_class].name

    @property
    def is_hole(self) -> bool:
        """Whether its frames have no memory behind them."""
        return self.page_class == PageClass.HOLE

    @property
    def meaning(self) -> str:
        """One line on what is in it."""
        return CLASS_INFO[self.page_class].meaning


@dataclass(frozen=True)
class Classes:
    """Every frame in one class.

    Parameters
    ----------
    counts
        One entry per class that has frames, in the order of `PageClass`.
    nr_frames
        Rows of the frames table.
    nr_unread
        Frames without a flag word; ``sum of counts + nr_unread == nr_frames``.
    holes_known
        Whether /proc/iomem told which frames have no memory behind them.
    """

    counts: tuple[ClassCount, ...]
    nr_frames: int
    nr_unread: int
    holes_known: bool

    @property
    def nr_holes(self) -> int:
        """Frames known to have no memory behind them."""
        return sum(count.nr_frames for count in self.counts if count.is_hole)

    @property
    def nr_unknown(self) -> int:
        """Frames whose word is 0 and that are not known to be holes."""
        return sum(count.nr_frames for count in self.counts if count.page_class == PageClass.UNKNOWN)

    def validate(self) -> None:
        """Check that every frame is counted once.

        Raises
        ------
        AssertionError
            A class count is off.
        """
        total = sum(count.nr_frames for count in self.counts)
        if total + self.nr_unread != self.nr_frames:
            msg = f"classes hold {total} frames and {self.nr_unread} unread ones, the table {self.nr_frames}"
            raise AssertionError(msg)
        for count in self.counts:
            if not 0 <= count.nr_unstable <= count.nr_frames:
                msg = f"class {count.name}: {count.nr_unstable} unstable of {count.nr_frames} frames"
                raise AssertionError(msg)


def zero_holes(runs: Runs, ram: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return, for each run whose word is 0, how many of its frames lie outside `ram`."""
    zero = runs.words == 0
    start_pfn, length = runs.start_pfn[zero], runs.nr_frames[zero]
    holes: NDArray[np.int64] = length - frames_inside(ram, start_pfn, start_pfn + length)
    return holes


def classes(snapshot: Snapshot, runs: Runs, *, trust_ksm: bool) -> Classes:
    """Return how many frames each class has, holes set apart from other words of 0.

    A word of 0 outside every System RAM range is a hole; the other ones stay unknown.

    Parameters
    ----------
    snapshot
        For /proc/iomem.
    runs
        `frame_runs` of it.
    trust_ksm
        Whether the KSM bit means KSM on that kernel (the quirk ksm-on-all-anon).
    """
    codes = classify(inherit_from_head(runs.words), trust_ksm=trust_ksm)
    nr_frames = np.bincount(codes, weights=runs.nr_frames, minlength=len(PageClass)).astype(np.int64)
    nr_unstable = np.bincount(codes, weights=runs.nr_unstable, minlength=len(PageClass)).astype(np.int64)
    ram = ram_ranges(snapshot)
    if ram is not None:
        zero = runs.words == 0
        holes = zero_holes(runs, ram)
        # A hole does not change: the unstable frames of a mixed run are its others, as far as there are any.
        unstable = np.maximum(runs.nr_unstable[zero] - (runs.nr_frames[zero] - holes), 0).sum()
        for counted, moved in ((nr_frames, int(holes.sum())), (nr_unstable, int(unstable))):
            counted[PageClass.UNKNOWN] -= moved
            counted[PageClass.HOLE] += moved
    counts = tuple(
        ClassCount(page_class, int(nr_frames[page_class]), int(nr_unstable[page_class]))
        for page_class in PageClass
        if nr_frames[page_class]
    )
    made = Classes(counts, runs.nr_rows, runs.nr_unread, ram is not None)
    made.validate()
    return made

"""kernelmodel.holder: which evidence changes what, over every code."""

from __future__ import annotations

import numpy as np

from kernelmodel.holder import (
    CGROUP_TAG,
    HOLDERS,
    NOBODY,
    NR_TAGS,
    PINNED_TAG,
    PROCESS_TAG,
    Holder,
    tag_frames,
)
from kernelmodel.movability import MOVABILITY_INFO, Movability, Verdict


def test_evidence_changes_a_tag_where_it_matters_alone() -> None:
    codes = np.array(list(Movability), np.uint8)
    everything = np.arange(len(codes))
    none = np.empty(0, np.int64)
    assert tag_frames(codes, none, none, none).tolist() == codes.tolist()

    def changed(tags: np.ndarray, tag: int) -> set[str]:
        return {Movability(code).name for code in np.flatnonzero(tags == tag).tolist()}

    reached = tag_frames(codes, everything, none, none)
    assert changed(reached, PROCESS_TAG) == {
        "HUGETLB", "UNEVICTABLE_KEPT", "DRIVER", "ZSMALLOC_OR_DRIVER", "SECRET_OR_MLOCKED",
    }  # fmt: skip
    charged = tag_frames(codes, none, everything, none)
    assert changed(charged, CGROUP_TAG) == {"KERNEL", "UNKNOWN", "DRIVER", "UNEVICTABLE_KEPT"}
    # A movable page that is pinned is a blocker; one that stays anyway, or is free, is none the more.
    pinned = tag_frames(codes, none, none, everything)
    assert changed(pinned, PINNED_TAG) == {
        code.name for code in Movability if MOVABILITY_INFO[code].verdict in {Verdict.YES, Verdict.IF}
    }
    both = tag_frames(codes, everything, everything, everything)
    assert both[Movability.DRIVER] == PROCESS_TAG


def test_every_tag_has_the_holder_that_its_verdict_asks_for() -> None:
    for tag, holder in enumerate(HOLDERS.tolist()):
        if tag >= len(Movability):
            assert holder in {Holder.PROCESS, Holder.CGROUP, Holder.PINNED}
            continue
        verdict = MOVABILITY_INFO[Movability(tag)].verdict
        stays = verdict in {Verdict.NO, Verdict.UNKNOWN} and tag != Movability.HOLE
        assert (holder != NOBODY) == stays
        assert (holder == Holder.UNKNOWN) == (verdict == Verdict.UNKNOWN)
    assert len(HOLDERS) == NR_TAGS

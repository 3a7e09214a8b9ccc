"""Huge page pools and KSM: memory that looks like something else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel.pageflags import mask
from lab.ring.check import Check, equal
from lab.ring.checks_frames import class_frames, meminfo_kib
from vmprobe.analyses.quirks import quirks

if TYPE_CHECKING:
    from lab.ring.visit import Round, Visit

HUGE, KSM, ANON = np.uint64(mask("HUGE")), np.uint64(mask("KSM")), np.uint64(mask("ANON"))
TYPED = np.uint64(mask("BUDDY", "SLAB", "PGTABLE", "RESERVED", "HUGE"))
EXCLUSIVE = np.uint64(mask("OWNER_2"))
"""PG_anon_exclusive, printed as this bit: no page that KSM shares can have it."""


def compare_hugetlb(_visit: Visit, taken: Round) -> str:
    """Compare the pool, free or not: none of it is free memory."""
    text = taken.text("meminfo")
    frames_each = meminfo_kib(text, "Hugepagesize") * 1024 // taken.snapshot.page_size
    total, free = (meminfo_kib(text, f"HugePages_{name}") * frames_each for name in ("Total", "Free"))
    equal(class_frames(taken).get("hugetlb", 0), total, "frames of class hugetlb")
    frames = taken.snapshot.table("frames")
    unmapped = ((frames.column("flags") & HUGE) != 0) & (frames.column("mapcount") == 0)
    equal(int(np.count_nonzero(unmapped)), free, "hugetlb frames that nobody maps")
    return f"{total:,} frames, {free:,} of them free in the pool"


def plant_hugetlb(_visit: Visit, taken: Round) -> Round:
    """Plant a free page of the pool that is called free memory."""
    frames = taken.snapshot.table("frames")
    free = ((frames.column("flags") & HUGE) != 0) & (frames.column("mapcount") == 0)
    return taken.changed("frames", "flags", int(np.flatnonzero(free)[0]), np.uint64(mask("BUDDY")))


def no_pool(visit: Visit) -> str | None:
    """Return why there is no pool."""
    return None if visit.shape.hugepages else "no huge pages reserved in this guest"


def compare_ksm(visit: Visit, taken: Round) -> str:
    """Compare who believes the KSM bit: it means KSM, or it is on every anonymous page."""
    words = taken.words("kpageflags")
    anon = words[((words & ANON) != 0) & ((words & TYPED) == 0)]
    with_bit = int(np.count_nonzero(anon & KSM))
    noise = bool(np.count_nonzero(((anon & KSM) != 0) & ((anon & EXCLUSIVE) != 0)))
    shared = visit.facts["ksm_pages_shared"]
    status = next(found.status for found in quirks(taken.snapshot) if found.id == "ksm-on-all-anon")
    equal(status, "present" if noise else "absent", "quirk ksm-on-all-anon")
    classes = class_frames(taken)
    if noise:
        equal(classes.get("ksm", 0), 0, "frames of class ksm, where the bit is noise")
        return f"quirk recognised: bit on {with_bit:,} of {len(anon):,}, {shared:,} shared"
    equal(with_bit, shared, "frames with KSM against ksm/pages_shared")
    equal(classes.get("ksm", 0), shared, "frames of class ksm")
    return f"{shared:,} frames, no quirk"


def plant_ksm(_visit: Visit, taken: Round) -> Round:
    """Plant one anonymous frame with its KSM bit turned over."""
    frames = taken.snapshot.table("frames")
    flags = frames.column("flags")
    row = int(np.flatnonzero(((flags & ANON) != 0) & ((flags & TYPED) == 0))[0])
    return taken.changed("frames", "flags", row, flags[row] ^ KSM)


CHECKS: Final = (
    Check("huge page pool", "meminfo HugePages", compare_hugetlb, plant_hugetlb, no_pool),
    Check("KSM", "ksm/pages_shared, bit 34", compare_ksm, plant_ksm),
)
"""Rows of the table about pools."""

"""Kernel quirks: what some kernels print that means something else, and what vmprobe does about it.

Quirks are recognised by what the snapshot shows, never by the kernel's version: distributions backport.
``present`` means that the snapshot shows it, ``absent`` that what would show it was read and does not, and
``unknown`` that what would show it is not in the snapshot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vmprobe.analyses import quirk_detectors as detect
from vmprobe.analyses.evidence import Evidence

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmprobe.analyses.quirk_detectors import Finding
    from vmprobe.tables import Snapshot


@dataclass(frozen=True)
class Quirk:
    """One row of the table.

    Parameters
    ----------
    id
        Stable name, used in JSON and in the documentation.
    title
        What the kernel does.
    kernels
        Which releases are known to do it, as text for people; nothing in the program reads it.
    commit
        The kernel commit that brought it, 12 digits; empty where none was verified.
    remedy
        What vmprobe does about it.
    detect
        Tells from the evidence whether this snapshot shows it.
    """

    id: str
    title: str
    kernels: str
    commit: str
    remedy: str
    detect: Callable[[Evidence], Finding]


@dataclass(frozen=True)
class QuirkFinding:
    """What one snapshot says about one quirk; `status` is present, absent or unknown."""

    id: str
    title: str
    status: str
    evidence: str
    remedy: str
    kernels: str
    commit: str


QUIRKS: Final = (
    Quirk(
        "nopage-not-reported",
        "holes read as flag word 0 instead of NOPAGE",
        "6.16 and later",
        "",
        "takes holes from /proc/iomem; without it they stay among the unknown frames",
        detect.nopage_not_reported,
    ),
    Quirk(
        "ksm-on-all-anon",
        "KSM is set on every anonymous page",
        "6.10 and later; mended upstream by 81401cebfc15",
        "dee3d0bef2b0",
        "counts such pages as anonymous and takes KSM from /sys/kernel/mm/ksm",
        detect.ksm_on_all_anon,
    ),
    Quirk(
        "slab-junk-anon-ksm",
        "ANON and KSM on slab pages are noise",
        "6.2 and later",
        "130d4df57390",
        "looks at SLAB first and ignores the other two beside it",
        detect.slab_junk,
    ),
    Quirk(
        "lru-missing-on-fresh",
        "fresh pages wait in a per-CPU batch without LRU",
        "all",
        "",
        "knows anonymous and shared memory by ANON and SWAPBACKED, not by LRU",
        detect.lru_missing,
    ),
    Quirk(
        "uptodate-on-free",
        "UPTODATE on a free block means: reported to the hypervisor",
        "5.7 and later",
        "36e66c554b5c",
        "looks at BUDDY first; the frames are free",
        detect.uptodate_on_free,
    ),
    Quirk(
        "marker-as-swap",
        "guard, userfaultfd and poison markers are reported as swap",
        "5.19 and later, as type 31 or just below; guards since 6.13",
        "679d10331910",
        "lists markers apart and never counts them as swapped memory",
        detect.marker_as_swap,
    ),
    Quirk(
        "frame-bearing-swap-types",
        "migration, poison and device entries look like swap and hold a frame number",
        "all",
        "",
        "lists types 22 to 30 as frame entries, not as swap",
        detect.frame_entries,
    ),
    Quirk(
        "deferred-memory",
        "memory that is present but not yet given to the allocator reads as flag word 0",
        "4.2 and later, while memory is initialised or accepted late",
        "3a80a7fa7989",
        "bounds the unknown frames by present minus managed pages",
        detect.deferred_memory,
    ),
    Quirk(
        "averaged-mapcounts",
        "kpagecount gives the average of a large folio",
        "6.15 and later with CONFIG_NO_PAGE_MAPCOUNT",
        "e63ee43e3eda",
        "says so; counts of large folios are approximate",
        detect.averaged_mapcounts,
    ),
    Quirk(
        "scan-stale-walk-end",
        "PAGEMAP_SCAN reports a walk end that is behind its last region",
        "6.7 and later",
        "52526ca7fdb9",
        "asks for at most 512 regions at a time and drops those that it was given before",
        detect.stale_walk_end,
    ),
    Quirk(
        "tails-repeat-head",
        "tails of a large folio repeat the flags of its head",
        "6.10 and later",
        "dee3d0bef2b0",
        "gives tails the flags of their head where the kernel does not",
        detect.tails_repeat_head,
    ),
)
"""Every quirk that vmprobe knows."""


def quirks(snapshot: Snapshot) -> tuple[QuirkFinding, ...]:
    """Return what the snapshot says about each quirk, in the order of `QUIRKS`."""
    return findings(Evidence(snapshot))


def findings(evidence: Evidence) -> tuple[QuirkFinding, ...]:
    """Return the same as `quirks` for evidence that is at hand."""
    return tuple(
        QuirkFinding(q.id, q.title, found.status, found.text, q.remedy, q.kernels, q.commit)
        for q in QUIRKS
        for found in (q.detect(evidence),)
    )


def trust_ksm(evidence: Evidence) -> bool:
    """Whether the KSM bit of this kernel means KSM."""
    return detect.ksm_on_all_anon(evidence).status == detect.ABSENT

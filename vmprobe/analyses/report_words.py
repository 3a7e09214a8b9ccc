"""What a report says in words: its verdict, and what to do next, each by a rule that its figures trip.

========  ============================================================================================
critical  no block of 64 KiB can be had now; or memory is free for a huge page and none can be had: not
          now, not after compaction, not after dropping page cache
warning   no huge page can be had now; or a node's fragmentation score is above the one at which
          kcompactd starts by default
unknown   free lists or zones were not read
ok        otherwise
========  ============================================================================================

Where memory is short rather than fragmented, a huge page that cannot be had is a warning at most: a host may
be meant to be full.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from vmprobe.analyses.can_alloc_advice import COMPACT, DROP
from vmprobe.analyses.compact_words import VERIFY, between_text, blocks_text
from vmprobe.analyses.report_answer import Level, Verdict
from vmprobe.units import bytes_text, count_text, percent_text, share_percent

if TYPE_CHECKING:
    from vmprobe.analyses.frag_answer import Frag, NodeScore
    from vmprobe.analyses.map_answer import MapOwner
    from vmprobe.analyses.report_answer import Obtainable
    from vmprobe.bridge.blockers import OwnerRow

SCORE_PERCENT: Final = 90
"""kcompactd starts above it where vm.compaction_proactiveness is 20, the default."""

MUCH: Final = 4
"""Compaction gives much where it adds a quarter of what can be had now, or more."""

HOSTAGES_PERCENT: Final = 1
"""An owner is worth ending that alone keeps so many of all pageblocks from being free as a whole."""

MIXED_PERCENT: Final = 10
"""More of the pageblocks than this hold movable pages beside those that stay: types do not keep apart."""
NEARLY: Final = 0.9
"""A sysctl that is so near to what the model recommends is that."""

MOST_PROACTIVENESS: Final = 80
"""Up to it kernels agree about the score at which kcompactd starts (`vmprobe.bridge.frag.wmarks`)."""
LEAST_PROACTIVENESS: Final = 20

ENDING: Final = ("process", "pinned")
"""Kinds of owners whose pages go when a process ends."""


class Figures(NamedTuple):
    """What verdict and advice go by; None for what is not known.

    Parameters
    ----------
    frag
        With all owners.
    huge, small
        Huge pages, and the smallest blocks of more than the kernel's costly order.
    room
        Huge pages that free memory above the watermarks would make, if it lay together.
    frames
        Whether page frames were scanned.
    unexplained
        Mapped frames whose counts differ for no known reason.
    verified
        Forecasts that were verified on this host.
    min_free_kbytes, recommended_kbytes
        The sysctl, and what khugepaged would have it be.
    """

    frag: Frag
    huge: Obtainable
    small: Obtainable
    room: int | None
    frames: bool
    unexplained: int | None
    verified: int | None
    min_free_kbytes: int | None = None
    recommended_kbytes: int | None = None


def level(figures: Figures) -> Level:
    """Return how bad it is, by the rules above."""
    huge = figures.huge
    if huge.now is None:
        return Level.UNKNOWN
    if figures.small.now == 0 or (figures.room and _best(huge) == 0):
        return Level.CRITICAL
    if huge.now == 0 or _worst_score(figures.frag, SCORE_PERCENT) is not None:
        return Level.WARNING
    return Level.OK


def verdict(figures: Figures) -> Verdict:
    """Return what can be had, what stands in the way most and whose it is, in one sentence."""
    said = [_had(figures)]
    score = _worst_score(figures.frag, SCORE_PERCENT)
    if figures.huge.now == 0 and figures.room == 0:
        said.append("memory is short rather than fragmented")
    elif score is not None:
        size = bytes_text(figures.huge.bytes)
        said.append(f"{percent_text(score.score_percent)} of what is free on node {score.node} is in smaller"
                    f" pieces than {size}")  # fmt: skip
    said.append(_in_the_way(figures))
    return Verdict(level(figures), "; ".join(said) + ".")


def _had(figures: Figures) -> str:
    huge, page_size = figures.huge, figures.frag.page_size
    if huge.now is None:
        return f"How many blocks of {bytes_text(huge.bytes)} can be had is not known"
    had = (
        blocks_text(huge.now, huge.order, page_size) if huge.now else f"No block of {bytes_text(huge.bytes)}"
    )
    said = f"{had} can be had now"
    if huge.mid is None or huge.low is None or huge.high is None:
        return said
    if huge.low == huge.high == huge.now:
        said += f", and compaction gives {'no more' if huge.now else 'none'}"
    else:
        between = "" if huge.low == huge.high else f" ({between_text((huge.low, huge.high))})"
        said += f", {count_text(huge.mid)} after compaction{between}"
    if not huge.mid and huge.after_eviction is not None:
        dropped = f"but {count_text(huge.after_eviction)} with page cache dropped"
        said += f", {dropped if huge.after_eviction else 'nor does dropping page cache'}"
    return said


def _in_the_way(figures: Figures) -> str:
    if not figures.frames:
        return "who is in the way is not known without a scan of page frames"
    if figures.frag.owners is None:
        return "who is in the way is not known"
    owner = _first_hostage_taker(figures.frag)
    if owner is None:
        return "nobody is in the way"
    nr = _hostages(owner)
    blocks = f"{count_text(nr)} pageblock{'' if nr == 1 else 's'}"
    return f"most in the way is {owner_text(owner)}, holding pages in {blocks}"


def owner_text(owner: OwnerRow | MapOwner) -> str:
    """Return an owner by its name.

    >>> from vmprobe.bridge.blockers import OwnerRow
    >>> owner_text(OwnerRow("process", "sleep", 7, 1, 0, 0, 1, 5))
    'process sleep (pid 7)'
    >>> owner_text(OwnerRow("slab", None, None, 1, 0, 0, 1, 5))
    'slab'
    """
    name = owner.kind if owner.owner is None else f"{owner.kind} {owner.owner}"
    if owner.owner is not None and owner.kind not in ("process", "cgroup"):
        name = f"{owner.kind}: {owner.owner}"
    return name if owner.pid is None else f"{name} (pid {owner.pid})"


def _best(huge: Obtainable) -> int | None:
    """Return what can be had by all that was forecast; None where nothing was."""
    known = [each for each in (huge.now, huge.high, huge.after_eviction) if each is not None]
    return None if huge.high is None else max(known)


def _worst_score(frag: Frag, above: int) -> NodeScore | None:
    worst = max(frag.nodes or (), key=lambda node: node.score_percent, default=None)
    return worst if worst is not None and worst.score_percent > above else None


def _hostages(owner: OwnerRow) -> int:
    """Return the pageblocks that an owner holds though most of them is not its own."""
    return owner.pageblocks - owner.full_pageblocks


def _first_hostage_taker(frag: Frag) -> OwnerRow | None:
    """Return who holds most; somebody without a name only where nobody else does."""
    taking = [owner for owner in frag.owners or () if _hostages(owner)]
    return max(taking, key=lambda owner: (owner.kind != "unknown", _hostages(owner)), default=None)


def advice(figures: Figures) -> tuple[str, ...]:
    """Return what to do next, most useful first; a line that is a command begins with ``$ ``."""
    rules = (_who, _compact, _drop, _end, _proactive, _apart, _closer, _check)
    return tuple(line for rule in rules for line in rule(figures))


def _gives_much(huge: Obtainable) -> bool:
    if huge.now is None or huge.mid is None:
        return False
    return huge.mid - huge.now >= max(1, huge.now // MUCH)


def _who(figures: Figures) -> tuple[str, ...]:
    """Ask for frames, without which nobody can be named."""
    if figures.frames or level(figures) is Level.OK:
        return ()
    return (
        "Who is in the way, and what compaction would give, takes page frames; as root:",
        "$ vmprobe report",
    )


def _compact(figures: Figures) -> tuple[str, ...]:
    """Compact, where that gives much."""
    huge = figures.huge
    if not _gives_much(huge) or huge.mid is None or huge.now is None or huge.low is None:
        return ()
    more = blocks_text(huge.mid - huge.now, huge.order, figures.frag.page_size)
    least = count_text(max(0, huge.low - huge.now))
    lines = [f"What compaction would move, and at what cost, to give {more} more (at least {least}):"]
    lines.append(f"$ vmprobe compact --order {huge.order}")
    if not figures.verified:
        lines += ["The same, done and held against the forecast, of which none was verified here:"]
        return (*lines, f"$ {VERIFY}")
    return (*lines, "To compact:", f"$ {COMPACT}")


def _drop(figures: Figures) -> tuple[str, ...]:
    """Drop page cache, where that is what compaction takes."""
    huge = figures.huge
    if huge.mid or not huge.after_eviction:
        return ()
    more = blocks_text(huge.after_eviction, huge.order, figures.frag.page_size)
    return (
        f"With page cache dropped, compaction is forecast to give {more}; files are then read anew:",
        f"$ {DROP}; {COMPACT}",
    )


def _end(figures: Figures) -> tuple[str, ...]:
    """Name processes that alone keep a share of pageblocks from being free."""
    held = figures.frag.held
    lines = []
    for owner in figures.frag.owners or ():
        alone = owner.alone_pageblocks - owner.full_pageblocks
        if held is None or owner.kind not in ENDING or owner.pid is None or alone <= 0:
            continue
        share = share_percent(alone, held.pageblocks)
        if share >= HOSTAGES_PERCENT:
            lines.append(
                f"{owner_text(owner)} alone keeps {count_text(alone)} pageblocks ({percent_text(share)}) from"
                " being free as a whole; they can be once it is restarted."
            )
    return tuple(lines)


def _proactive(figures: Figures) -> tuple[str, ...]:
    """Have kcompactd start, where compaction gives much and it does not."""
    told, score = figures.frag.kcompactd, _worst_score(figures.frag, 0)
    if told is None or score is None or not _gives_much(figures.huge):
        return ()
    if told.proactiveness and (told.high_percent is None or score.score_percent > told.high_percent):
        return ()
    # It starts above min(100, 110 - proactiveness).
    wanted = max(LEAST_PROACTIVENESS, 111 - score.score_percent)
    if wanted > MOST_PROACTIVENESS:
        return ()
    now = "never compacts unasked" if not told.proactiveness else f"starts above {told.high_percent}"
    return (
        f"kcompactd {now}, and node {score.node} has a score of {score.score_percent}; to have it start:",
        f"$ sysctl vm.compaction_proactiveness={wanted}",
    )


def _apart(figures: Figures) -> tuple[str, ...]:
    """Leave more free, where types do not keep apart for want of it."""
    least, wanted = figures.min_free_kbytes, figures.recommended_kbytes
    counts = [zone.pageblocks for zone in figures.frag.zones if zone.pageblocks is not None]
    mixed = sum(each["mixed"] + each["one_unmovable_page_only"] for each in counts)
    whole = sum(sum(each.values()) - each["absent"] for each in counts)
    share = share_percent(mixed, whole)
    if least is None or wanted is None or least >= NEARLY * wanted or share <= MIXED_PERCENT:
        return ()
    said = f"{percent_text(share)} of pageblocks hold movable pages beside pages that stay"
    said += (
        f", and vm.min_free_kbytes is {count_text(least)}; with what khugepaged would have, they keep apart:"
    )
    return said, f"$ sysctl vm.min_free_kbytes={wanted}"


def _closer(figures: Figures) -> tuple[str, ...]:
    """Look closer, where huge pages are lacking."""
    if not figures.frames or level(figures) in (Level.OK, Level.UNKNOWN):
        return ()
    return (
        "Who holds blocks of that size, and what would free them:",
        f"$ vmprobe can-alloc --order {figures.huge.order}",
    )


def _check(figures: Figures) -> tuple[str, ...]:
    """Look at what does not add up."""
    violated = any(zone.frames_agree == "violated" for zone in figures.frag.zones)
    if not violated and not figures.unexplained:
        return ()
    return ("Counts differ that should not:", "$ vmprobe check")

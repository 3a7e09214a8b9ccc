"""What each pageblock holds, who keeps it and who uses it: frame by frame, in dictionaries."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from kernelmodel.holder import CGROUP_TAG, PINNED_TAG, PROCESS_TAG
from kernelmodel.movability import Movability
from kernelmodel.pageclass import PageClass
from tests.oracles.movability import VERDICTS

MADE = {PROCESS_TAG: "process", CGROUP_TAG: "cgroup", PINNED_TAG: "pinned"}
LRU = {"KSM": "anonymous", "ANON": "anonymous", "SWAPCACHE": "anonymous", "SHMEM": "shared memory",
       "FILE": "page cache"}  # fmt: skip
OWN_NAME = {
    "FREE": "free", "HOLE": "hole", "MOVABLE_OPS": "balloon", "HWPOISON": "poisoned", "SLAB": "slab",
    "PGTABLE": "page table", "HUGETLB": "hugetlb", "RESERVED": "reserved", "DRIVER": "driver",
    "UNEVICTABLE_KEPT": "unevictable", "KERNEL": "kernel", "ZERO": "kernel", "pinned": "pinned",
}  # fmt: skip


def verdict(tag: int) -> str:
    if tag in MADE:
        return "no"
    return next(name for name, codes in VERDICTS.items() if Movability(tag).name in codes)


def kind(tag: int, page_class: int) -> str:
    """What one frame is called."""
    name = MADE.get(tag) or Movability(tag).name
    if name in OWN_NAME:
        return OWN_NAME[name]
    of_class = PageClass(page_class).name
    if name in {"process", "cgroup"}:
        if of_class in LRU:
            return "unevictable"
        return {"HUGETLB": "hugetlb", "DRIVER": "driver"}.get(of_class, "kernel")
    return "unknown" if verdict(tag) == "unknown" else LRU[of_class]


class Frame(NamedTuple):
    """One frame that the host has."""

    tag: int
    page_class: int
    memcg: int
    spaces: frozenset[int]


@dataclass
class Block:
    """One pageblock; `holds` and `uses` by who: a kind, and an address space or a cgroup."""

    content: str = "absent"
    free: int = 0
    stays: int = 0
    unknown: int = 0
    absent: int = 0
    holds: Counter[tuple[str, int]] = field(default_factory=Counter)
    uses: Counter[tuple[str, int]] = field(default_factory=Counter)
    charged: Counter[int] = field(default_factory=Counter)
    kinds: list[str] = field(default_factory=list)


def holders(frame: Frame) -> list[tuple[str, int]]:
    """Who keeps a frame in its place."""
    if verdict(frame.tag) != "no" or frame.tag == Movability.HOLE:
        return []
    if frame.tag in {PROCESS_TAG, PINNED_TAG}:
        name = MADE[frame.tag]
        return [(name, mm) for mm in frame.spaces] or [(name, -1)]
    if frame.tag in {CGROUP_TAG, Movability.PGTABLE}:
        return [(MADE.get(frame.tag, "page tables"), frame.memcg)]
    return [(Movability(frame.tag).name, 0)]


def users(frame: Frame) -> list[tuple[str, int]]:
    """Who uses a frame."""
    name = kind(frame.tag, frame.page_class)
    if name in {"free", "hole"}:
        return []
    if frame.spaces:
        return [("process", mm) for mm in frame.spaces]
    return [("cgroup", frame.memcg)] if frame.memcg else [(name, 0)]


def block_at(host: dict[int, Frame], first: int, order: int) -> Block:
    """The pageblock that begins at a frame; what `host` lacks is a hole."""
    block = Block()
    verdicts: dict[str, int] = defaultdict(int)
    for pfn in range(first, first + (1 << order)):
        frame = host.get(pfn, Frame(int(Movability.HOLE), 0, 0, frozenset()))
        name = kind(frame.tag, frame.page_class)
        block.kinds.append(name)
        verdicts["hole" if name == "hole" else verdict(frame.tag)] += 1
        block.holds.update(holders(frame))
        block.uses.update(users(frame))
        if frame.memcg and name not in {"free", "hole"}:
            block.charged[frame.memcg] += 1
    block.free, block.stays, block.unknown = (verdicts[each] for each in ("free", "no", "unknown"))
    block.absent = verdicts["hole"]
    block.content = content(verdicts, 1 << order)
    return block


def content(verdicts: dict[str, int], size: int) -> str:
    """A pageblock in a word; a hole stays, unless there is nothing else."""
    stays = verdicts["no"] + verdicts["hole"]
    moves = verdicts["yes"] + verdicts["if"]
    if verdicts["hole"] == size:
        return "absent"
    if verdicts["free"] == size:
        return "free"
    if not stays:
        return "unknown" if verdicts["unknown"] else "movable_only"
    if not verdicts["free"] and not moves:
        return "unmovable"
    return "one_unmovable_page_only" if stays == 1 and not verdicts["unknown"] else "mixed"

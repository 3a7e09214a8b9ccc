"""What-if runs as a dictionary of frames, and a policy as one array of bytes: slow, and plain to see.

Helping is not simulated: `Holders` says what must hold whatever help does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kernelmodel._jit import jit
from kernelmodel.compaction.zone_layout import HEAD, TAIL, UNSPLITTABLE, Frame
from kernelmodel.free_area.interface import Ask, Functions
from kernelmodel.free_area.policy import Policy, watermark_allows
from kernelmodel.free_area.result import Came
from kernelmodel.page_alloc.rebuild import FreeBlocks, free_blocks
from kernelmodel.page_alloc.state import NO_PAGE
from kernelmodel.ranges import true_runs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.free_area.ground import Ground
    from kernelmodel.workload.demand import Demand


class Bytes(NamedTuple):
    """1 for each frame that is free; and numbers: the watermark, blocks looked at, free pages."""

    free: NDArray[np.uint8]
    info: NDArray[np.int64]


@jit
def all_free(state: Bytes, index: int, order: int) -> bool:
    nr_free = 0
    for frame in range(index, index + (1 << order)):
        nr_free += 1 if state.free[frame] else 0
    return nr_free == 1 << order


@jit
def mark(state: Bytes, index: int, order: int, free: int) -> None:
    for frame in range(index, index + (1 << order)):
        state.free[frame] = free
    state.info[2] += 1 << order if free else -(1 << order)


@jit
def take_first(state: Bytes, ask: Ask) -> int:
    if not watermark_allows(state.info[2], state.info[0], ask.order, ask.priority):
        return NO_PAGE
    index = 0
    while index + (1 << ask.order) <= ask.limit:
        state.info[1] += 1
        if all_free(state, index, ask.order):
            mark(state, index, ask.order, 0)
            return index
        index += 1 << ask.order
    return NO_PAGE


@jit
def release_bytes(state: Bytes, index: int, order: int, cpu: int) -> None:
    mark(state, index, order, 1)


@jit
def claim_bytes(state: Bytes, index: int, order: int, movable: int) -> bool:
    if not all_free(state, index, order):
        return False
    mark(state, index, order, 0)
    return True


class FirstFit(Policy):
    """The lowest naturally aligned block that is free."""

    def __init__(self, ground: Ground, *, pure: bool = True) -> None:
        blocks = ground.free_blocks()
        state = Bytes(np.zeros(ground.nr_frames, np.uint8), np.zeros(3, np.int64))
        for start, order in zip(blocks.start_pfn, blocks.order, strict=True):
            state.free[start : start + (1 << int(order))] = 1
        state.info[0], state.info[2] = ground.wmark_min, blocks.nr_pages()
        super().__init__("bytes", ground, state, Functions(take_first, release_bytes, claim_bytes), pure=pure)

    def drain(self) -> None:
        pass

    @property
    def nr_free(self) -> int:
        return int(self.state.free.sum())

    def free_blocks(self) -> FreeBlocks:
        free = self.state.free.astype(np.bool_)
        return free_blocks(true_runs(free), 0, len(free), self.ground.nr_orders)

    def counters(self) -> dict[str, int]:
        return {"splits": 0, "merges": 0, "visits": int(self.state.info[1])}

    def validate(self) -> None:
        pass


@dataclass
class Simulation:
    """One demand under one policy, frame by frame, without help.

    Parameters
    ----------
    holder
        Frame to the request that holds it.
    tally
        (source, priority, order, came) to how many.
    content
        Byte of each frame.
    """

    holder: dict[int, int] = field(default_factory=dict)
    tally: dict[tuple[int, int, int, int], int] = field(default_factory=dict)
    content: list[int] = field(default_factory=list)


def simulated(ground: Ground, demand: Demand, policy: Policy) -> Simulation:
    """Carry a demand out, an operation of the policy at a time."""
    made = Simulation(content=ground.content().tolist())
    columns, limits = demand.requests, ground.limits()

    def put(request: int, start: int) -> None:
        order, kind = int(columns.order[request]), int(columns.kind[request])
        large = UNSPLITTABLE if kind == Frame.DIRTY and order else 0
        for page in range(1 << order):
            assert start + page not in made.holder, "a frame was given twice"
            made.holder[start + page] = request
            bits = 0 if not order else TAIL if page else HEAD
            made.content[start + page] = kind | large | bits

    for request, pfn in enumerate(demand.standing_pfn.tolist()):
        put(request, pfn - ground.base_pfn)
    for event in demand.events.tolist():
        request = event if event >= 0 else ~event
        order, cpu = int(columns.order[request]), int(columns.cpu[request])
        if event < 0:
            frames = sorted(frame for frame, by in made.holder.items() if by == request)
            for frame in frames:
                made.content[frame] = int(Frame.FREE)
                del made.holder[frame]
            if frames:
                policy.free(frames[0], order, cpu)
            continue
        priority, zone = int(columns.priority[request]), int(columns.highest_zone[request])
        ask = Ask(order, int(columns.migratetype[request]), priority, zone, int(limits[zone]), cpu)
        start = policy.alloc(ask)
        if start != NO_PAGE:
            assert start % (1 << order) == 0
            assert start + (1 << order) <= ask.limit
            put(request, start)
        came = Came.FAILED if start == NO_PAGE else Came.AT_ONCE
        key = int(columns.source[request]), priority, order, int(came)
        made.tally[key] = made.tally.get(key, 0) + 1
    return made

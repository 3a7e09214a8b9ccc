"""Run a demand under one policy, with or without help, and tell what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel.compaction.result import blocks_of_order
from kernelmodel.free_area import book as books
from kernelmodel.free_area.helping import Helper
from kernelmodel.free_area.result import HelpTally, Run, Samples

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from kernelmodel.free_area.ground import Ground
    from kernelmodel.free_area.interface import FreeArea
    from kernelmodel.workload.demand import Demand

NR_KEEP_STEPS: Final = 200
"""Times, at even steps through the events, that the areas kept in reserve are counted."""


def simulate(
    ground: Ground,
    demand: Demand,
    policy: FreeArea,
    *,
    help: Sequence[str] = (),  # noqa: A002
    keep: tuple[int, int] | None = None,
    nr_samples: int = 50,
    pure: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Run:
    """Carry out a demand.

    Parameters
    ----------
    ground
        Where it happens; it is only read.
    demand
        What is asked for.
    policy
        Who gives; made on this ground, and fresh.
    help
        Kinds of help that requests may call, as their priority allows, in the order in which they are tried:
        of ``blit``, ``evict``, ``linux`` (`kernelmodel.free_area.helping`).
    keep
        ``(n, t)``: at each of `NR_KEEP_STEPS` even steps, the first of them before the first event, ``blit``
        makes what is missing of n free areas of order t (larger ones divided). After the last event nothing
        is made, since nobody comes for it. None keeps nothing.
    nr_samples
        Samples of the free memory, at least two.
    pure
        Run in plain Python even where there is numba.
    progress
        Told the share of the events that is done, before each sample.

    Raises
    ------
    InvariantError
        The demand contradicts itself; or the policy does not give a page that is free.
    ModelError
        A request stands where it cannot, or there is no such help.
    """
    book = books.build(ground, demand)
    helper = Helper(ground, policy, book, help, pure=pure)
    background = HelpTally()
    nr_events = len(demand.events)
    sampled = _steps(nr_events, max(2, nr_samples) - 1)
    kept = set(_steps(nr_events, NR_KEEP_STEPS)) - {nr_events} if keep else set()
    samples: list[list[NDArray[np.int64]]] = []
    at = 0
    for stop in sorted({*sampled, *kept}):
        while at < stop:
            at = helper.play(policy.state, book, at, stop)
            if at < stop:
                helper.help(at)
                at += 1
        if keep and stop in kept:
            nr_kept, order = keep
            if blocks_of_order(policy.free_blocks().counts(), order) < nr_kept:
                helper.make_blocks(order, nr_kept, background)
        if stop in sampled:
            counts = [blocks.counts() for blocks in (policy.free_blocks(), policy.kept_blocks())]
            samples += [counts] * sampled.count(stop)
        if progress:
            progress(at / max(1, nr_events))
    kept_blocks = policy.kept_blocks()
    return Run(
        policy=policy.name,
        tally=book.tally,
        samples=Samples(np.array(sampled, np.int64), *np.array(samples, np.int64).swapaxes(0, 1)),
        help=helper.tally,
        background=background,
        operations=policy.counters(),
        layouts=ground.layouts(books.known(book.content, kept_blocks)),
        free_blocks=ground.by_zone(policy.free_blocks()),
        kept_blocks=ground.by_zone(kept_blocks),
    )


def _steps(nr_events: int, nr_steps: int) -> list[int]:
    """Return the numbers of events done at even steps, the beginning and the end among them.

    >>> _steps(10, 4)
    [0, 2, 5, 7, 10]
    """
    return [nr_events * step // nr_steps for step in range(nr_steps + 1)]

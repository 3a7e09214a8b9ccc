"""The few figures of a run that are followed over time, each combined out of the samples that make it.

Figures that need page frames are those of runs that scanned them: a cheap run between does not make a gap.
"""

from __future__ import annotations

from functools import partial
from operator import eq
from typing import TYPE_CHECKING, Final, NamedTuple

from vmprobe.bridge.frag import compaction_hpage_order
from vmprobe.metrics import METRICS
from vmprobe.units import bytes_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from vmprobe.store.history import Kept

    Value = int | float
    Labels = tuple[str, ...]

LEAST_ORDER: Final = 9
"""No host has a smaller order of huge pages, so that smaller blocks need not be read from a history."""

NAMES: Final = (
    "free_blocks", "free_bytes", "unusable_permille", "score_percent", "obtainable", "unmovable_pageblocks",
    "trapped_free_bytes", "blocker_pageblocks", "unexplained", "events", "page_size_bytes",
)  # fmt: skip
"""Of the metrics that the figures are made of."""

_HOUR_SECONDS: Final = 3600


class Figure(NamedTuple):
    """One figure.

    Parameters
    ----------
    name
        Of its metric in `vmprobe.metrics`.
    labels
        What it was combined over or chosen by, as thresholds write it; may be empty.
    what
        In words.
    frames
        Whether it takes page frames.
    """

    name: str
    labels: str
    what: str
    frames: bool


def takes_frames(name: str, labels: str) -> bool:
    """Whether only runs that scanned page frames have a figure; what compaction gives is forecast of them."""
    return METRICS[name].frames or "when=after_compaction" in labels


def followed(runs: Sequence[Kept]) -> list[dict[Figure, Value]]:
    """Return for each run, oldest first, the figures that it has; events as rates since the run before."""
    order, size = _huge_page(runs)
    rates = _Rates()
    found = []
    for kept in runs:
        by_name: dict[str, list[tuple[Labels, Value]]] = {}
        for name, labels, value in kept.samples:
            by_name.setdefault(name, []).append((labels, value))
        of_run = dict(_standing(by_name, order, size))
        of_run.update(rates.after(kept, {labels[0]: value for labels, value in by_name.get("events", ())}))
        found.append(of_run)
    return found


def in_order(of_runs: Iterable[Mapping[Figure, Value]]) -> list[Figure]:
    """Return the figures that any run has, in the order of `METRICS`."""
    names = list(METRICS)
    figures = dict.fromkeys(figure for of_run in of_runs for figure in of_run)
    return sorted(figures, key=lambda figure: names.index(figure.name))


def _huge_page(runs: Sequence[Kept]) -> tuple[int, str]:
    """Return the order of a huge page and its size in words."""
    for kept in reversed(runs):
        for name, _, value in kept.samples:
            if name == "page_size_bytes":
                order = compaction_hpage_order(int(value))
                return order, bytes_text(int(value) << order)
    return LEAST_ORDER, f"order {LEAST_ORDER}"


def _standing(
    by_name: Mapping[str, Sequence[tuple[Labels, Value]]], order: int, size: str
) -> Iterator[tuple[Figure, Value]]:
    """Yield what a run says of the moment at which it was taken."""

    def combined(
        name: str, labels: str, what: str, *, of: Callable[[Labels], bool] | None = None, worst: bool = False
    ) -> Iterator[tuple[Figure, Value]]:
        values = [value for its, value in by_name.get(name, ()) if of is None or of(its)]
        if values:
            yield (
                Figure(name, labels, what, takes_frames(name, labels)),
                max(values) if worst else sum(values),
            )

    yield from combined(
        "free_blocks",
        f"order>={order}",
        f"free blocks of {size} or more",
        of=lambda its: int(its[2]) >= order,
    )
    yield from combined("free_bytes", "", "free memory")
    yield from combined(
        "unusable_permille",
        f"order={order}",
        f"unusable for {size}, per mille of free memory, worst zone",
        of=lambda its: int(its[2]) == order,
        worst=True,
    )
    yield from combined("score_percent", "", "fragmentation score, worst node", worst=True)
    for when, word in (("now", "now"), ("after_compaction", "after compaction")):
        yield from combined(
            "obtainable",
            f"order={order},when={when}",
            f"blocks of {size} to be had {word}",
            of=partial(eq, (str(order), when)),
        )
    yield from combined("unmovable_pageblocks", "", "pageblocks in which a page stays")
    yield from combined("trapped_free_bytes", "", "free memory beside them")
    for (kind,), value in by_name.get("blocker_pageblocks", ()):
        what = f"pageblocks held by {kind.replace('_', ' ')}"
        yield Figure("blocker_pageblocks", f"kind={kind}", what, frames=True), value
    yield from combined("unexplained", "", "unexplained frames")


class _Rates:
    """Events an hour between a run and the one before; they count from the start, so only within one boot."""

    def __init__(self) -> None:
        self._boot_id: str | None = None
        self._last: dict[str, tuple[float, Value]] = {}

    def after(self, kept: Kept, counts: Mapping[str, Value]) -> Iterator[tuple[Figure, Value]]:
        """Yield the rates of one run, later than those before."""
        if kept.run.boot_id is None or kept.run.boot_id != self._boot_id:
            self._last = {}
        self._boot_id = kept.run.boot_id
        seconds = kept.run.time.timestamp()
        for event, count in counts.items():
            then, before = self._last.get(event, (seconds, count))
            if seconds > then and count >= before:
                rate = round((count - before) * _HOUR_SECONDS / (seconds - then), 2)
                yield Figure("events", f"event={event}", f"{event} an hour", frames=False), rate
            self._last[event] = seconds, count

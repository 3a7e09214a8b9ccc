"""The answer of ``vmprobe whatif`` laid out for reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmprobe.analyses.map_answer import Map
from vmprobe.analyses.parts import Column, Fact, Facts, Grid, Kind, Note, Parts
from vmprobe.analyses.whatif_answer import Spread
from vmprobe.units import bytes_text, count_text, percent_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vmprobe.analyses.whatif_answer import Met, Side, WhatIf
    from vmprobe.bridge.replay_compare import ForecastError

    Part = Grid | Facts | Note

BARS: Final = "▁▂▃▄▅▆▇█"
NR_BARS: Final = 12
OPERATIONS: Final = (
    "splits", "merges", "visits", "rotations", "nodes", "depth", "least_depth", "left_permille",
)  # fmt: skip
LINUX_OPERATIONS: Final = ("fallbacks", "claims", "steals", "unreserved", "zone_fallbacks")
PRIORITIES: Final = {"waits": "that may wait", "nowait": "that may not wait", "atomic": "atomic"}
SMALL_ORDER: Final = 2


def layout(answer: WhatIf) -> Parts:
    """Return what was asked, who was met, who had only small areas left, then memory, help and work."""
    parts: list[Part] = [_question(answer), *_warnings(answer), *_by_source(answer), *_by_order(answer)]
    lines = small_areas(answer)
    if lines:
        parts.append(Note("All the small areas, and no large one", lines))
    parts += [*_replay(answer), _memory(answer), _blocks(answer), *_help(answer), *_operations(answer)]
    return Parts(tuple(parts))


def map_of_side(answer: WhatIf, side: Side) -> Map:
    """Return the pageblocks that a policy ends with, as a map."""
    return Map(
        page_size=answer.page_size,
        pageblock_order=answer.pageblock_order,
        time=answer.time,
        release=answer.release,
        contents=answer.contents,
        owners=(),
        zones=side.strips,
        chosen=None,
        forecast=None,
        missing=(),
    )


def _question(answer: WhatIf) -> Facts:
    seeds = "replayed" if not answer.seeds else f"seeds {answer.seeds[0]} to {answer.seeds[-1]}"
    facts = [
        Fact("from", answer.path or "this host, now"),
        Fact("kernel", answer.release),
        Fact("taken", answer.time),
        Fact("node", answer.node),
        Fact("free at the beginning", answer.free_pages * answer.page_size, Kind.BYTES),
        Fact("demand", answer.demand),
        Fact("requests of a run", answer.steps, Kind.COUNT),
        Fact("runs", seeds if len(answer.seeds) != 1 else f"seed {answer.seeds[0]}"),
        Fact("held at most, if all is met", answer.peak_permille / 10, Kind.PERCENT),
    ]
    if any(each.kind == "evict" for side in answer.sides for each in side.helps):
        room = bytes_text(answer.swap_free_pages * answer.page_size)
        facts.append(Fact("free swap", f"{room}, assumed" if answer.swap_assumed else room))
    if answer.keep:
        nr, order = answer.keep
        size = bytes_text(answer.page_size << order)
        facts.append(Fact("kept ready", f"{count_text(nr)} free areas of {size} (order {order})"))
    return Facts("What if", tuple(facts))


def _warnings(answer: WhatIf) -> list[Part]:
    if not answer.seeds or any(each.failed + each.deferred for side in answer.sides for each in side.met):
        return []
    said = "Every request was met: policies do not differ in that."
    if 0 < answer.peak_permille < 1000:
        steps = answer.steps * 1000 // answer.peak_permille
        said += (
            f" About --steps {-(-steps // 10_000) * 10_000} fill memory, if the demand ever holds as much."
        )
    return [Note("", (said,))]


def _name(answer: WhatIf, side: Side) -> str:
    only = {each.help for each in answer.sides} == {"none"}
    return side.policy if only else f"{side.policy}, {side.help}"


def spread_text(spread: Spread) -> str:
    """Return a share with what the seeds differ by.

    >>> spread_text(Spread(91.25, 90.0, 92.0)), spread_text(Spread(100.0, 100.0, 100.0))
    ('91.2 % ±1.2', '100 %')
    """
    apart = max(spread.high - spread.mean, spread.mean - spread.low)
    mean = percent_text(spread.mean)
    return f"{mean} ±{apart:.1f}" if apart >= 0.05 else mean


def _joined(rows: Iterable[Met]) -> str:
    """Return the share met of several groups together."""
    listed = list(rows)
    if not listed:
        return ""
    seeds = zip(*(each.of_seeds for each in listed), strict=True)
    return spread_text(
        Spread.of((sum(met), sum(asked)) for met, asked in (zip(*seed, strict=True) for seed in seeds))
    )


def _met_grid(answer: WhatIf, title: str, columns: list[tuple[str, Callable[[Met], bool]]]) -> Grid:
    rows = [
        (_name(answer, side), *(_joined(filter(chosen, side.met)) for _, chosen in columns))
        for side in answer.sides
    ]
    labels = (Column("policy", Kind.TEXT), *(Column(label, Kind.TEXT) for label, _ in columns))
    return Grid(title, labels, tuple(rows))


def _by_source(answer: WhatIf) -> list[Part]:
    """Return who was met: a table of its own for each who asks where kinds of help are compared."""
    sources = list(dict.fromkeys(each.source for side in answer.sides for each in side.met))
    if len({side.help for side in answer.sides}) > 1:
        return [_by_help(answer, source) for source in sources]
    columns = [(source, _of_source(source)) for source in sources]
    if not columns:
        return []
    if any(each.priority == "atomic" for side in answer.sides for each in side.met):
        columns.append(("atomic", lambda each: each.priority == "atomic"))
    return [_met_grid(answer, "Requests met, by who asks", columns)]


def _by_help(answer: WhatIf, source: str) -> Grid:
    helps = list(dict.fromkeys(side.help for side in answer.sides))
    policies = list(dict.fromkeys(side.policy for side in answer.sides))
    found = {(side.policy, side.help): _joined(filter(_of_source(source), side.met)) for side in answer.sides}
    rows = tuple((policy, *(found[policy, each] for each in helps)) for policy in policies)
    columns = (Column("policy", Kind.TEXT), *(Column(f"help: {each}", Kind.TEXT) for each in helps))
    return Grid(f"Requests of {source} met", columns, rows)


def _of_source(source: str) -> Callable[[Met], bool]:
    return lambda each: each.source == source


def _by_order(answer: WhatIf) -> list[Part]:
    parts: list[Part] = []
    met = [each for side in answer.sides for each in side.met]
    for priority, title in PRIORITIES.items():
        orders = sorted({each.order for each in met if each.priority == priority})
        # Who asks for one order alone has been told already.
        if len(orders) == len({each.source for each in met if each.priority == priority}) <= 2:
            continue
        columns = [(f"order {order}", _of_order(priority, order)) for order in orders]
        if columns:
            parts.append(_met_grid(answer, f"Requests met, by order: {title}", columns))
    return parts


def _of_order(priority: str, order: int) -> Callable[[Met], bool]:
    return lambda each: (each.priority, each.order) == (priority, order)


def small_areas(answer: WhatIf) -> tuple[str, ...]:
    """Return a line for each policy that ended with small free areas and none of an order that it refused.

    Areas that the most limited requests can have, and orders that these asked for; larger areas count as what
    they divide into.
    """
    lines = []
    for side in answer.sides:
        order = min((each for each in side.low_refused if each > SMALL_ORDER), default=None)
        if order is None:
            continue
        small, large = (
            sum(nr << at - least for at, nr in enumerate(side.low_blocks) if at >= least)
            for least in (SMALL_ORDER, order)
        )
        if small and not large:
            where = "" if answer.low_limit_bytes is None else f" below {bytes_text(answer.low_limit_bytes)}"
            sizes = [bytes_text(answer.page_size << each) for each in (SMALL_ORDER, order)]
            lines.append(
                f"{_name(answer, side)}: {count_text(small)} free areas of {sizes[0]}{where},"
                f" none of {sizes[1]}."
            )
    return tuple(lines)


def bars(values: tuple[int, ...], most: int) -> str:
    """Return values as a row of bars, evenly picked.

    >>> bars((0, 5, 10), 10)
    '▁▄█'
    """
    picked = [values[at * (len(values) - 1) // max(1, NR_BARS - 1)] for at in range(NR_BARS)]
    if len(values) < NR_BARS:
        picked = list(values)
    return "".join(BARS[min(len(BARS) - 1, value * (len(BARS) - 1) // max(1, most))] for value in picked)


def _replay(answer: WhatIf) -> list[Part]:
    """Return how far the engine is from the kernel whose events were replayed."""
    error = answer.replay
    if error is None:
        return []
    orders = range(max(len(zone.real) for zone in error.zones))
    labels = (Column("zone", Kind.TEXT), Column("by", Kind.TEXT))
    columns = (*labels, *(Column(str(order), Kind.COUNT) for order in orders))
    rows = [
        row
        for zone in error.zones
        for row in ((zone.zone, "replay", *zone.forecast), (zone.zone, "kernel", *zone.real))
    ]
    alone = "What follows is without the kernel's own time and CPUs, the same for all."
    lost = "Events are missing in the recording: the replay goes astray, whatever the policy."
    return [
        Facts("buddy-grouped against the kernel", _errors(error, answer)),
        *([Note("", (lost,))] if answer.events_lost else []),
        Grid("Free blocks by order at the end, replayed as the kernel did it", columns, tuple(rows)),
        Note("Each policy by itself", (alone,)),
    ]


def _errors(error: ForecastError, answer: WhatIf) -> tuple[Fact, ...]:
    zones, page = error.zones, answer.page_size
    replayed, real = (
        sum(nr << order for blocks in each for order, nr in enumerate(blocks)) * page
        for each in ([zone.forecast for zone in zones], [zone.real for zone in zones])
    )
    kept = [zone.pages_on_lists_real for zone in zones if zone.pages_on_lists_real is not None]
    on_lists = sum(zone.pages_on_lists_forecast for zone in zones) * page
    return (
        Fact("free memory in blocks of other orders", 100 * error.distance, Kind.PERCENT),
        Fact("the same at the beginning already", 100 * error.distance_at_start, Kind.PERCENT),
        Fact("the same if nothing had changed", 100 * error.distance_unchanged, Kind.PERCENT),
        Fact("the same under buddy-lifo", 100 * error.distance_simple, Kind.PERCENT),
        Fact("fallbacks replayed", error.fallbacks_forecast, Kind.COUNT),
        Fact("fallbacks of the kernel", error.fallbacks_real, Kind.COUNT),
        Fact("requests that the kernel met and the replay did not", error.nr_refused, Kind.COUNT),
        Fact("free memory, replayed", replayed, Kind.BYTES),
        Fact("free memory of the kernel", real, Kind.BYTES),
        Fact("on lists of CPUs, replayed", on_lists, Kind.BYTES),
        Fact(
            "on lists of CPUs of the kernel",
            sum(kept) * page if len(kept) == len(zones) else None,
            Kind.BYTES,
        ),
        Fact("events lost", answer.events_lost, Kind.COUNT),
        Fact("pages taken again that nobody gave back", error.drift.pages_missed, Kind.COUNT),
        Fact("pages given back that nobody had", error.drift.pages_unknown, Kind.COUNT),
    )


def _memory(answer: WhatIf) -> Grid:
    most = max(max(side.free_pages) for side in answer.sides)
    rows = []
    for side in answer.sides:
        start, middle, end = 0, len(side.event) // 2, len(side.event) - 1
        of_order = [side.unusable_permille[at] for at in (start, middle, end)]
        rows.append((
            _name(answer, side),
            bars(side.free_pages, most),
            side.free_pages[end] * answer.page_size,
            *(each[min(4, len(each) - 1)] / 10 for each in of_order),
            of_order[2][min(9, len(of_order[2]) - 1)] / 10,
        ))  # fmt: skip
    columns = (
        Column("policy", Kind.TEXT),
        Column("over time", Kind.TEXT),
        Column("at the end", Kind.BYTES),
        Column("o4: start", Kind.PERCENT),
        Column("middle", Kind.PERCENT),
        Column("end", Kind.PERCENT),
        Column("o9: end", Kind.PERCENT),
    )
    title = f"Free memory, and the share of it that is of no use to orders 4 and 9{first_seed(answer)}"
    return Grid(title, columns, tuple(rows))


def _blocks(answer: WhatIf) -> Grid:
    orders = range(len(answer.sides[0].free_blocks))
    columns = [Column("policy", Kind.TEXT), *(Column(str(order), Kind.COUNT) for order in orders)]
    rows = tuple((_name(answer, side), *side.free_blocks) for side in answer.sides)
    if any(side.kept_pages for side in answer.sides):
        columns.append(Column("on CPUs", Kind.COUNT))
        rows = tuple((*row, side.kept_pages) for row, side in zip(rows, answer.sides, strict=True))
    return Grid(f"Free blocks by order at the end{first_seed(answer)}", tuple(columns), rows)


def _help(answer: WhatIf) -> list[Part]:
    # Who called one kind alone has named it already.
    kinds = any([each.kind for each in side.helps] not in ([], [side.help]) for side in answer.sides)
    rows = [
        (
            _name(answer, side), *([each.kind] if kinds else []), each.calls, each.succeeded,
            each.copied_pages, each.dropped_pages, each.written_pages + each.swapped_pages,
            sum(met.deferred for met in side.met) if each.kind == "linux" else None,
            each.cost_us.low / 1e6, each.cost_us.high / 1e6,
        )
        for side in answer.sides
        for each in side.helps
    ]  # fmt: skip
    columns = (
        Column("policy", Kind.TEXT),
        *([Column("kind", Kind.TEXT)] if kinds else []),
        *(
            Column(label, Kind.COUNT)
            for label in ("calls", "met", "copied", "dropped", "written", "deferred")
        ),
        Column("time at best", Kind.SECONDS),
        Column("at worst", Kind.SECONDS),
    )
    return [Grid(f"Help, in pages{_all_seeds(answer)}", columns, tuple(rows))] if rows else []


def first_seed(answer: WhatIf) -> str:
    """Return the end of a title whose figures are of one of several runs."""
    return " (first seed)" if len(answer.seeds) > 1 else ""


def _all_seeds(answer: WhatIf) -> str:
    return ", all seeds together" if len(answer.seeds) > 1 else ""


def _operations(answer: WhatIf) -> list[Part]:
    parts: list[Part] = []
    for title, names in (("Work on free areas", OPERATIONS), ("Work of Linux", LINUX_OPERATIONS)):
        sides = [side for side in answer.sides if names[0] in side.operations]
        there = [name for name in names if any(name in side.operations for side in sides)]
        rows = tuple((_name(answer, side), *(side.operations.get(name) for name in there)) for side in sides)
        columns = (
            Column("policy", Kind.TEXT),
            *(Column(name.replace("_permille", " ‰").replace("_", " "), Kind.COUNT) for name in there),
        )
        if rows:
            of_trees = "; trees at the end of the first" if "nodes" in there and len(answer.seeds) > 1 else ""
            parts.append(Grid(f"{title}{_all_seeds(answer)}{of_trees}", columns, rows))
    return parts

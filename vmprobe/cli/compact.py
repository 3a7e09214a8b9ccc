"""``vmprobe compact``: what compaction would do, and on request, as root, what it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from vmprobe.cli.compact_verify import VerifyOptions, verify_options
from vmprobe.cli.options import debug_option, json_option, open_or_take, root_options, snapshot_argument
from vmprobe.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

STRATEGIES: Final = ("linux", "plan", "blit", "evict", "gravity")
"""As of `vmprobe.bridge.compact`, which takes too long to import for a help text."""


@click.command(short_help="Forecast what compaction would gain and cost; --verify checks that.")
@snapshot_argument
@click.option(
    "--strategy",
    type=click.Choice(STRATEGIES),
    help="Who compacts: linux (the default), as compact_memory does; plan, with the fewest copies; blit, by"
    " copying into free pages at hand without waiting; evict, by dropping and swapping; gravity, sliding up.",
)
@click.option(
    "--order", type=click.IntRange(min=1), default=9, show_default=True, metavar="N",
    help="log2 of the pages in a block that is wanted; 9 is 2 MiB.",
)  # fmt: skip
@click.option(
    "--count", type=click.IntRange(min=1), metavar="K", help="Blocks to gain; as many as can be had without."
)
@click.option(
    "--zone",
    "zone_names",
    multiple=True,
    metavar="ZONE",
    help="Only this zone: NAME, or NODE:NAME; repeatable.",
)
@click.option("--compare", "side_by_side", is_flag=True, help="All strategies in one table.")
@verify_options
@json_option
@root_options
@debug_option
def compact(
    path: Path | None,
    *,
    strategy: str | None,
    order: int,
    count: int | None,
    zone_names: tuple[str, ...],
    history: Path | None,
    procfs: str | None,
    sysfs: str | None,
    side_by_side: bool,
    verify: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Forecast what compaction would do to SNAPSHOT: blocks gained, at what cost, and what stands in the way.

    Nothing is compacted: the moves are made on the model alone, and each page-table entry is followed. Beside
    the forecast stand the fewest copies by which the same can be gained, an interval where the snapshot
    cannot tell, what can make the forecast wrong with what to do about it, and how far off verified forecasts
    on this host were. Exit status 1 when --count blocks cannot be gained.

    Without SNAPSHOT one is taken now, in memory. With --verify this host is compacted, once you say --yes.
    """
    _agree(strategy, zone_names, count=count, side_by_side=side_by_side, verify=verify, yes=yes)
    if verify:
        from vmprobe.cli.compact_verify import run

        return run(
            VerifyOptions(
                order=order, yes=yes, as_json=as_json, history=history, path=path, procfs=procfs, sysfs=sysfs
            )
        )
    zones = tuple(_zone(name) for name in zone_names)
    from vmprobe.analyses.compact import compact as ask
    from vmprobe.analyses.compact import compare
    from vmprobe.analyses.compact_layout import layout, layout_comparison
    from vmprobe.cli.output import write_answer
    from vmprobe.cli.remembered import remembered

    known = remembered(history, live=path is None and procfs is None)
    snapshot = open_or_take(path, procfs=procfs, sysfs=sysfs)
    if side_by_side:
        compared = compare(snapshot, order, count=count, zones=zones, history=known)
        write_answer(compared, layout_comparison, as_json=as_json)
        return 0
    answer = ask(snapshot, strategy or STRATEGIES[0], order, count=count, zones=zones, history=known)
    write_answer(answer, layout, as_json=as_json)
    return 0 if count is None or answer.gained_blocks >= count else 1


def _agree(
    strategy: str | None,
    zone_names: tuple[str, ...],
    *,
    count: int | None,
    side_by_side: bool,
    verify: bool,
    yes: bool,
) -> None:
    """Refuse options that contradict one another.

    Raises
    ------
    UsageError
        They do.
    """
    if side_by_side and strategy is not None:
        raise UsageError("--compare shows all strategies", hint="leave out --strategy")
    if yes and not verify:
        raise UsageError("--yes is for --verify: a forecast changes nothing")
    if not verify:
        return
    chosen = [("--strategy", strategy not in (None, "linux")), ("--count", count is not None)]
    chosen += [("--zone", bool(zone_names)), ("--compare", side_by_side)]
    for name, given in chosen:
        if given:
            raise UsageError(f"{name} and --verify: the kernel compacts all zones, in its own way")


def _zone(text: str) -> tuple[int | None, str]:
    """Return node and name of ``NAME`` or ``NODE:NAME``.

    >>> _zone("Normal"), _zone("1:DMA32")
    ((None, 'Normal'), (1, 'DMA32'))

    Raises
    ------
    UsageError
        It is neither.
    """
    node, colon, name = text.rpartition(":")
    if not name or (colon and not node.isdecimal()):
        raise UsageError(f"--zone {text}: expected NAME or NODE:NAME")
    return (int(node) if colon else None), name

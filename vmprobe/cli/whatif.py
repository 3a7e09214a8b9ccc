"""``vmprobe whatif``: policies of free areas side by side, under one demand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from click.core import ParameterSource

from vmprobe.cli.options import debug_option, json_option, open_or_take, root_options, snapshot_argument
from vmprobe.errors import UsageError

if TYPE_CHECKING:
    from vmprobe.analyses.whatif_answer import WhatIf

ALL_POLICIES: Final = "buddy-lifo,buddy-fifo,buddy-grouped,reserve,gravity,best-fit,first-fit"
MOST_STEPS: Final = 50_000_000
MOST_WEIGHT: Final = 1_000_000
MOST_KEPT: Final = 1_000_000


@click.command(short_help="Run policies of free areas, from 1998 to today, on the layout.")
@snapshot_argument
@click.option(
    "--policy", "policies", default=ALL_POLICIES, metavar="NAME[:OPTION=VALUE][,...]",
    help="Policies to compare; all without.",
)  # fmt: skip
@click.option(
    "--demand", default="mixed", show_default=True, metavar="NAME[*WEIGHT][,...]|FILE",
    help="Streams of requests; or the file of a demand, or the folder of a recording.",
)  # fmt: skip
@click.option(
    "--steps", type=click.IntRange(1, MOST_STEPS), default=200_000, show_default=True, metavar="N",
    help="Requests of a run.",
)  # fmt: skip
@click.option(
    "--seed", type=click.IntRange(0, 1 << 31), default=1, show_default=True, metavar="S", help="First seed."
)
@click.option(
    "--seeds", type=click.IntRange(1, 100), default=3, show_default=True, metavar="K",
    help="Runs, each with the next seed.",
)  # fmt: skip
@click.option(
    "--help-on-failure", "helps", default="none", show_default=True, metavar="KIND[+KIND][,...]",
    help="What a request that fails may call: none, blit, evict, linux; each choice is compared.",
)  # fmt: skip
@click.option(
    "--keep", metavar="N:ORDER", help="Keep N free areas of an order ready by blitting, just in case."
)
@click.option(
    "--swap", "swap_mib", type=click.IntRange(0, 1 << 24), metavar="MIB",
    help="Assume so much free swap, for evict; what the host had without.",
)  # fmt: skip
@click.option("--node", type=click.IntRange(min=0), metavar="N", help="NUMA node; the largest without.")
@click.option(
    "--save-demand",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Keep the first seed's demand in FILE.",
)
@click.option(
    "--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a page with charts into FILE."
)
@click.option("--map", "maps", is_flag=True, help="Draw the pageblocks that each policy ends with.")
@json_option
@root_options
@debug_option
def whatif(
    path: Path | None,
    *,
    policies: str,
    demand: str,
    steps: int,
    seed: int,
    seeds: int,
    helps: str,
    keep: str | None,
    swap_mib: int | None,
    node: int | None,
    save_demand: Path | None,
    html: Path | None,
    maps: bool,
    procfs: str | None,
    sysfs: str | None,
    as_json: bool,
) -> None:
    """Run the same demand through policies of free areas, on the layout of one node of SNAPSHOT.

    Each policy gets the layout and the requests, same seed; the answer says how many were met by order and
    priority, what free memory looked like, what help copied and evicted, and what the work was. Policies:
    buddy-lifo, buddy-fifo, buddy-grouped[:defrag_mode=1] (Linux today), reserve[:t=4:n=8] and
    gravity[:tree=avl:large=4] (both of 1998), best-fit, first-fit. Demands: mixed, page-cache, process-churn,
    net-burst, huge-storm, unmovable-sprinkle, sound-card, print-job. The same seed gives the same answer on
    every machine.

    Without SNAPSHOT one is taken now, in memory; with a recording it is the one that was taken before it.
    """
    from vmprobe.analyses.whatif import Question, are_streams, demand_in
    from vmprobe.analyses.whatif import whatif as ask
    from vmprobe.cli.progress import progress_line
    from vmprobe.store.allocations import MANIFEST, read

    if html is not None and html == save_demand:
        raise UsageError("--html and --save-demand: the same file")
    if path is not None and (path / MANIFEST).is_file():
        raise UsageError(f"{path}: a recording, not a snapshot", hint=f"vmprobe whatif --demand {path}")
    # Streams come first: a file that happens to be called mixed is ./mixed.
    named = None if are_streams(demand) else _file(demand)
    recording = read(named) if named and named.is_dir() else None
    kept = demand_in(named) if named and not recording else None
    if kept or recording:
        _refuse_idle()
    question = Question(
        policies=tuple(policies.split(",")),
        streams=() if kept or recording else _streams(demand),
        steps=steps,
        seeds=tuple(range(seed, seed + seeds)),
        helps=tuple(helps.split(",")),
        keep=None if keep is None else _keep(keep),
        node=node,
        kept=kept,
        recording=recording,
        save=save_demand,
        swap_free_bytes=None if swap_mib is None else swap_mib << 20,
    )
    if recording and path is None:
        path = recording.before
    snapshot = open_or_take(path, procfs=procfs, sysfs=sysfs)
    try:
        with progress_line() as progress:
            answer = ask(snapshot, question, progress)
    except MemoryError as error:
        raise UsageError(f"not enough memory for {steps} steps", hint="choose fewer --steps") from error
    if html is not None:
        from vmprobe.render.html_whatif import whatif_page
        from vmprobe.store.single_file import write_whole

        write_whole(html, whatif_page(answer))
    if as_json:
        from vmprobe.cli.output import write_json

        write_json(answer)
    else:
        _write_text(answer, maps=maps)


def _file(text: str) -> Path | None:
    """Return the file or folder of a name; None where there is none."""
    # Path.exists of Python 3.11 raises for a name that is too long.
    return Path(text) if text and os.path.exists(text) else None  # noqa: PTH110


def _refuse_idle() -> None:
    """Refuse options that say how a demand is made where it comes from a file."""
    context = click.get_current_context()
    given = [
        name
        for name in ("steps", "seed", "seeds")
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise UsageError(f"--{given[0]}: the demand comes from a file", hint="leave it out")


def _streams(text: str) -> tuple[tuple[str, int], ...]:
    """Return streams and weights; UsageError for a weight that is no number."""
    found = []
    for part in text.split(","):
        name, star, weight = part.partition("*")
        if star and not (weight.isdecimal() and int(weight) <= MOST_WEIGHT):
            raise UsageError(
                f"--demand {part[:80]}: {weight[:20]!r} is no weight", hint="for example page-cache*3"
            )
        found.append((name, int(weight) if star else 1))
    return tuple(found)


def _keep(text: str) -> tuple[int, int]:
    nr, _, order = text.partition(":")
    if not (nr.isdecimal() and order.isdecimal() and 0 < int(nr) <= MOST_KEPT):
        raise UsageError(f"--keep {text[:40]}: not a number and an order", hint="for example 4:4")
    return int(nr), int(order)


def _write_text(answer: WhatIf, *, maps: bool) -> None:
    """Write tables, and the pageblocks of each policy where they are wanted."""
    from vmprobe.analyses.whatif_layout import layout, map_of_side
    from vmprobe.cli.output import console, stdout
    from vmprobe.render.strip_text import print_map
    from vmprobe.render.text import print_parts

    view = console()
    with view.capture() as captured:
        print_parts(layout(answer), view)
        for side in answer.sides if maps else ():
            view.print(f"\n{side.policy}, help {side.help}")
            print_map(map_of_side(answer, side), view, None)
    stdout().write(captured.get())

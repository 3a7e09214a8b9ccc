"""``vmprobe map``: the pageblocks of each zone side by side, in the terminal or as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vmprobe.cli.compact import STRATEGIES
from vmprobe.cli.options import debug_option, json_option, open_or_take, root_options, snapshot_argument
from vmprobe.errors import UsageError

if TYPE_CHECKING:
    from vmprobe.analyses.map_answer import Map


@click.command("map", short_help="Draw the pageblocks of each zone by what they hold.")
@snapshot_argument
@click.option(
    "--png", type=click.Path(path_type=Path), metavar="FILE", help="Draw into FILE, by the pixel (Pillow)."
)
@click.option(
    "--svg", type=click.Path(path_type=Path), metavar="FILE", help="Draw into FILE, to print and to hover."
)
@click.option(
    "--owner",
    metavar="PID|CGROUP",
    help="Show where the pages of one process (and all that share its address space) or of one cgroup (and"
    " those below it) are.",
)
@click.option(
    "--forecast",
    type=click.Choice(STRATEGIES),
    help="Also show what a compaction by this strategy would leave, and the difference.",
)
@click.option(
    "--order", type=click.IntRange(min=1), default=9, show_default=True, metavar="N",
    help="Of --forecast: log2 of the pages in a block that is wanted.",
)  # fmt: skip
@click.option(
    "--width", type=click.IntRange(min=1, max=8192), metavar="N", help="Cells in a row; what fits without."
)
@json_option
@root_options
@debug_option
def map(  # noqa: A001 - the verb's name
    path: Path | None,
    *,
    png: Path | None,
    svg: Path | None,
    owner: str | None,
    forecast: str | None,
    order: int,
    width: int | None,
    procfs: str | None,
    sysfs: str | None,
    as_json: bool,
) -> None:
    """Draw the pageblocks of SNAPSHOT, zone by zone, by what they hold.

    Each cell is a pageblock: free, movable only, mixed, unmovable, or kept from being free by one page alone,
    which stands out. Where a cell stands for several it shows the worst of them. In a terminal with colours
    two rows share a line; elsewhere there are letters. With --forecast the strips after a compaction and the
    difference are drawn below. --png and --svg draw into a file instead.

    Without SNAPSHOT one is taken now, in memory.
    """
    chosen = [name for name, given in (("--png", png), ("--svg", svg), ("--json", as_json)) if given]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} are different answers", hint="ask for one of them")
    from vmprobe.analyses.map import map_of

    answer = map_of(
        open_or_take(path, procfs=procfs, sysfs=sysfs), owner=owner, forecast=forecast, order=order
    )
    if as_json:
        from vmprobe.cli.output import write_json

        write_json(answer)
    elif png is not None or svg is not None:
        _write_picture(answer, png, svg, width)
    else:
        _write_text(answer, width)


def _write_picture(answer: Map, png: Path | None, svg: Path | None, width: int | None) -> None:
    """Write the picture into its file, whole or not at all."""
    from vmprobe.store.single_file import write_whole

    if png is not None:
        from vmprobe.render.picture_png import png_picture

        write_whole(png, png_picture(answer, width))
    if svg is not None:
        from vmprobe.render.picture_svg import svg_picture

        write_whole(svg, svg_picture(answer, width))


def _write_text(answer: Map, width: int | None) -> None:
    """Write words, strips and legend to standard output."""
    from vmprobe.analyses.map_layout import above, below
    from vmprobe.cli.output import console, stdout
    from vmprobe.render.strip_text import print_map
    from vmprobe.render.text import print_parts

    view = console()
    with view.capture() as captured:
        print_parts(above(answer), view)
        print_map(answer, view, width)
        rest = below(answer)
        if rest.parts:
            view.print()
            print_parts(rest, view)
    stdout().write(captured.get())

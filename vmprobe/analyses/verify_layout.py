"""The answer of ``vmprobe compact --verify`` laid out for reading."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmprobe.analyses.compact_words import hazards_grid
from vmprobe.analyses.parts import Column, Facts, Grid, Kind, Note, Parts, grid
from vmprobe.analyses.record import layout_record

if TYPE_CHECKING:
    from vmprobe.analyses.verify import Verification


@dataclass(frozen=True)
class Intended:
    """What ``--verify`` would do, when it was not told to.

    Parameters
    ----------
    done
        False.
    steps
        One sentence each.
    """

    done: bool
    steps: tuple[str, ...]


def intended(history: str) -> Intended:
    """Return what would be done.

    Parameters
    ----------
    history
        The file that would be appended to.
    """
    write = (
        "write 1 to /proc/sys/vm/compact_memory: the kernel moves pages of every process together, in every "
        "zone, which takes about 2 us a page and makes whoever touches such a page wait for it;"
    )
    return Intended(
        done=False,
        steps=(
            "photograph this host, and its frames once more just before the next step;",
            write,
            "photograph the frames again;",
            "forecast from the first photograph alone what should have happened, print how far off that is;",
            f"append the error to {history}, so that later forecasts print their own record.",
        ),
    )


def layout_intended(answer: Intended) -> Parts:
    """Return the steps, and how to have them done."""
    steps = tuple(f"{number}. {step}" for number, step in enumerate(answer.steps, 1))
    return Parts(
        (
            Note("With --yes this would", steps),
            Note("", ("Nothing was done. Contents do not change; nothing else on this host is written to.",)),
        )
    )


def layout(answer: Verification) -> Parts:
    """Return the verdict, forecast beside reality, then where they differ."""
    parts: list[Grid | Facts | Note] = [
        Note("", (_verdict(answer),)),
        _sides(answer),
        _blocks(answer),
        _pages(answer),
        grid(
            f"How each zone ended, by {answer.status_source}",
            answer.zones,
            ("node", "node", Kind.TEXT),
            ("zone", "zone", Kind.TEXT),
            ("status_forecast", "forecast", Kind.TEXT),
            ("status_actual", "actual", Kind.TEXT),
        ),
    ]
    if answer.hazards:
        parts.append(hazards_grid(answer.hazards, "What can make such a forecast wrong here"))
    if answer.record is not None:
        parts.append(layout_record(answer.record))
    if answer.notes:
        parts.append(Note("Notes", answer.notes))
    return Parts(tuple(parts))


def _verdict(answer: Verification) -> str:
    error = answer.error.moves_percent
    moves = f"{answer.moves_pages:,} pages forecast to move, {answer.actual.moves_pages or 0:,} moved"
    off = "" if error is None else f" ({error:+.2f} %)"
    gained = f"{answer.gained_blocks:,} blocks of order {answer.order} forecast to be gained"
    if answer.interval is not None and answer.interval[0] != answer.interval[1]:
        gained += f" (between {answer.interval[0]:,} and {answer.interval[1]:,})"
    return f"{moves}{off}; {gained}, {answer.actual.gained_blocks:,} gained."


def _signed(error: float | None) -> str | None:
    return None if error is None else f"{error:+.2f} %"


def _sides(answer: Verification) -> Grid:
    actual, error = answer.actual, answer.error
    columns = (
        Column("", Kind.TEXT),
        Column("forecast", Kind.COUNT),
        Column("actual", Kind.COUNT),
        Column("error", Kind.TEXT),
    )
    rows = (
        ("pages moved", answer.moves_pages, actual.moves_pages, _signed(error.moves_percent)),
        ("blocks gained", answer.gained_blocks, actual.gained_blocks, _signed(error.gained_percent)),
        (
            "blocks gained, drained",
            error.corrected.gained_forecast,
            error.corrected.gained_real,
            _signed(error.corrected.gained_percent),
        ),
        (
            "scanned for moving",
            answer.migrate_scanned,
            actual.migrate_scanned,
            _signed(error.migrate_scanned_percent),
        ),
        ("scanned for room", answer.free_scanned, actual.free_scanned, _signed(error.free_scanned_percent)),
        ("fewest moves for the gain", answer.minimum_moves_pages, actual.minimum_moves_pages, None),
        ("milliseconds", round(answer.cost_us.mid / 1000), round(actual.cost_us.mid / 1000), None),
        ("pages others allocated", 0, answer.foreign_pages, None),
    )
    return Grid("Forecast and reality", columns, rows)


def _blocks(answer: Verification) -> Grid:
    columns = tuple(
        Column(name, Kind.TEXT if name == "order" else Kind.COUNT)
        for name in ("order", "before", "forecast", "actual")
    )
    sides = (answer.before.free_blocks, answer.after.free_blocks, answer.actual.after.free_blocks)
    return Grid(
        "Free blocks", columns, tuple((order, *row) for order, row in enumerate(zip(*sides, strict=True)))
    )


def _pages(answer: Verification) -> Grid:
    """Show the scores page by page, as read and with per-CPU lists drained."""
    raw, drained = answer.error, answer.error.corrected
    columns = (Column("page by page", Kind.TEXT), Column("as read", Kind.TEXT), Column("drained", Kind.TEXT))
    names = {
        "left_precision": "forecast to be left, and was",
        "left_recall": "left, and forecast to be",
        "filled_precision": "forecast to be filled, and was",
        "filled_recall": "filled, and forecast to be",
        "free_mass_distance": "distance of free memory over orders",
    }
    rows = tuple(
        (label, *(_share(getattr(each, name)) for each in (raw, drained))) for name, label in names.items()
    )
    return Grid("Which pages", columns, rows)


def _share(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"

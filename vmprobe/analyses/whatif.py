"""``vmprobe whatif``: policies of free areas side by side, on the layout of a snapshot, under one demand."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vmprobe.analyses.compact import prepared
from vmprobe.analyses.map_answer import CONTENTS
from vmprobe.analyses.whatif_answer import Met, Side, Spread, WhatIf
from vmprobe.bridge.ground import ground as ground_of
from vmprobe.bridge.ground import scale as scale_of
from vmprobe.bridge.replay import replay
from vmprobe.bridge.replay_compare import counted_rows, forecast_error
from vmprobe.bridge.standing import standing
from vmprobe.bridge.strip import pageblock_order, strips_of_layouts
from vmprobe.bridge.whatif import (
    HELP_KINDS,
    check_names,
    demand_arrays,
    help_of,
    is_stream,
    kept_demand,
    low_limit_bytes,
    made_demand,
    nr_cpus,
    peak_permille,
    run,
)
from vmprobe.errors import InputError, UsageError
from vmprobe.store.arrays_file import read_arrays, write_arrays

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from vmprobe.bridge.replay import Replay
    from vmprobe.bridge.replay_compare import ForecastError
    from vmprobe.bridge.strip import ZoneStrip
    from vmprobe.bridge.whatif import Demand, Group, Outcome, Scale
    from vmprobe.store.allocations import Recording
    from vmprobe.tables import Snapshot

NO_HELP: Final = "none"
HINT: Final = "name streams, a file that --save-demand wrote, or a folder that vmprobe record wrote"
CAME: Final = ("at_once", "helped", "failed", "deferred")
AT_THE_END: Final = ("nodes", "depth", "least_depth", "left_permille")
"""Counters that tell how a tree is, not what was done."""


@dataclass(frozen=True)
class Question:
    """What is compared.

    Parameters
    ----------
    policies
        With their options.
    streams
        What the demand is mixed of, with weights; empty where `kept` is given.
    steps
        Requests of each run.
    seeds
        One run each.
    helps
        Choices of help, each of kinds joined by ``+``, or ``none``.
    keep
        How many free areas of which order are kept ready.
    node
        Whose zones; None for the node with the most memory.
    kept
        A demand that was kept, and what it is called; None for one that is made.
    recording
        What the page allocator of a host did, to be replayed; None for nothing.
    save
        A file that keeps the demand of the first seed; None for none.
    swap_free_bytes
        What swap is taken to have room for; None for what it had.
    """

    policies: tuple[str, ...]
    streams: tuple[tuple[str, int], ...]
    steps: int
    seeds: tuple[int, ...]
    helps: tuple[str, ...] = (NO_HELP,)
    keep: tuple[int, int] | None = None
    node: int | None = None
    kept: tuple[str, Demand] | None = None
    recording: Recording | None = None
    save: Path | None = None
    swap_free_bytes: int | None = None


def are_streams(text: str) -> bool:
    """Whether a text names streams, with or without weights."""
    return all(is_stream(part.partition("*")[0]) for part in text.split(","))


def demand_in(path: Path) -> tuple[str, Demand]:
    """Return the demand that a file keeps, and what it is called.

    Raises
    ------
    InputError
        It cannot be read, or is no demand.
    """
    return path.name, kept_demand(read_arrays(path, HINT), str(path))


def help_kinds(text: str) -> tuple[str, ...]:
    """Return the kinds of help that a choice names.

    Raises
    ------
    UsageError
        It names one that there is not, or one twice.
    """
    if text == NO_HELP:
        return ()
    kinds = tuple(text.split("+"))
    unknown = [kind for kind in kinds if kind not in HELP_KINDS]
    if unknown or len(set(kinds)) < len(kinds):
        said = f"{text} names one twice"
        if unknown:
            said = "none is joined with nothing" if NO_HELP in unknown else f"no help {unknown[0]}"
        hint = f"none, or {', '.join(HELP_KINDS)} joined by + in the order in which they are tried"
        raise UsageError(f"--help-on-failure: {said}", hint=hint)
    return kinds


def whatif(
    snapshot: Snapshot, question: Question, progress: Callable[[str, int, int], None] | None = None
) -> WhatIf:
    """Run a demand through each policy and each choice of help.

    Parameters
    ----------
    snapshot
        With frames and zones.
    question
        What is compared.
    progress
        Told what runs, and how far it is, in thousandths.

    Raises
    ------
    SnapshotError, PrivilegeError
        Frames, zones or watermarks are missing.
    InputError
        The recording holds what the host cannot have done.
    UsageError
        There is no such policy, stream, help or node, or order to keep; a demand that comes from a file is to
        be kept in one.
    OutputError
        The demand cannot be kept.
    """
    if question.save is not None and not question.streams:
        raise UsageError("--save-demand: the demand comes from a file already", hint="copy that file")
    choices = [(text, help_kinds(text)) for text in question.helps]
    room = question.swap_free_bytes
    swap_free_pages = None if room is None else room // snapshot.page_size
    made = ground_of(snapshot, prepared(snapshot), question.node, swap_free_pages)
    scale = scale_of(snapshot, made)
    check_names(question.policies, question.streams or (("mixed", 1),), made)
    if question.keep is not None and question.keep[1] >= made.nr_orders:
        raise UsageError(f"--keep: order {question.keep[1]}, at most {made.nr_orders - 1}")
    found = standing(snapshot)
    error: ForecastError | None = None
    if question.recording is None:
        demands = _demands(question, scale, nr_cpus(made))
    else:
        _is_before(snapshot, question.recording)
        _told(progress, "replay as the kernel did it")
        with _naming(question.recording):
            played = replay(question.recording, made)
            error = error_of(question.recording, played)
        made, demands = played.ground, [played.demand]
    if question.save is not None:
        write_arrays(question.save, demand_arrays(demands[0]))
    sides = []
    for policy in question.policies:
        for text, kinds in choices:
            outcomes = []
            for number, each in enumerate(demands):
                told = _told(progress, f"{policy}, help {text}, run {number + 1} of {len(demands)}")
                outcomes.append(run(made, each, policy, help_kinds=kinds, keep=question.keep, progress=told))
            strips = strips_of_layouts(found, outcomes[0].layouts, pageblock_order(snapshot))
            sides.append(_side(policy, text, outcomes, strips, keeps=question.keep is not None))
    return WhatIf(
        path=snapshot.path,
        page_size=snapshot.page_size,
        pageblock_order=pageblock_order(snapshot),
        release=str(snapshot.manifest["host"]["release"]),
        time=str(snapshot.manifest["time"]["start"]),
        node=made.zones[0].layout.node,
        demand=_demand_name(question),
        steps=len(demands[0].requests) - demands[0].nr_standing,
        seeds=() if question.kept or question.recording else question.seeds,
        keep=question.keep,
        free_pages=scale.free_pages,
        swap_free_pages=made.swap_free_pages,
        swap_assumed=room is not None,
        peak_permille=peak_permille(demands[0], scale),
        low_limit_bytes=low_limit_bytes(made, demands[0], snapshot.page_size),
        sides=tuple(sides),
        contents=CONTENTS,
        replay=error,
        events_lost=question.recording.manifest["lost"] if question.recording else None,
    )


def _demands(question: Question, scale: Scale, cpus: int) -> list[Demand]:
    if question.kept is not None:
        return [question.kept[1]]
    return [made_demand(question.streams, question.steps, seed, scale, cpus) for seed in question.seeds]


def _is_before(snapshot: Snapshot, recording: Recording) -> None:
    """Refuse a snapshot that is not the one right before a recording: its events would meet other memory."""
    told, host = recording.manifest, snapshot.manifest["host"]
    if (host.get("boot_id"), snapshot.manifest["time"]["start"]) != (told["boot_id"], told["before_time"]):
        raise UsageError(
            f"{recording.path}: the snapshot is not the one that was taken right before the recording",
            hint=f"give {recording.before}, or none",
        )


def error_of(recording: Recording, made: Replay) -> ForecastError:
    """Return how far buddy-grouped, replaying a recording, is from what the kernel did."""
    ends = (counted_rows(recording.manifest[f"counts_at_{end}"], made.ground) for end in ("start", "end"))
    return forecast_error(recording, made, *ends)


@contextmanager
def _naming(recording: Recording) -> Iterator[None]:
    """Name the recording in what is told about its contents."""
    try:
        yield
    except InputError as error:
        hint = f"it was made on another kernel than {recording.before}, or is damaged: record again"
        raise InputError(f"{recording.path}: {error.message}", hint=hint) from error


def _demand_name(question: Question) -> str:
    if question.recording is not None:
        return question.recording.path.name
    if question.kept is not None:
        return question.kept[0]
    return ", ".join(name if weight == 1 else f"{name}*{weight}" for name, weight in question.streams)


def _told(progress: Callable[[str, int, int], None] | None, stage: str) -> Callable[[float], None] | None:
    if progress is None:
        return None
    # Until the first sample the code of the policy is compiled, if this version of it never ran here.
    progress(f"{stage} (compiled at first)", 0, 0)
    return lambda share: progress(stage, round(1000 * share), 1000)


def _met(group: Group) -> int:
    return group.at_once + group.helped


def _asked(group: Group) -> int:
    return _met(group) + group.failed + group.deferred


def _side(
    policy: str, text: str, outcomes: Sequence[Outcome], strips: tuple[ZoneStrip, ...], *, keeps: bool
) -> Side:
    first = outcomes[0]
    met = _all_met(outcomes)
    helps = [help_of(kind, [outcome.help[kind] for outcome in outcomes]) for kind in first.help]
    if keeps:
        helps.append(help_of("keep", [outcome.background for outcome in outcomes]))
    operations = {
        name: first.operations[name]
        if name in AT_THE_END
        else sum(outcome.operations[name] for outcome in outcomes)
        for name in first.operations
    }
    totals = [(sum(map(_met, each.groups)), sum(map(_asked, each.groups))) for each in outcomes]
    return Side(
        policy=policy,
        help=text,
        met=met,
        all_met_percent=Spread.of(totals) if any(asked for _, asked in totals) else None,
        atomic_failures=sum(each.failed + each.deferred for each in met if each.priority == "atomic"),
        helps=tuple(helps),
        operations=operations,
        event=first.event,
        free_pages=first.free_pages,
        unusable_permille=first.unusable_permille,
        free_blocks=first.free_blocks,
        kept_pages=first.kept_pages,
        low_blocks=first.low_blocks,
        low_refused=first.low_refused,
        strips=strips,
    )


def _all_met(outcomes: Sequence[Outcome]) -> tuple[Met, ...]:
    """Return the requests of each source, priority and order, over all seeds."""
    keys = {(each.source, each.priority, each.order) for outcome in outcomes for each in outcome.groups}
    found = []
    for key in sorted(keys, key=_key(outcomes)):
        of_outcome = [[each for each in outcome.groups if each[:3] == key] for outcome in outcomes]
        groups = [each for listed in of_outcome for each in listed]
        at_once, helped, failed, deferred = (
            sum(getattr(each, name) for each in groups)
            for name in ("at_once", "helped", "failed", "deferred")
        )
        seeds = tuple((sum(map(_met, listed)), sum(map(_asked, listed))) for listed in of_outcome)
        asked = at_once + helped + failed + deferred
        found.append(Met(*key, asked, at_once, helped, failed, deferred, seeds, Spread.of(seeds)))
    return tuple(found)


def _key(outcomes: Sequence[Outcome]) -> Callable[[tuple[str, str, int]], tuple[int, str, int]]:
    """Return the order of groups: sources as the demand names them, then priority and order."""
    sources = list(dict.fromkeys(each.source for outcome in outcomes for each in outcome.groups))
    return lambda key: (sources.index(key[0]), key[1], key[2])

"""The answer of ``vmprobe sharing`` laid out for reading."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmprobe.analyses.parts import Fact, Facts, Grid, Kind, Note, Parts, grid
from vmprobe.units import bytes_text, count_text

if TYPE_CHECKING:
    from vmprobe.analyses.sharing_answer import Meaning, Sharing, Totals


def layout(answer: Sharing) -> Parts:
    """Return a sentence, then what surprises, then the ledger, who has what, and what is missing."""
    parts: list[Grid | Facts | Note] = [Note("", (_sentence(answer),))]
    if answer.mechanisms:
        parts.append(
            grid(
                "Sharing that the page count does not reveal",
                answer.mechanisms,
                ("mechanism", "mechanism", Kind.TEXT),
                ("bytes", "bytes", Kind.BYTES),
                ("frames", "frames", Kind.COUNT),
                ("entries", "entries", Kind.COUNT),
                ("processes", "processes", Kind.COUNT),
                ("evidence", "evidence", Kind.TEXT),
            )
        )
        notes = tuple(f"{row.mechanism}: {row.note}" for row in answer.mechanisms)
        parts.append(Note("Evidence", notes))
    if answer.meanings:
        parts.append(Note("What they are", tuple(_meaning(each) for each in answer.meanings)))
    parts.append(ledger_facts(answer.totals))
    if answer.groups:
        parts.append(
            grid(
                "What groups cost together",
                answer.groups,
                ("group", "group", Kind.TEXT),
                ("processes", "processes", Kind.COUNT),
                ("distinct_bytes", "distinct", Kind.BYTES),
                ("freed_bytes", "freed", Kind.BYTES),
                ("shared_bytes", "shared", Kind.BYTES),
                ("pss_bytes", "PSS", Kind.BYTES),
                ("others_bytes", "others' part", Kind.BYTES),
                ("unseen_bytes", "unseen too", Kind.BYTES),
                ("swap_bytes", "swap", Kind.BYTES),
            )
        )
    if answer.processes:
        parts.append(
            grid(
                "Processes",
                answer.processes,
                ("pid", "pid", Kind.TEXT),
                ("comm", "name", Kind.TEXT),
                ("pss_bytes", "PSS", Kind.BYTES),
                ("rss_bytes", "RSS", Kind.BYTES),
                ("uss_bytes", "USS", Kind.BYTES),
                ("swap_bytes", "swap", Kind.BYTES),
                ("swap_pss_bytes", "swap PSS", Kind.BYTES),
                ("hidden_bytes", "hidden", Kind.BYTES),
            )
        )
    if answer.processes_left_out:
        nr = count_text(answer.processes_left_out)
        parts.append(Note("", (f"{nr} more processes; --top shows more of them.",)))
    if answer.missing:
        parts.append(Note("Missing", tuple(f"{row.part}: {row.reason}" for row in answer.missing)))
    return Parts(tuple(parts))


def _sentence(answer: Sharing) -> str:
    totals = answer.totals
    if answer.pid is not None:
        nr = len({row.mechanism for row in answer.mechanisms})
        return f"Process {answer.pid} takes part in {nr} mechanism{'' if nr == 1 else 's'}."
    if not answer.mechanisms:
        return "Nothing of what was asked for was found."
    known = [row for row in answer.mechanisms if row.bytes]
    said = [f"{count_text(totals.frames_mapped)} frames mapped, {count_text(answer.unexplained)} unexplained"]
    if known:
        said.append(
            f"most that the count does not tell: {known[0].mechanism} {bytes_text(known[0].bytes or 0)}"
        )
    if totals.hidden_entries:
        bound = "" if totals.hidden_at_most is None else f" of at most {count_text(totals.hidden_at_most)}"
        said.append(f"{count_text(totals.hidden_entries)} entries{bound} are of processes unseen")
    return "; ".join(said) + "."


def _meaning(each: Meaning) -> str:
    then = f" In 1998: {each.in_1998}." if each.in_1998 else ""
    return f"{each.mechanism}: {each.meaning}. The page count says: {each.page_count}.{then}"


def ledger_facts(totals: Totals) -> Facts:
    """Return the totals; each frame that is mapped is in exactly one line."""
    facts = [
        Fact("frames mapped", totals.frames_mapped, Kind.COUNT),
        Fact("counted as found", totals.counts_match, Kind.COUNT),
        Fact("  private", totals.private, Kind.COUNT),
        Fact("  shared anonymous", totals.shared_anonymous, Kind.COUNT),
        Fact("  shared memory", totals.shared_shmem, Kind.COUNT),
        Fact("  shared file", totals.shared_file, Kind.COUNT),
        Fact("  shared otherwise", totals.shared_other, Kind.COUNT),
        Fact("unstable", totals.unstable, Kind.COUNT),
        *(Fact(name, nr, Kind.COUNT) for name, nr in sorted(totals.explained.items())),
        Fact("unexplained", totals.unexplained, Kind.COUNT),
    ]
    if totals.hidden_entries:
        facts += [
            Fact("entries unseen", totals.hidden_entries, Kind.COUNT),
            Fact("and at most", totals.hidden_at_most, Kind.COUNT),
        ]
    facts += [
        Fact("threads unlisted", totals.hidden_threads, Kind.COUNT),
        Fact("processes", totals.processes, Kind.COUNT),
        Fact("address spaces", totals.address_spaces, Kind.COUNT),
        Fact("RSS of all", totals.rss_bytes, Kind.BYTES),
        Fact("PSS of all", totals.pss_bytes, Kind.BYTES),
        Fact("USS of all", totals.uss_bytes, Kind.BYTES),
        Fact("swap of all", totals.swap_bytes, Kind.BYTES),
        Fact("swap PSS of all", totals.swap_pss_bytes, Kind.BYTES),
    ]
    return Facts("Ledger", tuple(facts))

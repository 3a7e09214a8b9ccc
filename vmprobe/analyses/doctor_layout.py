"""The answer of ``vmprobe doctor`` laid out for reading: the verdict first, then what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmprobe.analyses.parts import Facts, Grid, Kind, Note, Parts, grid
from vmprobe.analyses.show_layout import unread_parts

if TYPE_CHECKING:
    from vmprobe.analyses.doctor import Doctor


def layout(answer: Doctor) -> Parts:
    """Return the parts of the answer in reading order."""
    parts: list[Grid | Facts | Note] = [Note("Verdict", (answer.verdict,))]
    for index, hint in enumerate(answer.hints):
        title = "" if index else "Next steps"
        if hint.command is None:
            parts.append(Note(title, (f"{hint.why}.",)))
        else:
            parts.append(Note(title, (f"{hint.why}:",)))
            parts.append(Note("", (f"  {hint.command}",), verbatim=True))
    parts.append(
        grid(
            "Sources",
            answer.sources,
            ("name", "source", Kind.TEXT),
            ("status", "readable", Kind.TEXT),
            ("duration_seconds", "time", Kind.SECONDS),
            ("nr_bytes", "bytes", Kind.BYTES),
            ("bytes_per_second", "rate", Kind.RATE),
            ("gives", "gives", Kind.TEXT),
        )
    )
    refused = [row for row in answer.sources if row.status in {"no", "partly"}]
    if refused:
        parts.append(
            grid(
                "Lost without them",
                refused,
                ("name", "source", Kind.TEXT),
                ("gives", "lost", Kind.TEXT),
                ("reason", "because", Kind.TEXT),
                ("needs", "needs", Kind.TEXT),
            )
        )
    parts.append(
        grid(
            "Kernel quirks in this snapshot",
            sorted(answer.quirks, key=lambda quirk: ("present", "absent", "unknown").index(quirk.status)),
            ("id", "quirk", Kind.TEXT),
            ("status", "status", Kind.TEXT),
            ("evidence", "evidence", Kind.TEXT),
        )
    )
    present = [quirk for quirk in answer.quirks if quirk.status == "present"]
    if present:
        lines = [f"{quirk.id}: {quirk.title}. vmprobe {quirk.remedy}." for quirk in present]
        parts.append(Note("What vmprobe does about them", tuple(lines)))
    parts += unread_parts(answer.unread)
    return Parts(tuple(parts))

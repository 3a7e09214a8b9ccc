"""``vmprobe sharing``: who can reach each page, how that is known, and what it costs whom.

A mechanism is a way in which memory is shared without the page count telling. Figures that no file of /proc
tells are None.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from vmprobe.analyses.evidence import (
    Evidence,
    demand_frames,
    demand_tables,
    refuse_hidden_frames,
    why_missing,
)
from vmprobe.analyses.process import address_space
from vmprobe.analyses.quirk_detectors import PRESENT, averaged_mapcounts
from vmprobe.analyses.quirks import trust_ksm
from vmprobe.analyses.sharing_answer import Meaning, MechanismRow, ProcessRow, Sharing, Totals
from vmprobe.analyses.sharing_groups import group_rows
from vmprobe.analyses.show import MissingPart
from vmprobe.bridge.sharing import (
    MECHANISM_INFO,
    PSS_SHIFT,
    Mechanism,
    accounts,
    facts,
    hidden_bytes,
    of_process,
    survey,
)
from vmprobe.errors import UsageError

if TYPE_CHECKING:
    from vmprobe.bridge.sharing import Accounts, Facts, Finding, Survey
    from vmprobe.tables import Snapshot


class Study:
    """A snapshot that several questions about sharing are asked of: what takes long is done once, when asked.

    Page tables are not held twice: of a snapshot in memory those may go, once nobody else has it.

    Parameters
    ----------
    snapshot
        The photograph, with frames and page tables.

    Raises
    ------
    SnapshotError, PrivilegeError
        As `sharing`.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.facts = known_facts(snapshot)
        self.snapshot = snapshot.released("mappings")

    @cached_property
    def survey(self) -> Survey:
        """What is shared, and how that is known."""
        return survey(self.facts)

    @cached_property
    def accounts(self) -> Accounts:
        """What each address space has."""
        return accounts(self.survey)


def sharing(
    snapshot: Snapshot | Study,
    *,
    mechanism: str | None = None,
    pid: int | None = None,
    group: str | None = None,
    top: int | None = None,
) -> Sharing:
    """Tell what is shared on a host and what each process has of it.

    Parameters
    ----------
    snapshot
        The photograph, with frames and page tables, or a study of it.
    mechanism
        Show this one alone, and the processes that take part.
    pid
        Show the part of this process alone.
    group
        How to group processes: see `vmprobe.analyses.sharing_groups.group_rows`.
    top
        Show so many processes and groups; None for all.

    Raises
    ------
    SnapshotError
        Frames, map counts or page tables are missing.
    PrivilegeError
        The same, of a snapshot that was taken now, for want of a privilege.
    UsageError
        There is no such mechanism, process or way to group.
    """
    if mechanism is not None and mechanism not in set(Mechanism):
        raise UsageError(f"no mechanism is called {mechanism}", hint="one of " + ", ".join(Mechanism))
    study = snapshot if isinstance(snapshot, Study) else Study(snapshot)
    snapshot, about, surveyed, figures = study.snapshot, study.facts, study.survey, study.accounts
    if pid is not None:
        address_space(snapshot, pid)
    comms = dict(snapshot.table("tasks").rows("pid", "comm"))
    groups = () if group is None else group_rows(surveyed, comms, group)
    findings = surveyed.findings if pid is None else of_process(surveyed, pid)
    chosen = None if pid is None else {pid}
    if mechanism is None:
        named = list(dict.fromkeys(finding.mechanism for finding in findings))
    else:
        named = [Mechanism(mechanism)]
        findings = tuple(finding for finding in findings if finding.mechanism == mechanism)
        chosen = chosen or {taking_part for finding in findings for taking_part in finding.pids}
    processes = _processes(about, figures, comms, hidden_bytes(surveyed, figures), chosen)
    return Sharing(
        pid=pid,
        totals=_totals(about, surveyed, figures),
        mechanisms=_mechanism_rows(findings),
        meanings=tuple(Meaning(*MECHANISM_INFO[each]) for each in named),
        processes=processes[:top],
        processes_left_out=0 if top is None else max(0, len(processes) - top),
        groups=groups[:top],
        unexplained=surveyed.ledger.nr_unexplained,
        missing=_missing(snapshot),
    )


def known_facts(snapshot: Snapshot) -> Facts:
    """Return what the snapshot tells of sharing, or say why it does not.

    Raises
    ------
    SnapshotError, PrivilegeError
        As `sharing`.
    """
    demand_tables(snapshot, "vmas", "mappings")
    evidence = Evidence(snapshot)
    demand_frames(evidence)
    if not snapshot.table("mappings", ("pfn",)).has("pfn"):
        refuse_hidden_frames(snapshot)
    averaged = averaged_mapcounts(evidence).status == PRESENT
    return facts(snapshot, averaged=averaged, ksm_trusted=trust_ksm(evidence))


def _totals(about: Facts, surveyed: Survey, figures: Accounts) -> Totals:
    ledger, page = surveyed.ledger, about.page_size
    mms = {process.mm for process in about.processes if process.mm is not None}
    return Totals(
        frames_mapped=ledger.nr_mapped,
        counts_match=ledger.nr_match,
        private=ledger.nr_private,
        shared_anonymous=ledger.nr_shared_anon,
        shared_shmem=ledger.nr_shared_shmem,
        shared_file=ledger.nr_shared_file,
        shared_other=ledger.nr_shared_other,
        unstable=ledger.nr_unstable,
        explained=ledger.explained,
        unexplained=ledger.nr_unexplained,
        hidden_entries=ledger.hidden_entries,
        hidden_at_most=ledger.hidden_at_most,
        hidden_threads=about.unseen.nr_hidden_threads,
        processes=sum(1 for process in about.processes if process.mm is not None),
        address_spaces=len(mms),
        rss_bytes=int(figures.rss_pages.sum()) * page,
        pss_bytes=int(figures.pss_units.sum()) >> PSS_SHIFT,
        uss_bytes=int(figures.uss_pages.sum()) * page,
        swap_bytes=int(figures.swap_pages.sum()) * page,
        swap_pss_bytes=int(figures.swap_pss_units.sum()) >> PSS_SHIFT,
    )


def _mechanism_rows(findings: tuple[Finding, ...]) -> tuple[MechanismRow, ...]:
    rows = [
        MechanismRow(
            finding.mechanism.value,
            finding.nr_frames,
            len(finding.pids),
            finding.certainty.word,
            finding.nr_bytes,
            finding.nr_entries,
            finding.note,
        )
        for finding in findings
    ]
    # What is not known in bytes surprises less than what is, and more than nothing.
    return tuple(sorted(rows, key=lambda row: (-(row.bytes or 0), row.mechanism)))


def _processes(
    about: Facts,
    figures: Accounts,
    comms: dict[int, str | None],
    hidden: dict[int, int],
    chosen: set[int] | None,
) -> tuple[ProcessRow, ...]:
    page = about.page_size
    rows = []
    for process in about.processes:
        mm = process.mm
        if mm is None or (chosen is not None and process.pid not in chosen):
            continue
        rows.append(
            ProcessRow(
                process.pid,
                comms.get(process.pid),
                int(figures.rss_pages[mm]) * page,
                int(figures.pss_units[mm]) >> PSS_SHIFT,
                int(figures.uss_pages[mm]) * page,
                int(figures.swap_pages[mm]) * page,
                int(figures.swap_pss_units[mm]) >> PSS_SHIFT,
                hidden.get(process.pid, 0),
            )
        )
    return tuple(sorted(rows, key=lambda row: (-row.pss_bytes, row.pid)))


def _missing(snapshot: Snapshot) -> tuple[MissingPart, ...]:
    """Return which evidence is not there: without it some mechanisms cannot be seen."""
    parts = []
    if not snapshot.has("fds"):
        reason = why_missing(snapshot, "fds", "fds")
        parts.append(MissingPart("open files", f"{reason}; nothing held by descriptor alone is seen"))
    if not snapshot.has("sysv_shm"):
        reason = why_missing(snapshot, "sysv_shm", "sysvipc")
        parts.append(MissingPart("SysV segments", f"{reason}; those that nobody attached are not seen"))
    if not snapshot.table("vmas", ("vm_flags",)).has("vm_flags"):
        reason = "not in this snapshot: smaps was not read (--smaps); device memory is told by names alone"
        parts.append(MissingPart("VmFlags", reason))
    if snapshot.selective:
        reason = "only chosen processes are in the snapshot; who else maps their pages is not known"
        parts.append(MissingPart("other processes", reason))
    return tuple(parts)

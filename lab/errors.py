"""What the lab raises: what cannot run here, and what went wrong in a guest."""

from __future__ import annotations


class LabError(Exception):
    """A guest or a workload did not do what it should; the message is one line that says what and where."""


class UnavailableError(LabError):
    """The lab, or one shape of guest, cannot run on this machine; the message is the exact reason."""


class DiffersError(AssertionError):
    """A snapshot and its witness disagree; the message holds both figures."""

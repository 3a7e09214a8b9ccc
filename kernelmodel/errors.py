"""Every error that kernelmodel raises on purpose."""

from __future__ import annotations


class ModelError(Exception):
    """The model was given values that no kernel could have."""

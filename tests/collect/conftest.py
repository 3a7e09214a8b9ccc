"""What tests of the collector share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.recorded import tree

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree("6.12-1node", tmp_path)

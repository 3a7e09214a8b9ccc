"""What tests of the bridge share."""

from __future__ import annotations

import pytest

from vmprobe.bridge import interval


@pytest.fixture
def nothing_churns(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a host made up of a few pageblocks, a few pages that come and go are everything."""
    monkeypatch.setattr(interval, "CHURN_PAGES", 0)

"""How long lies between two snapshots, and whether a boot does."""

from __future__ import annotations

from typing import Any

import pytest

from tests.before_after import SECONDS, after, before
from tests.synthetic import MANIFEST
from vmprobe.analyses.boots import Between, between
from vmprobe.errors import InputError, UsageError

HOST, UPTIME = MANIFEST["host"], MANIFEST["time"]["uptime_seconds"]


def host(**changed: Any) -> dict[str, Any]:
    return {"host": HOST | changed}


def time(**changed: Any) -> dict[str, Any]:
    return {"time": dict(after().manifest["time"]) | changed}


def test_one_boot_is_known_by_its_id() -> None:
    assert between(before(), after()) == Between(SECONDS, True, "boot id")
    # The clock was set back by a day between, and uptime still tells how long it was.
    late = time(start="2026-01-01T00:00:00+00:00", end="2026-01-01T00:00:01.25+00:00")
    assert between(before(), after(manifest=late)) == Between(SECONDS, True, "boot id")
    assert between(before(), after(manifest=time(uptime_seconds=None))).seconds == SECONDS


def test_another_boot_is_known_by_its_id() -> None:
    other = after(manifest=host(boot_id="another"))
    assert between(before(), other) == Between(SECONDS, False, "boot id")


@pytest.mark.parametrize(
    ("uptime", "same_boot", "evidence"),
    [
        (UPTIME + SECONDS, True, "uptime"),
        (UPTIME + SECONDS + 4, True, "uptime"),
        (UPTIME + SECONDS - 6, False, "uptime"),
        (100.0, False, "uptime"),
        # More uptime than time has passed: the clock was set, or it is another host.
        (UPTIME + SECONDS + 6, None, "nothing"),
        (None, None, "nothing"),
    ],
)
def test_without_ids_uptime_tells(uptime: float | None, same_boot: bool | None, evidence: str) -> None:
    nameless = after(manifest=host(boot_id=None) | time(uptime_seconds=uptime))
    found = between(before(), nameless)
    assert (found.same_boot, found.evidence) == (same_boot, evidence)
    assert between(before(manifest=host(boot_id=None)), nameless) == found


def test_another_kernel_is_another_boot_that_uptime_does_not_tell() -> None:
    other = after(manifest=host(boot_id=None, release="7.0"))
    assert between(before(), other).same_boot is None


def test_the_later_one_first_is_refused_with_the_remedy() -> None:
    with pytest.raises(UsageError) as caught:
        between(after(path="new.vmsnap"), before(path="old.vmsnap"))
    assert caught.value.message == "old.vmsnap was taken before new.vmsnap"
    assert caught.value.hint == "the earlier one comes first: vmprobe diff old.vmsnap new.vmsnap"


@pytest.mark.parametrize(("name", "value"), [("page_size", 65536), ("machine", "aarch64")])
def test_different_machines_are_refused(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"of different hosts: .* and {value}"):
        between(before(), after(manifest=host(**{name: value})))

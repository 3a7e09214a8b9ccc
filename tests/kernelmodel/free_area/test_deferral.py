"""Compaction that failed is put off as the kernel does, and nothing else is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kernelmodel.compaction.zone_layout import Frame
from kernelmodel.free_area.deferral import Deferral
from kernelmodel.free_area.result import HelpTally
from kernelmodel.page_alloc.layout import Tuning
from tests.kernelmodel.free_area.demands import waiting
from tests.kernelmodel.free_area.grounds import PLAIN
from tests.kernelmodel.free_area.test_helping import came, fragmented, played, watched

if TYPE_CHECKING:
    from kernelmodel.free_area.helping import Helper


def stuck(*, tuning: Tuning = PLAIN) -> Helper:
    """Return a run of nine requests that no help can meet, ready to be given other kinds."""
    return watched(fragmented(kind=Frame.FIXED, tuning=tuning), waiting(*[3] * 9), ("linux",))


def test_as_many_go_without_as_in_the_kernel() -> None:
    deferral = Deferral(order_failed=7)
    assert not deferral.defers(6), "nothing has failed yet"
    for shift in (1, 2, 3, 4, 5, 6, 6):
        deferral.failed(3)
        assert not deferral.defers(2), "a smaller order does not wait"
        assert [deferral.defers(3) for _ in range(1 << shift)] == [True] * ((1 << shift) - 1) + [False]
    deferral.succeeded(3)
    assert deferral == Deferral(order_failed=4)
    deferral.failed(2)
    assert deferral.defers(4), "a larger order waits as well"


def test_linux_is_deferred_after_it_ran_in_vain() -> None:
    helper = played(stuck())
    assert came(helper) == [0, 0, 3, 6]
    assert helper.tally["linux"].calls == 3


@pytest.mark.parametrize("kind", ["blit", "evict"])
def test_no_other_help_is_deferred(kind: str) -> None:
    helper = played(watched(fragmented(kind=Frame.FIXED), waiting(*[3] * 9), (kind,)))
    assert came(helper) == [0, 0, 9, 0]
    assert helper.tally[kind].calls == 9
    both = played(watched(fragmented(kind=Frame.FIXED), waiting(*[3] * 9), ("linux", kind)))
    assert came(both) == [0, 0, 3, 6]
    assert (both.tally["linux"].calls, both.tally[kind].calls) == (3, 9)


def helped(helper: Helper, at: int) -> None:
    """Carry out an event at which a request calls for help."""
    assert helper.play(helper.policy.state, helper.book, at, at + 1) == at
    helper.help(at)


def loosen(helper: Helper) -> None:
    """Put what can be moved where everything was fixed."""
    helper.book.content[8:16] = [Frame.ANON, Frame.FREE] * 4


def test_who_is_met_by_other_help_was_not_deferred() -> None:
    helper = watched(fragmented(kind=Frame.FIXED), waiting(3, 3), ("linux", "blit"))
    helped(helper, 0)
    loosen(helper)
    helped(helper, 1)
    assert came(helper) == [0, 1, 1, 0]
    assert helper.tally["linux"].calls == 1, "the second time it was deferred"


def test_a_single_page_that_is_refused_defers_nothing() -> None:
    tuning = Tuning(wmark_min=85, wmark_low=85, wmark_high=85)
    demand = waiting(0, 0, 0, 1)
    helper = watched(fragmented(tuning=tuning), demand, ("linux",))
    helper = played(helper)
    assert came(helper)[2:] == [3, 0]
    assert helper.deferral[2] == Deferral(order_failed=7)


def test_compaction_that_did_not_run_defers_nothing() -> None:
    tuning = Tuning(wmark_min=80, wmark_low=80, wmark_high=80)
    helper = played(stuck(tuning=tuning))
    # 256 pages are free, and no zone, nor all of them, has room to compact.
    assert came(helper) == [0, 0, 9, 0]
    assert helper.tally["linux"] == HelpTally()


def test_success_ends_the_deferral() -> None:
    helper = watched(fragmented(kind=Frame.FIXED), waiting(3, 3, 3), ("linux",))
    helped(helper, 0)
    helped(helper, 1)
    loosen(helper)
    helped(helper, 2)
    assert came(helper) == [0, 1, 1, 1]
    assert helper.deferral[2] == Deferral(order_failed=4)


def test_compaction_is_deferred_by_zone() -> None:
    demand = waiting(3, 3, 3)
    demand.requests.highest_zone[1] = 0
    helper = played(watched(fragmented(kind=Frame.FIXED), demand, ("linux",)))
    assert came(helper) == [0, 0, 2, 1]
    assert [each.shift for each in helper.deferral[:3]] == [1, 0, 1]

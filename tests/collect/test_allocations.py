"""Recording page allocations: the order of events, readers that fail, what is kept of buffers, signals."""

from __future__ import annotations

import os
import signal
import struct
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.oracles.trace_buffer import DATA, SIZE, Record, page, record_bytes
from vmprobe.collect.allocations import EVENTS, Reader, columns_of
from vmprobe.formats.trace_buffer import SubBuffer
from vmprobe.formats.tracepoint import Event, Field
from vmprobe.sources.held_signals import held_signals
from vmprobe.sources.trace_instance import TraceInstance

if TYPE_CHECKING:
    from pathlib import Path

LAYOUT = SubBuffer(SIZE, DATA)
NAMES = (
    "pfn", "order", "migratetype", "gfp_flags", "alloc_order", "alloc_migratetype", "fallback_order",
    "fallback_migratetype", "change_ownership",
)  # fmt: skip
FORMATS = {
    name: Event(number, {field: Field(8 + 4 * at, 4, True) for at, field in enumerate(NAMES)}, {})
    for number, name in enumerate(EVENTS)
}


def event(kind: int, delta: int, pfn: int) -> bytes:
    return record_bytes(Record(delta, struct.pack("=HHI9i", kind, 0, 0, pfn, *[0] * 8)))


def test_events_of_one_time_stay_in_the_order_in_which_they_were_written() -> None:
    body = event(0, 5, 1) + event(1, 5, 1) + event(0, 0, 2) + event(1, 0, 2) + event(2, 0, 3)
    other = event(1, 10, 9) + event(0, 0, 9)
    found = columns_of({0: [page(100, body)], 1: [page(100, other)]}, LAYOUT, FORMATS, 100)
    told = zip(*(found[name].tolist() for name in ("time_ns", "cpu", "kind", "pfn")), strict=True)
    first, second = (
        [(5, 0, 0, 1), (10, 0, 1, 1), (10, 0, 0, 2), (10, 0, 1, 2), (10, 0, 2, 3)],
        [(10, 1, 1, 9), (10, 1, 0, 9)],
    )
    assert list(told) == first + second


class Trace:
    """Buffers with one event each time somebody looks."""

    cpus = (0, 1)

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.read_by = error, threading.Event()

    def read(self, cpu: int, size: int) -> bytes:
        self.read_by.set()
        if self.error is not None:
            raise self.error
        return page(0, event(0, 1, cpu)).ljust(size, b"\0")


def test_what_is_hardly_filled_costs_hardly_anything() -> None:
    trace: Any = Trace()
    reader = Reader(trace, LAYOUT, 1 << 20)

    def cut_short() -> None:
        with reader:
            assert trace.read_by.wait(20)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_short()
    kept = [each for pages in reader.pages.values() for each in pages]
    assert kept
    assert max(map(len, kept)) == DATA + len(event(0, 1, 0))
    found = columns_of(reader.pages, LAYOUT, FORMATS, 0)
    assert sorted(set(found["pfn"].tolist())) == [0, 1]


def test_a_reader_that_fails_ends_the_recording_with_its_error() -> None:
    trace: Any = Trace(MemoryError("no memory"))
    with pytest.raises(MemoryError, match="no memory"), Reader(trace, LAYOUT, 1 << 20) as reader:
        assert reader.full.wait(20)


@pytest.mark.parametrize("own", [True, False])
def test_sub_buffers_are_laid_out_as_our_own_are(tmp_path: Path, own: bool) -> None:
    for name in ("root", "instance"):
        (tmp_path / name / "events").mkdir(parents=True)
    (tmp_path / "root" / "events" / "header_page").write_bytes(b"everybody's")
    if own:
        (tmp_path / "instance" / "events" / "header_page").write_bytes(b"ours")
    trace = TraceInstance(EVENTS, 64)
    trace._root, trace._folder = (
        os.open(tmp_path / name, os.O_RDONLY | os.O_DIRECTORY) for name in ("root", "instance")
    )
    try:
        assert trace._header_page() == (b"ours" if own else b"everybody's")
    finally:
        os.close(trace._root)
        os.close(trace._folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_comes_after_what_it_must_not_cut(number: int) -> None:
    before = signal.signal(number, signal.default_int_handler)
    done = []

    def not_to_be_cut() -> None:
        with held_signals():
            signal.raise_signal(number)
            signal.raise_signal(number)
            done.append(True)

    try:
        with pytest.raises(KeyboardInterrupt):
            not_to_be_cut()
        assert done == [True]
        assert signal.getsignal(number) is signal.default_int_handler
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    finally:
        signal.signal(number, before)


def test_no_events_are_no_columns_of_another_kind() -> None:
    found = columns_of({0: []}, LAYOUT, FORMATS, 0)
    assert {len(column) for column in found.values()} == {0}
    assert found["pfn"].dtype == np.int64

"""Finding populated runs in a saved pagemap: by its holes, where its file system keeps them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from vmprobe.sources import pagemap as source
from vmprobe.sources.pagemap import PagemapScanner

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = 4096
BLOCK = 512
"""Words in a block of an anonymous file."""


@pytest.fixture
def fd() -> Iterator[int]:
    fd = os.memfd_create("pagemap")
    yield fd
    os.close(fd)


def put(fd: int, vpn: int, nr: int = 1) -> None:
    os.pwrite(fd, (1 << 63 | 1).to_bytes(8, "little") * nr, vpn * 8)


def populated(fd: int, first: int, end: int) -> list[tuple[int, int]] | None:
    return PagemapScanner().populated(fd, first * PAGE, end * PAGE, PAGE)


def test_runs_are_where_the_data_is_and_within_what_was_asked(fd: int) -> None:
    put(fd, 5)
    put(fd, 100 * BLOCK, 3 * BLOCK)
    put(fd, 1 << 45)
    assert populated(fd, 0, 1 << 46) == [
        (0, BLOCK), (100 * BLOCK, 103 * BLOCK), (1 << 45, (1 << 45) + 1),
    ]  # fmt: skip
    assert populated(fd, 3, 101 * BLOCK + 7) == [(3, BLOCK), (100 * BLOCK, 101 * BLOCK + 7)]
    assert populated(fd, BLOCK, 100 * BLOCK) == []
    assert populated(fd, (1 << 45) + 1, 1 << 46) == [], "behind its end"


def test_a_file_that_is_all_data_tells_nothing(fd: int) -> None:
    put(fd, 0, 3 * BLOCK)
    assert populated(fd, 0, 1 << 30) is None
    assert populated(fd, 7, 2 * BLOCK) is None


@pytest.mark.parametrize("number", [22, 95])
def test_a_file_system_that_cannot_tell(fd: int, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    put(fd, 5)
    put(fd, 100 * BLOCK)

    def refused(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("vmprobe.sources.pagemap.os.lseek", refused)
    assert populated(fd, 0, 1 << 30) is None


def test_a_file_does_not_turn_the_ioctl_off(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    put(fd, 5)
    put(fd, 100 * BLOCK)
    scanner = PagemapScanner()
    assert scanner.populated(fd, 0, 1 << 30, PAGE)
    assert scanner.supported is None
    calls = []

    def scan(_fd: int, _start: int, end: int, _vec: object) -> tuple[int, int]:
        calls.append(end)
        return 0, end

    monkeypatch.setattr(source, "_scan", scan)
    kernels = os.open("/proc/self/pagemap", os.O_RDONLY)
    try:
        assert scanner.populated(kernels, 0, 1 << 30, PAGE) == []
    finally:
        os.close(kernels)
    assert calls == [1 << 30]
    assert scanner.supported is True

"""How the words of ``vmprobe page`` are understood; what is printed stands in golden/."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmprobe.cli import page as cli
from vmprobe.errors import UsageError


@pytest.mark.parametrize(
    ("words", "place", "expected"),
    [
        (("a.vmsnap", "12"), None, (Path("a.vmsnap"), 12)),
        (("a.vmsnap", "0x1F"), None, (Path("a.vmsnap"), 31)),
        (("12",), None, (None, 12)),
        (("0X1f",), None, (None, 31)),
        (("a.vmsnap",), "1:2", (Path("a.vmsnap"), None)),
        ((), "1:2", (None, None)),
        (("12", "13"), None, (Path("12"), 13)),
        (("777",), "1:2", (Path("777"), None)),
    ],
)
def test_words_that_name_a_page(
    words: tuple[str, ...],
    place: str | None,
    expected: tuple[Path | None, int | None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "777").mkdir()
    assert cli._understand(words, place) == expected


@pytest.mark.parametrize(
    ("words", "place", "message"),
    [
        ((), None, "no page is named"),
        (("a.vmsnap",), None, "no page is named: a.vmsnap is taken for SNAPSHOT"),
        (("777",), None, "no page is named: 777 is a file or folder here, and so taken for SNAPSHOT"),
        (("778",), "1:2", "both frame 778 and --at 1:2 are given"),
        (("a.vmsnap", "1"), "1:2", "both frame 1 and --at 1:2 are given"),
        (("1", "a.vmsnap"), None, "a.vmsnap: PFN is a number, decimal or 0x..."),
        (("1", "2", "3"), None, "3 words, and there are at most two: SNAPSHOT and PFN"),
        (("9" * 5000,), None, "is too large for the number of a page frame"),
        (("0x10000000000000",), None, "is too large for the number of a page frame"),
    ],
)
def test_words_that_do_not(
    words: tuple[str, ...], place: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "777").mkdir()
    with pytest.raises(UsageError) as raised:
        cli._understand(words, place)
    assert raised.value.message.endswith(message)
    assert raised.value.hint


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("7:7f12a0000000", (7, 0x7F12A0000000)),
        ("7:0x10", (7, 16)),
        ("7:10", (7, 16)),
        ("7:0XfF", (7, 255)),
        ("0:ffffffffffffffff", (0, (1 << 64) - 1)),
    ],
)
def test_addresses(place: str, expected: tuple[int, int]) -> None:
    assert cli._at(place) == expected


@pytest.mark.parametrize(
    "place",
    [
        "7",
        "7:",
        ":10",
        "x:10",
        "-1:10",
        "7:xyz",
        "7:10-20",
        "7: 10",
        "²:10",
        "9" * 11 + ":10",
        "7:1" + "0" * 16,
    ],
)
def test_what_is_no_address(place: str) -> None:
    with pytest.raises(
        UsageError, match=rf"^--at {place}: (not PID:ADDRESS|the address has more than 64 bits)$"
    ):
        cli._at(place)

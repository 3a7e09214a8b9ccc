"""Numbers and names to text, for people; machines get them as they are.

Nothing is ever cut: a rounded figure carries its unit, and exact counts keep all digits.
"""

from __future__ import annotations

from typing import Final

_BINARY: Final = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def bytes_text(nr_bytes: int) -> str:
    """Return bytes in the IEC unit that leaves one to four digits before the point.

    >>> bytes_text(0), bytes_text(1023), bytes_text(1536), bytes_text(25 << 30), bytes_text(-4096)
    ('0 B', '1023 B', '1.5 KiB', '25.0 GiB', '-4.0 KiB')

    A value that would round up to 1024 goes to the next unit:

    >>> bytes_text((1 << 20) - 1)
    '1.0 MiB'
    """
    size = abs(nr_bytes)
    sign = "-" if nr_bytes < 0 else ""
    if size < 1024:
        return f"{sign}{size} B"
    scaled = float(size)
    for unit in _BINARY:
        scaled /= 1024
        if round(scaled, 1) < 1024 or unit == _BINARY[-1]:
            return f"{sign}{scaled:.1f} {unit}"
    raise AssertionError(unit)  # pragma: no cover - the loop returns at its last unit


def count_text(count: int) -> str:
    """Return an exact count with its digits in groups.

    >>> count_text(6553600)
    '6,553,600'
    """
    return f"{count:,}"


def percent_text(percent: float) -> str:
    """Return a share; what is there but rounds to nothing is not shown as zero.

    >>> percent_text(0), percent_text(0.001), percent_text(12.345), percent_text(99.999), percent_text(100)
    ('0 %', '<0.1 %', '12.3 %', '>99.9 %', '100 %')
    """
    if percent in (0, 100):
        return f"{percent:.0f} %"
    if 0 < percent < 0.1:
        return "<0.1 %"
    if 99.9 < percent < 100:
        return ">99.9 %"
    return f"{percent:.1f} %"


def seconds_text(seconds: float) -> str:
    """Return a duration with three significant digits at least.

    >>> seconds_text(0), seconds_text(0.0000042), seconds_text(0.0125), seconds_text(1.5), seconds_text(90061)
    ('0 s', '4.20 us', '12.5 ms', '1.50 s', '1 d 1 h 1 min')
    """
    if seconds == 0:
        return "0 s"
    if abs(seconds) < 0.001:
        return f"{seconds * 1e6:.3g} us" if abs(seconds) * 1e6 >= 100 else f"{seconds * 1e6:.2f} us"
    if abs(seconds) < 1:
        return f"{seconds * 1e3:.3g} ms" if abs(seconds) * 1e3 >= 10 else f"{seconds * 1e3:.2f} ms"
    if abs(seconds) < 120:
        return f"{seconds:.2f} s"
    minutes = int(seconds) // 60
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = ((days, "d"), (hours, "h"), (minutes, "min"))
    return " ".join(f"{value} {unit}" for value, unit in parts if value) or "0 min"


def plain(text: str) -> str:
    r"""Return `text` with everything that a terminal would obey made visible.

    >>> plain("a\x1b[31mb\nc")
    'a\\x1b[31mb\\nc'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def share_percent(part: int, whole: int) -> float:
    """Return 100 * part / whole; 0 where there is no whole.

    >>> share_percent(1, 8), share_percent(0, 0)
    (12.5, 0.0)
    """
    return 100 * part / whole if whole else 0.0

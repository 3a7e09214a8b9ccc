"""/proc/vmstat: the host's counters, one a line.

Kernel source: ``mm/vmstat.c: vmstat_show``.
"""

from __future__ import annotations

from vmprobe.formats.lines import empty, lines


def parse(data: bytes, *, file: str = "vmstat") -> dict[str, int]:
    r"""Return the counters by name, in the order printed.

    Most ``nr_*`` are pages now, most others are events since boot. A counter that stands below zero for a
    moment is printed as a wrapped number and comes back negative.

    Raises
    ------
    FormatError
        A line is no name with a number, a name comes twice, or there are none.

    Examples
    --------
    >>> parse(b"nr_free_pages 926810\nnr_writeback 18446744073709551615\n")
    {'nr_free_pages': 926810, 'nr_writeback': -1}
    """
    counters: dict[str, int] = {}
    for line in lines(data, file):
        name, space, value = line.text.partition(" ")
        if not name or not space:
            raise line.error("expected `name number`")
        if name in counters:
            raise line.error("expected each counter once")
        counters[name] = line.counter(value, "a counter")
    if not counters:
        raise empty(file)
    return counters

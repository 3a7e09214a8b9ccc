"""/proc/stat: what the kernel counted since boot; of its lines, those that hold one number.

Kernel source: ``fs/proc/stat.c: show_stat``. Lines of several numbers (cpu, intr, softirq) are times and
interrupts, which say nothing of memory.
"""

from __future__ import annotations

from vmprobe.formats.lines import empty, lines


def parse(data: bytes, *, file: str = "stat") -> dict[str, int]:
    r"""Return the numbers by name, in the order printed.

    ``processes`` is the number of forks, threads included.

    Raises
    ------
    FormatError
        A line is no name with numbers, a name comes twice, or there are none.

    Examples
    --------
    >>> parse(b"cpu  7 0 9\nctxt 115\nprocesses 86\n")
    {'ctxt': 115, 'processes': 86}
    """
    counters: dict[str, int] = {}
    nr_lines = 0
    for line in lines(data, file):
        nr_lines += 1
        name, *values = line.text.split() or [""]
        if not values:
            raise line.error("expected `name number`")
        if len(values) > 1:
            continue
        if name in counters:
            raise line.error("expected each counter once")
        counters[name] = line.counter(values[0], "a counter")
    if not nr_lines:
        raise empty(file)
    return counters

from __future__ import annotations

import pytest

from vmprobe.errors import FormatError
from vmprobe.formats.kernel_stat import parse

REAL = b"""cpu  1132 0 3432 4443 0 0 12 0 0 0
cpu0 1132 0 3432 4443 0 0 12 0 0 0
intr 61332 34 9 0
ctxt 103284
btime 1795631234
processes 1201
procs_running 2
procs_blocked 0
softirq 4021 0 1003 2
"""


def test_lines_of_one_number_come_back():
    assert parse(REAL) == {
        "ctxt": 103284,
        "btime": 1795631234,
        "processes": 1201,
        "procs_running": 2,
        "procs_blocked": 0,
    }


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"ctxt 1\nctxt 2\n", "expected each counter once: 'ctxt 2'"),
        (b"ctxt\n", "expected `name number`: 'ctxt'"),
        (b"\n", "expected `name number`: ''"),
        (b"ctxt x\n", "expected a counter, found 'x': 'ctxt x'"),
        (b"", "empty"),
    ],
)
def test_a_bad_line_is_named(bad, message):
    with pytest.raises(FormatError) as caught:
        parse(bad)
    assert message in str(caught.value)

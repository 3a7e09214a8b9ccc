"""Ten thousand damaged files a parser: each is understood or refused, and nothing else happens.

The damage is seeded by parser and number, so that a failure names the one that caused it:
``mutated("maps", 1234)`` gives the bytes again.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from vmprobe.errors import MAX_SHOWN, FormatError
from vmprobe.formats import (
    buddyinfo,
    cgroup,
    fdinfo,
    iomem,
    kpagecgroup,
    kpagecount,
    kpageflags,
    ksm_stat,
    loadavg,
    maps,
    meminfo,
    mountinfo,
    pagemap,
    pagemap_runs,
    pagetypeinfo,
    smaps,
    smaps_rollup,
    stat,
    status,
    swaps,
    sysvipc_shm,
    vmstat,
    zoneinfo,
)

PROC = Path(__file__).parents[2] / "fixtures" / "proc"
SHAPES = ("6.1-swap-hugetlb", "6.12-movable-swap")
NR_MUTATIONS = 10_000

NUMBERS = (
    b"",
    b"-1",
    b"18446744073709551615",
    b"18446744073709551616",
    b"9" * 40,
    b"0x10",
    b"1_0",
    b"+1",
    b"1.5",
    "٣".encode(),
)


def read_pagemap(data, *, file):
    words = pagemap.decode(data, file=file)
    found = pagemap.runs(np.arange(words.size, dtype=np.uint64), words)
    assert (pagemap.expand(words[found.index], found.nr_pages) == words[pagemap.populated(words)]).all()
    return words


def read_kpagecount(data, *, file):
    return kpagecount.narrow(kpagecount.decode(data, file=file), file=file)


TEXTS = {
    "buddyinfo": (buddyinfo.parse, "buddyinfo"),
    "cgroup": (cgroup.parse, "task/cgroup"),
    "iomem": (iomem.parse, "iomem"),
    "maps": (maps.parse, "task/maps"),
    "meminfo": (meminfo.parse, "meminfo"),
    "pagemap_runs": (pagemap_runs.parse, "task/pagemap.json"),
    "pagetypeinfo": (pagetypeinfo.parse, "pagetypeinfo"),
    "smaps": (smaps.parse, "task/smaps"),
    "smaps_rollup": (smaps_rollup.parse, "task/smaps_rollup"),
    "stat": (stat.parse, "task/stat"),
    "status": (status.parse, "task/status"),
    "swaps": (swaps.parse, "swaps"),
    "vmstat": (vmstat.parse, "vmstat"),
    "zoneinfo": (zoneinfo.parse, "zoneinfo"),
}
WORDS = {
    "kpagecgroup": (kpagecgroup.decode, "mixed/kpagecgroup"),
    "kpagecount": (read_kpagecount, "mixed/kpagecount"),
    "kpageflags": (kpageflags.decode, "mixed/kpageflags"),
    "pagemap": (read_pagemap, "task/pagemap"),
}
PRINTED = {
    "fdinfo": (fdinfo.parse, (
        b"pos:\t0\nflags:\t02\nmnt_id:\t16\nino:\t1057\nUserBufs:\t2\n    0: 0x7f00/4096\n    1: <none>\n",
        b"pos:\t9\nflags:\t0100002\nmnt_id:\t7\nino:\t5\nmap_type:\t27\nmap_id:\t3\nsize:\t8\n",
    )),
    "ksm_stat": (ksm_stat.parse, (
        b"ksm_rmap_items 4\nksm_zero_pages 1\nksm_merging_pages 2\nksm_process_profit -9\nksm_any: no\n",
        b"ksm_rmap_items 40\nksm_zero_pages -1\nksm_merging_pages 2\n",
    )),
    "loadavg": (loadavg.parse, (b"0.00 0.01 0.18 1/86 25810\n", b"10.20 3.01 0.18 11/4086 25810\n")),
    "mountinfo": (mountinfo.parse, (
        b"22 27 0:21 / /proc rw - proc proc rw\n27 1 254:0 / / rw shared:1 - ext4 /dev/vda rw\n",
        b"30 25 0:27 / /dev/shm rw,relatime - tmpfs tmpfs rw,size=24684084k\n",
    )),
    "sysvipc_shm": (sysvipc_shm.parse, (
        b"key shmid perms size cpid lpid nattch uid rss swap\n -5 3 600 8192 70 0 2 1000 4096 0\n",
        b"key shmid perms size cpid lpid nattch uid\n 0 0 1600 1 2 3 4 5\n 0 1 600 1 2 3 4 5\n",
    )),
}  # fmt: skip
"""Short files without a golden one: two of each, as two kernels print them."""
READERS = TEXTS | WORDS | {name: (read, None) for name, (read, _) in PRINTED.items()}


@cache
def goldens(name):
    """Two kernels' files, cut so that ten thousand parses take a second or two."""
    if name in PRINTED:
        return PRINTED[name][1]
    cut = []
    for shape in SHAPES:
        data = (PROC / shape / READERS[name][1]).read_bytes()
        if name == "pagemap_runs":  # which is not the kernel's: made of the areas that were captured
            areas = json.loads(data)
            data = b"".join(b"%x %d\n" % (area["start"] // 4096, area["nr_pages"]) for area in areas)
        elif name == "zoneinfo":  # whole zones, few counters
            data = re.sub(rb"\n      (?!nr_free_pages|nr_dirty|nr_zspages)[a-z_]+ +\d+", b"", data)
        elif name in WORDS:
            data = data[:2048]
        elif len(data) > 2048 and name != "pagetypeinfo":
            data = data[: data.rindex(b"\n", 0, 2048) + 1]
        cut.append(data)
    return tuple(cut)


def _slice(rng, data):
    begin = rng.randrange(len(data) + 1)
    return begin, min(len(data), begin + rng.choice((1, 2, 8, 64, 512)))


def flip_bit(rng, data, _):
    at = rng.randrange(len(data))
    return data[:at] + bytes((data[at] ^ 1 << rng.randrange(8),)) + data[at + 1 :]


def delete(rng, data, _):
    begin, end = _slice(rng, data)
    return data[:begin] + data[end:]


def duplicate(rng, data, _):
    begin, end = _slice(rng, data)
    return data[:end] + data[begin:]


def truncate(rng, data, _):
    return data[: rng.randrange(len(data))]


def insert_digits(rng, data, _):
    at = rng.randrange(len(data))
    return data[:at] + b"7" * rng.choice((1, 3, 20, 5000)) + data[at:]


def swap_lines(rng, data, _):
    lines = data.splitlines(keepends=True)
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[i], lines[j] = lines[j], lines[i]
    return b"".join(lines)


def replace_number(rng, data, _):
    places = list(re.finditer(rb"[0-9a-f]*[0-9]+[0-9a-f]*", data))
    if not places:
        return data + b"9"
    place = rng.choice(places)
    return data[: place.start()] + rng.choice(NUMBERS) + data[place.end() :]


def splice(rng, data, other):
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


MUTATIONS = (flip_bit, delete, duplicate, truncate, insert_digits, swap_lines, replace_number, splice)


def mutated(name, number):
    """The damaged file of that number, damaged once to three times."""
    rng = random.Random(f"{name} {number}")
    files = goldens(name)
    data = rng.choice(files)
    for _ in range(rng.choice((1, 1, 2, 3))):
        if data:
            data = rng.choice(MUTATIONS)(rng, data, rng.choice(files))
    return data


def numbers(value):
    """Every int anywhere inside what a parser returned."""
    if isinstance(value, int):
        yield value
    elif isinstance(value, dict):
        yield from numbers(value.values())
    elif isinstance(value, Iterable) and not isinstance(value, (str, np.ndarray)):
        for part in value:
            yield from numbers(part)


def check_place(error, name, data):
    """The error names the file and a line that it has."""
    assert error.file == name
    assert len(error.text) <= MAX_SHOWN + 1
    assert (error.line is None) == (name in WORDS)
    assert error.line is None or 1 <= error.line <= data.count(b"\n") + 1


@pytest.mark.parametrize("name", READERS)
def test_the_cut_files_themselves_are_understood(name):
    for data in goldens(name):
        assert data
        READERS[name][0](data, file=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_damage_is_understood_or_refused(name):
    read = READERS[name][0]
    nr_refused = nr_understood = 0
    for number in range(NR_MUTATIONS):
        data = mutated(name, number)
        try:
            value = read(data, file=name)
        except FormatError as error:
            nr_refused += 1
            check_place(error, name, data)
        except Exception as error:
            pytest.fail(f"mutated({name!r}, {number}): {error!r}")
        else:
            nr_understood += 1
            if not isinstance(value, np.ndarray):
                assert all(-(2**63) <= n < 2**64 for n in numbers(value)), number
    # Names take nearly any damage, so no share is demanded, but a parser that takes or refuses all is broken.
    assert nr_refused > NR_MUTATIONS // 100
    assert nr_understood > NR_MUTATIONS // 100

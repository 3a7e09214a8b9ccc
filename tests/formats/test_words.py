"""kpageflags, kpagecount and kpagecgroup: words in the byte order of the machine."""

from __future__ import annotations

import json
import struct
import sys

import numpy as np
import pytest

from vmprobe.errors import FormatError
from vmprobe.formats import kpagecgroup, kpagecount, kpageflags, pagemap

DECODERS = [kpageflags.decode, kpagecount.decode, kpagecgroup.decode, pagemap.decode]
NAMES = ["kpageflags", "kpagecount", "kpagecgroup", "pagemap"]


@pytest.mark.parametrize("decode", DECODERS, ids=NAMES)
@pytest.mark.parametrize(
    "wrap",
    [bytes, bytearray, memoryview, lambda data: np.frombuffer(data, np.uint8)],
    ids=["bytes", "bytearray", "memoryview", "numpy"],
)
def test_every_kind_of_buffer_gives_the_words(decode, wrap):
    words = [0, 1, 2**63, 2**64 - 1]
    assert decode(wrap(struct.pack("=4Q", *words))).tolist() == words


@pytest.mark.parametrize("decode", DECODERS, ids=NAMES)
def test_nothing_is_copied(decode):
    buffer = bytearray(16)
    words = decode(buffer)
    buffer[0 if sys.byteorder == "little" else 7] = 9
    assert words.tolist() == [9, 0]
    assert words.dtype == np.uint64


@pytest.mark.parametrize("decode", DECODERS, ids=NAMES)
def test_a_read_only_buffer_gives_read_only_words(decode):
    assert not decode(bytes(8)).flags.writeable


@pytest.mark.parametrize("decode", DECODERS, ids=NAMES)
@pytest.mark.parametrize("empty", [b"", np.empty(0, np.uint64)], ids=["bytes", "numpy"])
def test_no_bytes_are_no_words(decode, empty):
    assert decode(empty).shape == (0,)


@pytest.mark.parametrize(("decode", "name"), list(zip(DECODERS, NAMES, strict=True)), ids=NAMES)
def test_a_cut_word_is_an_error_that_names_the_file(decode, name):
    with pytest.raises(FormatError) as caught:
        decode(bytes(13))
    assert str(caught.value) == f"{name}: expected whole words of 8 bytes: '13 bytes'"
    assert caught.value.line is None
    with pytest.raises(FormatError, match=r"^/proc/7/pagemap: "):
        decode(np.empty((3, 3), np.uint8), file="/proc/7/pagemap")


def test_narrow_keeps_counts():
    counts = kpagecount.narrow(np.array([0, 1, 2**32 - 1], np.uint64))
    assert counts.dtype == np.uint32
    assert counts.tolist() == [0, 1, 2**32 - 1]
    assert kpagecount.narrow(np.empty(0, np.uint64)).tolist() == []


def test_narrow_names_the_word_that_does_not_fit():
    with pytest.raises(FormatError) as caught:
        kpagecount.narrow(np.array([5, 2**32, 2**64 - 1], np.uint64))
    assert str(caught.value) == "kpagecount: expected counts below 2**32: 'word 1 is 4294967296'"


def _golden(proc, name):
    paths = sorted(proc.glob(f"*/{name}"))
    assert paths
    return [(path.parent, path.read_bytes()) for path in paths]


@pytest.mark.parametrize(("decode", "name"), list(zip(DECODERS[:3], NAMES[:3], strict=True)), ids=NAMES[:3])
def test_golden_words_are_those_of_struct(proc, decode, name):
    for _, data in _golden(proc, name):
        assert decode(data).tolist() == [word for (word,) in struct.iter_unpack("=Q", data)]


def test_golden_first_frame_is_reserved_memory(proc):
    for _, data in _golden(proc, "kpageflags"):
        assert kpageflags.decode(data)[0] == 1 << 32  # KPF_RESERVED: x86 keeps frame 0 from everybody


def test_golden_counts_are_small_and_uncounted_frames_are_not_mapped(proc):
    for folder, data in _golden(proc, "kpagecount"):
        counts = kpagecount.narrow(kpagecount.decode(data))
        assert counts.max() < 1000
        flags = kpageflags.decode((folder / "kpageflags").read_bytes())[: counts.size]
        free = (flags & np.uint64(1 << 10)) != 0
        assert not counts[free].any()


def test_golden_cgroups_are_inodes_of_the_listed_ones(proc):
    for folder, data in _golden(proc, "task/kpagecgroup_of_pagemap"):
        listed = {row["inode"] for row in json.loads((folder.parent / "cgroups.json").read_text())}
        found = set(kpagecgroup.decode(data).tolist())
        assert found <= listed | {0}
        assert found & listed

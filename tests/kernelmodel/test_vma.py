"""VMAs and their flags."""

from __future__ import annotations

import pytest

from kernelmodel.anon_vma import anon_vma_fork, anon_vma_prepare
from kernelmodel.mapping import Mapping
from kernelmodel.vma import File, Vma
from kernelmodel.vmflags import VM_DATA_DEFAULT_FLAGS, VM_GROWSDOWN, VM_MAYSHARE, VM_SHARED, describe, perms


def test_pages_and_page_offsets() -> None:
    vma = Vma(0x7000, 0xA000, VM_DATA_DEFAULT_FLAGS, 0x20)
    assert vma.nr_pages == 3
    assert [vma.pgoff_at(address) for address in (0x6000, 0x7000, 0x8FFF, 0xA000)] == [0x1F, 0x20, 0x21, 0x23]


def test_a_copy_is_alike_and_linked_nowhere() -> None:
    mapping = Mapping("libm.so")
    vma = Vma(0x1000, 0x2000, 0x75, 4, File(mapping), "label")
    anon_vma_prepare(vma)
    vma.next = Vma(0x2000, 0x3000, 0x75, 5)
    copy = vma.copy()
    assert (copy.start, copy.end, copy.flags, copy.pgoff) == (0x1000, 0x2000, 0x75, 4)
    assert (copy.file, copy.name, copy.anon_vma) == (vma.file, "label", vma.anon_vma)
    assert (copy.anon_vma_chain, copy.prev, copy.next) == ([], None, None)
    assert copy != vma


def test_only_what_came_by_fork_is_a_fork_child() -> None:
    vma = Vma(0x1000, 0x2000, VM_DATA_DEFAULT_FLAGS, 1)
    assert not vma.is_fork_child
    anon_vma_prepare(vma)
    assert not vma.is_fork_child
    child = vma.copy()
    anon_vma_fork(child, vma)
    assert child.is_fork_child
    assert not vma.is_fork_child


def test_a_file_ends_where_it_ends() -> None:
    assert File(Mapping("endless")).holds(1 << 40)
    short = File(Mapping("short"), nr_pages=3)
    assert [short.holds(pgoff) for pgoff in (0, 2, 3)] == [True, True, False]


def test_what_a_vma_prints() -> None:
    assert repr(Vma(0x1000, 0x3000, 0x75, 0x10, File(Mapping("libm.so")))) == (
        "<Vma 1000-3000 r-xp pgoff 0x10 of libm.so>"
    )
    assert repr(Vma(0x1000, 0x3000, 0, 1)) == "<Vma 1000-3000 ---p pgoff 0x1>"


@pytest.mark.parametrize(
    ("flags", "text"),
    [(0, "---p"), (1, "r--p"), (3, "rw-p"), (7, "rwxp"), (1 | VM_MAYSHARE, "r--s"), (3 | VM_SHARED, "rw-p")],
)
def test_permissions_as_maps_has_them(flags: int, text: str) -> None:
    assert perms(flags) == text


def test_flags_as_smaps_has_them() -> None:
    # Lines of smaps of a stack and of a shared mapping of a file opened read-only.
    assert describe(0x100173) == "rd wr mr mw me gd ac"
    assert describe(0xD1) == "rd mr me ms"
    assert describe(VM_GROWSDOWN | 0x2_0000 | 0x200_0000) == "gd dc wf"

"""/proc/PID/smaps: a maps line per VMA, then its fields one a line.

Kernel source: ``fs/proc/task_mmu.c: show_smap, __show_smap, show_smap_vma_flags``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from vmprobe.formats.lines import U64_LAST, Line, split
from vmprobe.formats.maps import MapsRow, vma

if TYPE_CHECKING:
    from vmprobe.errors import FormatError

_FIELD: Final = re.compile(r"([A-Z][A-Za-z0-9_]*): +([0-9]{1,20})(?: kB)?")
_VM_FLAGS: Final = "VmFlags:"


class SmapsRow(NamedTuple):
    """One VMA and what the kernel counts in it.

    Parameters
    ----------
    vma
        As in maps.
    fields
        By the kernel's names, in the order printed: kB, except for those that the kernel prints without a
        unit (``THPeligible``, ``ProtectionKey``). Which names there are differs from kernel to kernel.
    vm_flags
        Two-letter codes, ``??`` for a flag without a code; None where the line is missing.
    """

    vma: MapsRow
    fields: dict[str, int]
    vm_flags: tuple[str, ...] | None


def parse(data: bytes, *, file: str = "smaps") -> list[SmapsRow]:
    r"""Return the VMAs in the order printed; none for a kernel thread or a zombie.

    Raises
    ------
    FormatError
        A line is neither a VMA nor a field with a number, or a field comes twice or before any VMA.

    Examples
    --------
    >>> text = (
    ...     b"00400000-0040b000 r-xp 00000000 fe:00 1234                       /bin/cat\n"
    ...     b"Rss:                  16 kB\n"
    ...     b"VmFlags: rd ex \n"
    ... )
    >>> row = parse(text)[0]
    >>> row.fields, row.vm_flags
    ({'Rss': 16}, ('rd', 'ex'))
    """
    rows: list[SmapsRow] = []
    fields: dict[str, int] = {}
    for number, text in enumerate(split(data, file), 1):
        # Fields begin with a capital, addresses with a lower-case hexadecimal digit.
        if not "A" <= text[:1] <= "Z":
            fields = {}
            rows.append(SmapsRow(vma(Line(file, number, text)), fields, None))
        elif not rows:
            raise Line(file, number, text).error("expected a VMA before its fields")
        elif text.startswith(_VM_FLAGS):
            rows[-1] = _with_flags(rows[-1], Line(file, number, text))
        else:
            match = _FIELD.fullmatch(text)
            value = int(match[2]) if match else U64_LAST + 1
            if match is None or value > U64_LAST or match[1] in fields:
                raise _bad_field(Line(file, number, text), fields)
            fields[match[1]] = value
    return rows


def _with_flags(row: SmapsRow, line: Line) -> SmapsRow:
    """Return `row` with the codes of a VmFlags line."""
    codes = tuple(line.text.removeprefix(_VM_FLAGS).split())
    if any(len(code) != 2 for code in codes):
        raise line.error("expected two-letter codes")
    if row.vm_flags is not None:
        raise line.error("expected one VmFlags line per VMA")
    return row._replace(vm_flags=codes)


def _bad_field(line: Line, fields: dict[str, int]) -> FormatError:
    name = line.text.partition(":")[0]
    return line.error("expected each field once" if name in fields else "expected `Name: number [kB]`")

"""The shape of a guest: kernel, memory, nodes, swap, pools; a value, and the options that say it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import argparse

UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
SWAP_KINDS: Final = ("zram", "file")
MAX_MEMORY_BYTES: Final = 12 << 30
"""The most that a guest may take of the machine that runs it."""


def parse_size(text: str) -> int:
    """Return bytes; units are powers of 1024.

    >>> parse_size("256M"), parse_size("2G"), parse_size("4096")
    (268435456, 2147483648, 4096)

    Raises
    ------
    ValueError
        It is no size.
    """
    found = re.fullmatch(r"(\d+)([KMG]?)(i?B)?", text.strip(), re.IGNORECASE)
    if found is None:
        raise ValueError(f"{text!r} is no size; write 256M or 2G")
    return int(found[1]) * UNITS[found[2].upper()]


def parse_swap(text: str) -> tuple[str, int]:
    """Return kind and bytes of a swap area.

    >>> parse_swap("64M"), parse_swap("file:64M")
    (('zram', 67108864), ('file', 67108864))

    Raises
    ------
    ValueError
        It is no swap area.
    """
    kind, _, size = text.rpartition(":")
    if kind not in {"", *SWAP_KINDS}:
        raise ValueError(f"{text!r}: swap is zram:SIZE or file:SIZE")
    return kind or "zram", parse_size(size)


@dataclass(frozen=True)
class Shape:
    """One guest.

    Parameters
    ----------
    kernel
        A series of `lab.kernels.KERNELS`.
    memory_bytes
        All nodes together. Up to 2 GiB lie in DMA32; with more there is a Normal zone.
    nodes
        NUMA nodes, memory and CPUs spread evenly.
    cpus
        Virtual CPUs, at least one a node.
    swap
        Areas as (kind, bytes), in the order of swapon, each of less priority than the one before: compressed
        memory, or a file on the scratch disk.
    hugepages
        Pool of huge pages of 2 MiB, reserved at boot.
    ksm
        Run KSM, fast enough for a test.
    cma_bytes
        Contiguous memory area, by boot parameter.
    page_owner
        Boot with ``page_owner=on``.
    disk_bytes
        Scratch disk with ext4 at ``$LAB_SCRATCH``; a swap file gets one by itself.
    append
        More kernel parameters.
    """

    kernel: str = "6.12"
    memory_bytes: int = 2 << 30
    nodes: int = 1
    cpus: int = 2
    swap: tuple[tuple[str, int], ...] = ()
    hugepages: int = 0
    ksm: bool = False
    cma_bytes: int = 0
    page_owner: bool = False
    disk_bytes: int = 0
    append: str = ""

    def __post_init__(self) -> None:
        if not 256 << 20 <= self.memory_bytes <= MAX_MEMORY_BYTES:
            raise ValueError(f"a guest has 256M to {MAX_MEMORY_BYTES >> 30}G, not {self.memory_bytes} bytes")
        if not 1 <= self.nodes <= self.cpus:
            raise ValueError(f"{self.nodes} nodes need as many CPUs; there are {self.cpus}")
        if self.hugepages < 0 or self.hugepages << 21 > self.memory_bytes // 2:
            raise ValueError(f"{self.hugepages} huge pages are more than half of the guest's memory")

    @property
    def scratch_bytes(self) -> int:
        """Size of the scratch disk: what was asked for, and room for swap files with their file system."""
        files = sum(size for kind, size in self.swap if kind == "file")
        return self.disk_bytes + (files + (64 << 20) if files else 0)

    @property
    def kernel_parameters(self) -> str:
        """What is added to the kernel's command line."""
        # Mitigations protect nobody here and cost an emulated CPU dearly.
        words = ["mitigations=off"]
        if self.hugepages:
            words.append(f"hugepages={self.hugepages}")
        if self.cma_bytes:
            words.append(f"cma={self.cma_bytes}")
        if self.page_owner:
            words.append("page_owner=on")
        return " ".join([*words, self.append]).strip()

    @property
    def needed_options(self) -> tuple[str, ...]:
        """Build options without which the kernel cannot have this shape."""
        wanted = {
            "CONFIG_NUMA": self.nodes > 1,
            "CONFIG_ZRAM": any(kind == "zram" for kind, _ in self.swap),
            "CONFIG_HUGETLBFS": bool(self.hugepages),
            "CONFIG_KSM": self.ksm,
            "CONFIG_CMA": bool(self.cma_bytes),
            "CONFIG_PAGE_OWNER": self.page_owner,
        }
        return tuple(option for option, asked in wanted.items() if asked)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for each part of a shape."""
    parser.add_argument("--kernel", default="6.12", metavar="SERIES", help="6.1 or 6.12 (default)")
    parser.add_argument("--memory", type=parse_size, default=2 << 30, metavar="SIZE", help="default 2G")
    parser.add_argument("--numa", type=int, default=1, metavar="N", help="nodes, memory spread evenly")
    parser.add_argument("--cpus", type=int, default=2, metavar="N", help="default 2")
    parser.add_argument(
        "--swap",
        type=parse_swap,
        action="append",
        default=[],
        metavar="[KIND:]SIZE",
        help="zram:SIZE (default kind) or file:SIZE; repeatable, priority falls",
    )
    parser.add_argument("--hugepages", type=int, default=0, metavar="N", help="pool of huge pages of 2 MiB")
    parser.add_argument("--ksm", action="store_true", help="run KSM")
    parser.add_argument("--cma", type=parse_size, default=0, metavar="SIZE", help="boot with cma=SIZE")
    parser.add_argument("--page-owner", action="store_true", help="boot with page_owner=on")
    parser.add_argument("--disk", type=parse_size, default=0, metavar="SIZE", help="ext4 at $LAB_SCRATCH")
    parser.add_argument("--append", default="", metavar="WORDS", help="more kernel parameters")


def from_options(options: argparse.Namespace) -> Shape:
    """Return the shape that was asked for.

    Raises
    ------
    ValueError
        Its parts contradict one another.
    """
    return Shape(
        kernel=options.kernel,
        memory_bytes=options.memory,
        nodes=options.numa,
        cpus=max(options.cpus, options.numa),
        swap=tuple(options.swap),
        hugepages=options.hugepages,
        ksm=options.ksm,
        cma_bytes=options.cma,
        page_owner=options.page_owner,
        disk_bytes=options.disk,
        append=options.append,
    )

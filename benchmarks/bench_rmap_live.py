"""The three reverse maps on a living machine: what they take, what look-ups visit, what upkeep costs.

Run as ``python benchmarks/bench_rmap_live.py``. A server writes its pages and forks workers, which copy some
of them, read a library, and use their stacks. The same life is led in turn without any map and with each of
them attached, in one run of this program; times are those of the fastest round. Upkeep is the ratio to
a life without a map. Look-ups are of every mapped frame, once; their time is that of the model, and what
they visit is exact.
"""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING, NamedTuple

from kernelmodel.fault import Machine
from kernelmodel.mapping import Mapping
from kernelmodel.mm.address_space import AddressSpace
from kernelmodel.ordered import RedBlackTree
from kernelmodel.rmap import ObjectRmap, PteChain, SingleEntry, served
from kernelmodel.vma import File, Vma
from kernelmodel.vmflags import (
    MAP_ANONYMOUS,
    MAP_PRIVATE,
    PROT_READ,
    PROT_WRITE,
    VM_DATA_DEFAULT_FLAGS,
    VM_GROWSDOWN,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from kernelmodel.rmap import ReverseMap

PAGE = 4096
NR_PAGES = 256
"""Pages of the server's memory, of the library, and of what a worker writes on its own."""
COPIED = 8
"""A worker copies one page in so many."""
FAMILIES = (0, 1, 4, 16, 64)
"""Numbers of workers."""
ROUNDS = 5
STACK_START, STACK_END = 0x7FFF_FFFC_E000, 0x7FFF_FFFD_0000
RW = PROT_READ | PROT_WRITE


class Measured(NamedTuple):
    """One map after one life: seconds of the life and of a look-up of each frame."""

    life_seconds: float
    lookup_seconds: float


def live(
    nr_workers: int, attach: Callable[[Machine], ReverseMap | None]
) -> tuple[Machine, ReverseMap | None]:
    """Let a server and its workers live on a new machine, with a map or without."""
    machine = Machine(4 * NR_PAGES + nr_workers * (NR_PAGES + NR_PAGES // COPIED + 8))
    rmap = attach(machine)
    mm = AddressSpace(RedBlackTree)
    start = STACK_START
    mm.insert(Vma(start, STACK_END, VM_DATA_DEFAULT_FLAGS | VM_GROWSDOWN, start // PAGE))
    server = machine.add(mm)
    memory = machine.mmap(server, 0, NR_PAGES * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS)
    library = machine.mmap(server, 0, NR_PAGES * PAGE, PROT_READ, MAP_PRIVATE, file=File(Mapping("libc.so")))
    for nth in range(NR_PAGES):
        machine.write(server, memory + nth * PAGE, nth)
        machine.read(server, library + nth * PAGE)
    machine.write(server, STACK_END - PAGE, 1)
    for which in range(nr_workers):
        worker = machine.fork(server)
        own = machine.mmap(worker, 0, NR_PAGES * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS)
        for nth in range(NR_PAGES):
            machine.write(worker, own + nth * PAGE, nth)
            machine.read(worker, library + nth * PAGE)
        for nth in range(which % COPIED, NR_PAGES, COPIED):
            machine.write(worker, memory + nth * PAGE, which)
        # Written before and after the stack has grown below it.
        machine.write(worker, STACK_END - PAGE, which)
        machine.write(worker, STACK_START - 3 * PAGE, which)
    return machine, rmap


def timed(nr_workers: int, attach: Callable[[Machine], ReverseMap | None]) -> Measured:
    """Lead one life and look every mapped frame up."""
    gc.collect()
    begin = time.perf_counter()
    machine, rmap = live(nr_workers, attach)
    lived = time.perf_counter()
    mapped = [pfn for pfn, frame in machine.frames.items() if frame.mapcount]
    looked = time.perf_counter()
    if rmap is not None:
        for pfn in mapped:
            rmap.mappings_of(pfn)
    return Measured(lived - begin, (time.perf_counter() - looked) / len(mapped))


def main() -> None:
    """Measure in turn and print one row for each size of family and each map."""
    kinds: dict[str, Callable[[Machine], ReverseMap | None]] = {
        "none": lambda _: None,
        "single": SingleEntry,
        "chain": PteChain,
        "object": ObjectRmap,
    }
    print(
        "workers  map      upkeep  bytes/page  visits/look-up  false  look-up us  served rightly\n"
        "-------  -------  ------  ----------  --------------  -----  ----------  --------------"
    )
    for nr_workers in FAMILIES:
        rounds = [{name: timed(nr_workers, attach) for name, attach in kinds.items()} for _ in range(ROUNDS)]
        life = {name: min(one[name].life_seconds for one in rounds) for name in kinds}
        for name in list(kinds)[1:]:
            machine, rmap = live(nr_workers, kinds[name])
            assert rmap is not None
            mapped = [pfn for pfn, frame in machine.frames.items() if frame.mapcount]
            found = sum(len(rmap.mappings_of(pfn)) == machine.frames[pfn].mapcount for pfn in mapped)
            if isinstance(rmap, SingleEntry):
                found = served(machine, rmap).nr_right
            cost = rmap.cost()
            visits, false = cost.nr_visits / cost.nr_lookups, cost.nr_false_visits / max(cost.nr_visits, 1)
            micros = min(one[name].lookup_seconds for one in rounds) * 1e6
            print(
                f"{nr_workers:7}  {name:7}  {life[name] / life['none']:6.2f}  {cost.bytes_per_page:10.1f}  "
                f"{visits:14.2f}  {false:5.1%}  {micros:10.1f}  {found / len(mapped):14.1%}"
            )


if __name__ == "__main__":
    main()

"""Help for a request that was not met: make room, carry that out, and try the request again.

=========  ==============================================================  ================================
kind       what it does                                                    where
=========  ==============================================================  ================================
``blit``   copies what stands in the cheapest window away                  each domain, highest first
``evict``  frees single pages up to the high watermark where the           each domain
           request is for one, or the watermark refuses it;
           then the cheapest window                                        each zone, highest first
``linux``  runs both scanners over a whole zone                            each zone, highest first
=========  ==============================================================  ================================

Who waits may call all of them; an atomic request may call ``blit`` alone, which never waits; who neither
waits nor is atomic just fails. Copying makes no page free: where the watermark refuses for want of pages
neither ``blit`` nor ``linux`` is tried. Before any of it, and after each, all CPUs give back the pages they
keep if the request waits; if not, its own CPU alone gives back what ``blit`` freed.
Where ``linux`` ran in vain, larger requests go without for a while (`kernelmodel.free_area.deferral`); the
other kinds are always tried.

Mirrors: mm/page_alloc.c: __alloc_pages_slowpath, __alloc_pages_direct_compact, __alloc_pages_direct_reclaim
(drain_all_pages); mm/compaction.c: compact_zone (lru_add_drain_cpu_zone).
Fidelity: the kernel stops compacting once the block is there; here the scanners run until they meet, so that
what they cost is an upper bound. It retries reclaim and compaction several times; here each kind has one try.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernelmodel._jit import compiled
from kernelmodel.compaction.result import blocks_of_order
from kernelmodel.errors import InvariantError, ModelError
from kernelmodel.free_area.attempts import Attempts
from kernelmodel.free_area.book import MAY_CALL, TRIED
from kernelmodel.free_area.carry import NOWHERE, Changes, carry
from kernelmodel.free_area.deferral import Deferral
from kernelmodel.free_area.interface import claim, release, take
from kernelmodel.free_area.play import DEFERRED, HELPED, NOT_MET, ask_of, give_up, play
from kernelmodel.free_area.reclaim import evicted_by_class
from kernelmodel.free_area.result import HelpTally
from kernelmodel.page_alloc.state import MAX_ZONE_TYPES
from kernelmodel.priority import Priority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kernelmodel.free_area.book import Book
    from kernelmodel.free_area.ground import Ground
    from kernelmodel.free_area.interface import Ask, FreeArea

NEVER_WAITS: Final = ("blit",)
"""Kinds of help that atomic requests may call."""
DEFERRED_KIND: Final = "linux"
"""The one kind that is deferred after it has failed, as the kernel defers compaction, and nothing else."""


class Helper:
    """Everything that help needs for one run.

    Parameters
    ----------
    ground, policy, book
        What it works on.
    kinds
        Kinds of help, in the order in which they are tried.
    pure
        Run in plain Python even where there is numba.

    Raises
    ------
    ModelError
        There is no such kind of help.
    """

    def __init__(
        self, ground: Ground, policy: FreeArea, book: Book, kinds: Sequence[str], *, pure: bool = False
    ) -> None:
        self.policy, self.book = policy, book
        self.attempts = Attempts(ground, policy, book)
        makers: dict[str, Callable[[Ask], Iterator[Changes]]] = {
            "blit": self.attempts.blit, "evict": self.attempts.evict, "linux": self.attempts.linux
        }  # fmt: skip
        for kind in kinds:
            if kind not in makers:
                raise ModelError(f"no help called {kind!r}: there are {', '.join(makers)}")
        self.makers = {kind: makers[kind] for kind in kinds}
        self.tally = {kind: HelpTally() for kind in kinds}
        self.deferral = [Deferral(ground.nr_orders) for _ in range(MAX_ZONE_TYPES)]
        self.kinds_of = {
            Priority.WAITS: tuple(self.makers),
            Priority.NOWAIT: (),
            Priority.ATOMIC: tuple(kind for kind in self.makers if kind in NEVER_WAITS),
        }
        for priority, allowed in self.kinds_of.items():
            book.info[MAY_CALL + priority] = bool(allowed)
        of = policy.functions
        self.play = compiled(play, pure=pure, given={take: of.take, release: of.release})
        self._carry = compiled(carry, pure=pure, given={claim: of.claim, release: of.release})

    def help(self, at: int) -> None:
        """Help the request of event `at` as its priority allows: it is met afterwards, or given up."""
        book = self.book
        request = int(book.events[at])
        ask = ask_of(book, request)
        book.info[TRIED] = 1
        came = {NOT_MET}
        if ask.priority == Priority.WAITS:
            self.policy.drain()
            came = {HELPED} if self._met(at) else came
        for kind in self.kinds_of[Priority(ask.priority)]:
            if HELPED not in came:
                came.add(self._call_unless_deferred(kind, ask, at))
        book.info[TRIED] = 0
        if HELPED not in came:
            give_up(book, request, DEFERRED if DEFERRED in came else NOT_MET)

    def _met(self, at: int) -> bool:
        """Try the request of an event again; tell whether it was met."""
        return self.play(self.policy.state, self.book, at, at + 1) > at

    def _call_unless_deferred(self, kind: str, ask: Ask, at: int) -> int:
        """Call one kind of help, unless that is deferred; return what became of the request."""
        deferral = self.deferral[ask.highest_zone] if kind == DEFERRED_KIND and ask.order else None
        if deferral is not None and deferral.defers(ask.order):
            return DEFERRED
        nr_calls = self.tally[kind].calls
        met = self._call(kind, ask, at)
        if deferral is not None and met:
            deferral.succeeded(ask.order)
        elif deferral is not None and self.tally[kind].calls > nr_calls:
            deferral.failed(ask.order)
        return HELPED if met else NOT_MET

    def _call(self, kind: str, ask: Ask, at: int) -> bool:
        """Call one kind of help; tell whether the request was met after it."""
        tally = self.tally[kind]
        called = False
        for changes in self.makers[kind](ask):
            called = True
            self.carry(changes, tally, ask.cpu)
            if ask.priority == Priority.WAITS:
                self.policy.drain()
            else:
                self.policy.drain_cpu(ask.cpu)
            if len(changes.source) and self._met(at):
                tally.calls += 1
                tally.succeeded += 1
                return True
        tally.calls += called
        return False

    def carry(self, changes: Changes, tally: HelpTally, cpu: int = 0) -> None:
        """Carry out changes on a CPU, which may keep what they free, and count them.

        Raises
        ------
        InvariantError
            ``claim-free``: the policy does not give frames that are free.
        """
        dropped, written, swapped = evicted_by_class(self.book.content, changes)
        moved = (changes.destination != NOWHERE) & (changes.destination != changes.source)
        tally.copied_pages += int(changes.nr_pages[moved].sum())
        tally.dropped_pages += dropped
        tally.written_pages += written
        tally.swapped_pages += swapped
        tally.scanned_pages += self.attempts.scanned_pages
        self.attempts.scanned_pages = 0
        nr_done = self._carry(self.policy.state, self.book, changes, cpu)
        if nr_done < len(changes.source):
            raise InvariantError(
                "claim-free",
                f"frame {changes.destination[nr_done]}",
                f"{self.policy.name} did not give {changes.nr_pages[nr_done]} free pages",
            )

    def make_blocks(self, order: int, nr_blocks: int, tally: HelpTally) -> None:
        """Make what is missing of `nr_blocks` free blocks, by `blit`, and leave the watermark alone."""
        self.policy.drain()
        missing = nr_blocks - blocks_of_order(self.policy.free_blocks().counts(), order)
        if missing <= 0:
            return
        tally.calls += 1
        for changes in self.attempts.ahead(order, missing):
            self.carry(changes, tally)
            self.policy.drain()
        tally.succeeded += blocks_of_order(self.policy.free_blocks().counts(), order) >= nr_blocks

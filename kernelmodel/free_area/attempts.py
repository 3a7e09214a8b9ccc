"""What each kind of help would change for a request, one attempt after another.

Every attempt is worked out on the memory as it stands when it is asked for: what came of the one before it
has been carried out by then.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import repeat
from typing import TYPE_CHECKING, Final

import numpy as np

from kernelmodel.compaction.blit import COPIED, blit
from kernelmodel.compaction.eviction import EvictionLimits
from kernelmodel.compaction.scanners import linux
from kernelmodel.compaction.zone_layout import FIRST_MOVABLE, KIND_MASK, LAST_MOVABLE, Frame
from kernelmodel.free_area.book import NONE, OWNER, SWAP_FREE, known
from kernelmodel.free_area.carry import NOTHING, Changes, changes_of
from kernelmodel.free_area.domains import Domain, domains, targets, zone_domains
from kernelmodel.free_area.reclaim import SWAP_CLUSTER_MAX, pages_to_evict, window_to_evict
from kernelmodel.priority import Priority

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from kernelmodel.compaction.result import Outcome
    from kernelmodel.free_area.book import Book
    from kernelmodel.free_area.ground import Ground
    from kernelmodel.free_area.interface import Ask, FreeArea

_CLEARS: Final = np.zeros(KIND_MASK + 1, np.bool_)
"""Whether frames of a `Frame` may be in a window that ``blit`` makes."""
_CLEARS[[Frame.FREE, *COPIED]] = True


class Attempts:
    """The attempts, by kind of help.

    Parameters
    ----------
    ground, policy, book
        What they are worked out on; only read.
    """

    def __init__(self, ground: Ground, policy: FreeArea, book: Book) -> None:
        self.book, self._policy = book, policy
        self.scanned_pages = 0
        """Pages that scanners have looked at so far."""
        self._domains, self._zones = domains(ground, policy), zone_domains(ground)
        self._grounds = {zone.zone_type: zone for zone in ground.zones}
        self._types = getattr(policy, "block_types", None)
        # Policies have lists of CPUs of their own.
        self._rules = replace(ground.rules, pcp_high=0)
        columns = book.requests
        below_the_top = book.limits[columns.highest_zone] < book.limits[-1]
        movable = (columns.kind >= FIRST_MOVABLE) & (columns.kind <= LAST_MOVABLE)
        self._limited: NDArray[np.bool_] = below_the_top & movable

    def changes(self, outcome: Outcome, domain: Domain) -> Changes:
        """Return what an outcome on a domain changes, in frames of the ground."""
        return changes_of(outcome, domain.layout.base_pfn - domain.first)

    def ahead(self, order: int, nr_blocks: int) -> Iterator[Changes]:
        """Make free blocks ahead of requests, and leave the watermark alone."""
        missing = nr_blocks
        for domain in self._domains:
            if missing > 0:
                layout = domain.layout.with_state(domain.state(self.book.content))
                outcome = blit(layout, order, missing, self._bound(domain, len(self.book.content)))
                missing -= outcome.gained_blocks
                yield self.changes(outcome, domain)

    def _bound(self, domain: Domain, limit: int) -> NDArray[np.bool_] | None:
        """Return the frames of a domain that no window may be made of: behind the limit of the request.

        Pages of requests that have a limit of their own may not be copied past that either.
        """
        book = self.book
        alone = len(self._domains) == 1
        if not alone or (limit >= book.limits[-1] and not self._limited.any()):
            return None
        bound = np.zeros(len(domain.layout.state), np.bool_)
        bound[limit:] = True
        if self._limited.any():
            head = np.flatnonzero(book.block[:, OWNER] != NONE)
            bound[head[self._limited[book.block[head, OWNER]]]] = True
        return bound

    def _hopeless(self, content: NDArray[np.uint8], ask: Ask) -> bool:
        """Tell whether there is surely no window below a limit: O(limit), where a try is O(frames).

        Behind the limit nothing may be copied away, so that only windows that begin below it count.
        """
        size = 1 << ask.order
        end = -(-ask.limit // size) * size
        if len(self._domains) > 1 or end >= len(content):
            return False
        kinds = (content[:end] & np.uint8(KIND_MASK)).reshape(-1, size)
        clears = _CLEARS[kinds].all(axis=1) & (kinds != Frame.FREE).any(axis=1)
        return not clears.any()

    def blit(self, ask: Ask) -> Iterator[Changes]:
        """Make one window, in the highest domain in which one can be made.

        Who does not wait leaves what other CPUs keep for themselves alone.
        """
        content = self.book.content
        if ask.priority != Priority.WAITS:
            content = known(content, self._policy.kept_blocks())
        for domain in self._domains:
            if domain.zone_type > ask.highest_zone or ask.order == 0:
                continue
            if not domain.allows(domain.nr_free(content), ask):
                continue
            if self._hopeless(content, ask):
                yield NOTHING
                continue
            layout = domain.layout.with_state(domain.state(content))
            # The watermark has been looked at: by a copy no page becomes free or is taken.
            outcome = blit(layout, ask.order, 1, self._bound(domain, ask.limit), reserve_pages=0)
            yield self.changes(outcome, domain)

    def evict(self, ask: Ask) -> Iterator[Changes]:
        """Evict single pages where there are too few for the request; then a window."""
        content = self.book.content
        allowed = [domain for domain in self._domains if domain.zone_type <= ask.highest_zone]
        free = [domain.nr_free(content) for domain in allowed]
        if not ask.order or not any(map(Domain.allows, allowed, free, repeat(ask))):
            for domain, nr in zip(allowed, free, strict=True):
                lacking = domain.wmark_high + domain.reserve(ask) + (1 << ask.order) - nr
                start = domain.first + domain.layout.start_pfn - domain.layout.base_pfn
                end = min(domain.first + domain.layout.end_pfn - domain.layout.base_pfn, ask.limit)
                yield pages_to_evict(self.book, start, end, max(SWAP_CLUSTER_MAX, lacking))
        for zone in self._zones if ask.order else ():
            if zone.zone_type <= ask.highest_zone:
                limits = EvictionLimits(int(self.book.info[SWAP_FREE]))
                layout = zone.layout.with_state(zone.state(content))
                yield window_to_evict(layout, ask.order, limits, zone.first)

    def linux(self, ask: Ask) -> Iterator[Changes]:
        """Compact zone after zone."""
        content = self.book.content
        for zone in self._zones:
            own = zone if len(self._domains) > 1 else self._domains[0]
            fits = zone.zone_type <= ask.highest_zone and ask.order > 0
            if not fits or not own.suits_compaction(own.nr_free(content), ask):
                continue
            layout = replace(zone.layout, state=zone.state(content), targets=self._targets(zone))
            outcome = linux(layout, ask.order, self._rules)
            assert outcome.migrate_scanned is not None
            assert outcome.free_scanned is not None
            self.scanned_pages += outcome.migrate_scanned + outcome.free_scanned
            yield self.changes(outcome, zone)

    def _targets(self, zone: Domain) -> NDArray[np.bool_]:
        """Return which pageblocks of a zone the free scanner may fill, as the policy types them now."""
        if self._types is None:
            return zone.layout.targets
        return targets(self._grounds[zone.zone_type], self._types()[zone.zone_type])

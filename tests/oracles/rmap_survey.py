"""The three reverse maps, frame by frame and VMA by VMA; families by walking from one to the next."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import NamedTuple


class Vma(NamedTuple):
    """A VMA; `backing` is -1 for anonymous memory, whose `pgoff` is then `start`."""

    mm: int
    start: int
    end: int
    pgoff: int
    backing: int
    private: bool
    listed: bool = True


class Answer(NamedTuple):
    """By frame: entries, those that its object leads to, VMAs visited; families, anon_vmas, links to them."""

    nr_entries: dict[int, int]
    found: dict[int, int]
    visits: dict[int, int]
    visits_at_most: dict[int, int]
    nr_families: int
    nr_anon_areas: int
    nr_links: int


@dataclass
class Host:
    """VMAs, page tables as (VMA row, page) to frame, the kind of each frame, and who is whose parent."""

    vmas: list[Vma]
    pages: dict[tuple[int, int], int]
    kinds: dict[int, str]
    parents: dict[int, int]

    def mappers(self) -> dict[int, list[tuple[int, int]]]:
        """Return VMA row and linear offset of each mapping, by frame, in the order of `reverse_entries`."""
        found: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for (row, page), pfn in sorted(self.pages.items()):
            vma = self.vmas[row]
            found[pfn].append((row, vma.pgoff + page - vma.start))
        return found

    def anonymous(self) -> set[int]:
        """Return the VMAs that map an anonymous frame."""
        return {row for (row, _), pfn in self.pages.items() if self.kinds[pfn] == "anon"}

    def families(self) -> dict[int, int]:
        """Return the least member of each address space's family."""
        near: dict[int, set[int]] = defaultdict(set)
        anonymous = self.anonymous()
        for pfn, mappers in self.mappers().items():
            row, linear = mappers[0]
            for other, offset in mappers:
                alike = self.vmas[row].backing == self.vmas[other].backing and linear == offset
                if self.kinds[pfn] == "anon" and alike:
                    near[self.vmas[row].mm].add(self.vmas[other].mm)
        for i, mine in enumerate(self.vmas):
            for j, theirs in enumerate(self.vmas):
                if self.parents.get(mine.mm) == theirs.mm and (i in anonymous or j in anonymous):
                    same = mine._replace(mm=0) == theirs._replace(mm=0)
                    if same and mine.private and mine.listed:
                        near[mine.mm].add(theirs.mm)
        return groups({vma.mm for vma in self.vmas}, near)

    def line(self, mm: int) -> list[object]:
        """Return an address space, its ancestors in the family, and the family."""
        families = self.families()
        found: list[object] = [mm]
        at = mm
        while (above := self.parents.get(at)) is not None and families[above] == families[mm]:
            at = above
            found.append(at)
        return [*found, ("family", families[mm])]

    def files(self) -> dict[int, int]:
        """Return the least name of each file."""
        near: dict[int, set[int]] = defaultdict(set)
        for pfn, mappers in self.mappers().items():
            row, linear = mappers[0]
            for other, offset in mappers:
                names = (self.vmas[row].backing, self.vmas[other].backing)
                if self.kinds[pfn] == "file" and linear == offset and min(names) >= 0:
                    near[names[0]].add(names[1])
        return groups({vma.backing for vma in self.vmas if vma.backing >= 0}, near)

    def answer(self, mm: int | None = None) -> Answer:
        """Count everything, for all frames or for those that one address space maps."""
        families, files, anonymous = self.families(), self.files(), self.anonymous()

        def related(row: int) -> bool:
            vma = self.vmas[row]
            if not (vma.private and vma.listed):
                return False
            return any(
                self.vmas[other].private
                and self.vmas[other].listed
                and families[self.vmas[other].mm] == families[vma.mm]
                and self.vmas[other].backing == vma.backing
                and (self.vmas[other].start == vma.start or self.vmas[other].end == vma.end)
                for other in anonymous
            )

        members = {row for row in range(len(self.vmas)) if related(row)}

        def place(row: int, kind: str) -> tuple[object, ...] | None:
            """Return the object that a VMA has for frames of a kind."""
            vma = self.vmas[row]
            if kind == "file":
                return ("file", files[vma.backing]) if vma.backing >= 0 else None
            return ("anon", families[vma.mm], vma.backing) if row in members else None

        places = {kind: [place(row, kind) for row in range(len(self.vmas))] for kind in ("file", "anon")}
        lines = {mm: self.line(mm) for mm in {vma.mm for vma in self.vmas}}

        def visits(row: int, kind: str, index: int, owner: object) -> int:
            """Return how many VMAs a walk visits that begins at the anon_vma of `owner`."""
            return sum(
                vma.pgoff <= index < vma.pgoff + vma.end - vma.start
                and places[kind][other] == places[kind][row]
                and (kind == "file" or owner in lines[vma.mm])
                for other, vma in enumerate(self.vmas)
            )

        answer = Answer({}, {}, {}, {}, len({families[self.vmas[row].mm] for row in anonymous}), 0, 0)
        for pfn, mappers in self.mappers().items():
            kind = self.kinds[pfn]
            if kind == "zero" or (mm is not None and all(self.vmas[row].mm != mm for row, _ in mappers)):
                continue
            answer.nr_entries[pfn] = len(mappers)
            if kind == "ksm":
                answer.found[pfn] = answer.visits[pfn] = answer.visits_at_most[pfn] = len(mappers)
                continue
            first, index = mappers[0]
            named = place(first, kind)
            reached = [row for row, linear in mappers if place(row, kind) == named and linear == index]
            if named is None:
                answer.found[pfn] = answer.visits[pfn] = answer.visits_at_most[pfn] = 0
                continue
            answer.found[pfn] = len(reached)
            line = lines[self.vmas[first].mm]
            shared = [node for node in line if all(node in lines[self.vmas[row].mm] for row in reached)]
            owner = shared[0] if kind == "anon" else None
            answer.visits[pfn] = visits(first, kind, index, owner)
            answer.visits_at_most[pfn] = visits(first, kind, index, line[-1])
        counted = [self.vmas[row].mm for row in members if mm in {None, self.vmas[row].mm}]
        nr_links = sum(len(lines[each]) - 1 for each in counted)
        return answer._replace(nr_anon_areas=len(counted), nr_links=nr_links)


def groups(nodes: set[int], near: dict[int, set[int]]) -> dict[int, int]:
    """Return the least node that each is connected with."""
    both: dict[int, set[int]] = defaultdict(set)
    for node, others in near.items():
        for other in others:
            both[node].add(other)
            both[other].add(node)
    least: dict[int, int] = {}
    for node in sorted(nodes):
        waiting = [node]
        while waiting:
            at = waiting.pop()
            if at not in least:
                least[at] = node
                waiting += both[at]
    return least

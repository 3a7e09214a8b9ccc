"""The answer of ``vmprobe page`` laid out for reading."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmprobe.analyses.parts import Column, Fact, Facts, Grid, Kind, Note, Parts, grid
from vmprobe.units import bytes_text, count_text

if TYPE_CHECKING:
    from vmprobe.analyses.page_address import Entry
    from vmprobe.analyses.page_answer import Page
    from vmprobe.bridge.page import Block

_NOUNS: Final = {
    "hole": "a hole",
    "zero page": "the shared zero page",
    "page table": "a page table",
    "unknown": "a page of unknown use",
}
"""What classes are called in a sentence, where not ``CLASS page``."""

_MAPPABLE: Final = frozenset({"anonymous", "ksm", "swap cache", "shmem", "file", "hugetlb"})
"""Classes of pages that processes map, or could."""

_VERDICTS: Final = {
    "yes": "movable",
    "if": "movable on a condition",
    "no": "not movable",
    "unknown": "movable or not, it cannot be told",
}


def layout(answer: Page) -> Parts:
    """Return a sentence first, then the facts, then who maps the page."""
    parts: list[Grid | Facts | Note] = [Note("", (_sentence(answer),))]
    if answer.at is not None:
        parts.append(Facts("Address", _address(answer.at)))
    if answer.movable is not None:
        parts.append(Facts("Page", _page(answer)))
    if answer.pageblock is not None:
        parts.append(Facts("Pageblock", _block(answer.pageblock)))
    if answer.mappings:
        columns = (
            Column("pid", Kind.TEXT),
            Column("name", Kind.TEXT),
            Column("address", Kind.TEXT),
            Column("VMA from", Kind.TEXT),
            Column("perms", Kind.TEXT),
            Column("VMA", Kind.TEXT),
        )
        rows = tuple(
            (row.pid, row.comm, _hex(row.address), _hex(row.vma_start), row.perms, row.vma_name)
            for row in answer.mappings
        )
        parts.append(Grid("Mapped by", columns, rows))
    if answer.mechanisms:
        parts.append(
            grid(
                "Sharing that the count does not reveal",
                answer.mechanisms,
                ("mechanism", "mechanism", Kind.TEXT),
                ("evidence", "evidence", Kind.TEXT),
                ("note", "seen by", Kind.TEXT),
            )
        )
    if answer.missing and answer.movable is not None:
        parts.append(Note("Missing", tuple(f"{row.part}: {row.reason}" for row in answer.missing)))
    return Parts(tuple(parts))


def _sentence(answer: Page) -> str:
    if answer.movable is None:
        assert answer.at is not None  # a frame always has an answer
        return f"{_hex(answer.at.address)} of process {answer.at.pid}: {answer.missing[0].reason}."
    said = [f"pfn {answer.pfn}: {_noun(answer.page_class)}"]
    if answer.folio is not None and answer.folio.nr_pages > 1:
        said.append(f"part of a {bytes_text(answer.folio.nr_pages * answer.page_size)} folio")
    if answer.free_block is not None:
        said.append(f"part of a {bytes_text(answer.page_size << answer.free_block.order)} free block")
    if answer.mappings:
        pids = {row.pid for row in answer.mappings}
        said.append(f"mapped by {_number(len(pids), 'process', 'processes')}")
        if len(answer.mappings) > len(pids):
            said[-1] += f" at {len(answer.mappings)} addresses"
    elif answer.entries == answer.mapcount == 0 and answer.page_class in _MAPPABLE:
        said.append("mapped by nobody")
    if answer.unseen_mappers:
        said.append(f"with {_number(answer.unseen_mappers, 'mapping', 'mappings')} that could not be seen")
    if answer.movable.verdict != "free":
        said.append(_VERDICTS[answer.movable.verdict])
    return ", ".join(said)


def _noun(name: str | None) -> str:
    if name is None:
        return "a page whose flag word could not be read"
    return _NOUNS.get(name, f"{name} page")


def _number(count: int, one: str, many: str) -> str:
    return f"{count_text(count)} {one if count == 1 else many}"


def _address(entry: Entry) -> tuple[Fact, ...]:
    vma = None
    if entry.vma_start is not None and entry.vma_end is not None:
        vma = f"{_hex(entry.vma_start)}-{_hex(entry.vma_end)} {entry.perms} {entry.vma_name}".rstrip()
    facts = [
        Fact("process", f"{entry.pid} {entry.comm or ''}".rstrip()),
        Fact("page at", _hex(entry.address)),
        Fact("VMA", vma),
        Fact("entry", entry.kind if entry.kind == "present" else f"{entry.kind}: {entry.meaning}"),
    ]
    if entry.unstable:
        facts.append(Fact("unstable", "the entry changed while it was read"))
    return tuple(facts)


def _page(answer: Page) -> tuple[Fact, ...]:
    assert answer.movable is not None
    facts = [
        Fact("class", None if answer.page_class is None else f"{answer.page_class}: {answer.meaning}"),
        Fact("flags", None if answer.flags is None else ", ".join(answer.flags) or "none"),
    ]
    if answer.folio is not None:
        pages = _number(answer.folio.nr_pages, "page", "pages")
        facts.append(Fact("folio", f"{pages} from pfn {answer.folio.head_pfn}"))
    if answer.free_block is not None:
        block = answer.free_block
        facts.append(Fact("free block", f"order {block.order} from pfn {block.start_pfn}"))
    zone = None
    if answer.zone is not None:
        zone = f"node {answer.node} {answer.zone}, frame {answer.zone_offset_pages} of it"
    facts += [
        Fact("zone", zone),
        Fact("map count", answer.mapcount, Kind.COUNT),
        Fact("entries found", answer.entries, Kind.COUNT),
    ]
    if answer.mechanism is not None:
        facts.append(Fact("they differ by", answer.mechanism))
    facts += [
        Fact("cgroup", answer.memcg),
        Fact("movable", f"{answer.movable.verdict}: {answer.movable.reason}"),
    ]
    if answer.unstable:
        facts.append(Fact("unstable", "the frame, or a mapping of it, changed while it was looked at"))
    return tuple(facts)


def _inferred(block: Block) -> tuple[Fact, ...]:
    if block.inferred_type is None:
        return ()
    told = block.inferred_type
    basis = "with the zone's totals" if told.constrained else "without totals"
    text = f"{told.migratetype}, confidence {told.confidence_permille} of 1000, {basis}"
    return (Fact("inferred type", text),)


def _block(block: Block) -> tuple[Fact, ...]:
    movable = count_text(block.movable)
    if block.conditional:
        movable += f", {count_text(block.conditional)} of them on a condition"
    return (
        Fact("frames", f"pfn {block.start_pfn} to {block.end_pfn - 1}, order {block.order}"),
        Fact("holds", block.verdict),
        *_inferred(block),
        Fact("free", block.free, Kind.COUNT),
        Fact("movable", movable),
        Fact("unmovable", block.unmovable, Kind.COUNT),
        Fact("unknown", block.unknown, Kind.COUNT),
    )


def _hex(address: int | None) -> str | None:
    return None if address is None else f"{address:#x}"

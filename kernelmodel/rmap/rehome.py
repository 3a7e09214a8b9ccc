"""Page tables and reverse entries after frames have changed places.

Mirrors: ``mm/migrate.c: remove_migration_pte`` for the one, ``mm/rmap.c: page_add_rmap, page_remove_rmap`` of
2.5.27 for the other.
Fidelity: arrays are made anew; the kernel changes them in place.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kernelmodel._jit import compiled, jit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernelmodel.page_tables import PageTables
    from kernelmodel.rmap.csr import ReverseEntries


class Runs(NamedTuple):
    """Columns of `PageTables`, and its key."""

    key: NDArray[np.int64]
    vma: NDArray[np.int64]
    vpn: NDArray[np.int64]
    pfn: NDArray[np.int64]
    nr_pages: NDArray[np.int64]


def patched(tables: PageTables, key: NDArray[np.int64], pfn: NDArray[np.int64]) -> PageTables:
    """Return page tables in which some entries lead elsewhere, runs cut there and joined where they go on.

    Parameters
    ----------
    tables
        Page tables.
    key
        int64, distinct and ascending: entries that are present, as `PageTables.key_of` numbers them.
    pfn
        int64, where each leads now; -1 where it is not present any more.
    """
    if not len(key):
        return tables
    # A changed entry cuts a run into three at most.
    columns = np.empty((4, len(tables.vma) + 2 * len(key)), np.int64)
    runs = Runs(tables.key, tables.vma, tables.vpn, tables.pfn, tables.nr_pages)
    nr_runs = compiled(patch_runs)(runs, key, pfn, columns)
    vma, vpn, frame, nr_pages = columns[:, :nr_runs].copy()
    return replace(tables, vma=vma, vpn=vpn, pfn=frame, nr_pages=nr_pages)


@jit
def patch_runs(runs: Runs, key: NDArray[np.int64], to: NDArray[np.int64], columns: NDArray[np.int64]) -> int:
    """Write the new runs into `columns` (VMA, page, frame, entries) and return how many there are."""
    last = -1
    at = 0
    for run in range(len(runs.vma)):
        into = 0
        while into < runs.nr_pages[run]:
            next_changed = runs.nr_pages[run]
            if at < len(key):
                next_changed = min(next_changed, key[at] - runs.key[run])
            if next_changed == into:
                frame = to[at]
                nr = 1
                at += 1
            else:
                frame = runs.pfn[run] + into
                nr = next_changed - into
            page = runs.vpn[run] + into
            into += nr
            if frame < 0:
                continue
            goes_on = (
                last >= 0
                and columns[0, last] == runs.vma[run]
                and columns[1, last] + columns[3, last] == page
                and columns[2, last] + columns[3, last] == frame
            )
            if goes_on:
                columns[3, last] += nr
            else:
                last += 1
                columns[0, last] = runs.vma[run]
                columns[1, last] = page
                columns[2, last] = frame
                columns[3, last] = nr
    return last + 1


def rehomed(entries: ReverseEntries, source: NDArray[np.int64], target: NDArray[np.int64]) -> ReverseEntries:
    """Return reverse entries in which the frames `source` are `target`, and those with -1 are gone."""
    leaves = np.zeros(len(entries.pfn), np.bool_)
    order = np.argsort(source, kind="stable")
    row = np.searchsorted(entries.pfn, source[order])
    row = np.minimum(row, max(0, len(entries.pfn) - 1))
    hit = entries.pfn[row] == source[order] if len(entries.pfn) else np.zeros(len(row), np.bool_)
    row, to = row[hit], target[order][hit]
    leaves[row] = True
    row, to = row[to >= 0], to[to >= 0]
    by_target = np.argsort(to, kind="stable")
    row, to = row[by_target], to[by_target]
    stay = np.flatnonzero(~leaves)
    # Both lists ascend: the moved ones are put between the others.
    place = np.searchsorted(entries.pfn[stay], to) + np.arange(len(to))
    frame_row, pfn = np.empty((2, len(stay) + len(to)), np.int64)
    others = np.ones(len(pfn), np.bool_)
    others[place] = False
    frame_row[others], pfn[others] = stay, entries.pfn[stay]
    frame_row[place], pfn[place] = row, to
    counts = entries.first[frame_row + 1] - entries.first[frame_row]
    begin = np.cumsum(counts) - counts
    nr_entries = int(counts.sum())
    at = np.repeat(entries.first[frame_row] - begin, counts)
    at += np.arange(nr_entries)
    # A frame that was free by its word and mapped all the same has the entries of both.
    heads = np.ones(len(pfn), np.bool_)
    np.not_equal(pfn[1:], pfn[:-1], out=heads[1:])
    first = np.append(begin[heads], nr_entries)
    return replace(
        entries, pfn=pfn[heads], first=first, vma=entries.vma[at], offset_pages=entries.offset_pages[at]
    )

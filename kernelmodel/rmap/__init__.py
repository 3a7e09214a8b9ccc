"""Reverse maps: who maps a frame, asked of a photograph (`csr`) or of a living machine (the others)."""

from kernelmodel.rmap.interface import Cost, Entry, ReverseMap
from kernelmodel.rmap.journal import Journal, Journey, Motion
from kernelmodel.rmap.object_rmap import ObjectRmap
from kernelmodel.rmap.pte_chain import PteChain
from kernelmodel.rmap.single_entry import SingleEntry, Stored
from kernelmodel.rmap.stale import Cause, Served, Stale, find_stale, served

__all__ = [
    "Cause",
    "Cost",
    "Entry",
    "Journal",
    "Journey",
    "Motion",
    "ObjectRmap",
    "PteChain",
    "ReverseMap",
    "Served",
    "SingleEntry",
    "Stale",
    "Stored",
    "find_stale",
    "served",
]

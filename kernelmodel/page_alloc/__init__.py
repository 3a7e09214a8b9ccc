"""The buddy allocator of one zone: its free blocks rebuilt from a layout, then live.

`rebuild` makes free blocks of free frames, `pageblock` guesses the types of pageblocks, `layout` says what
stands where, and `allocator` allocates and frees from there as Linux 6.15 and later does.
"""

from kernelmodel.page_alloc.allocator import BuddyAllocator
from kernelmodel.page_alloc.evidence import BlockEvidence
from kernelmodel.page_alloc.layout import Layout, Tuning, UsedBlocks
from kernelmodel.page_alloc.pageblock_flags import InferredTypes, infer_migratetypes
from kernelmodel.page_alloc.rebuild import FreeBlocks, free_blocks

__all__ = [
    "BlockEvidence",
    "BuddyAllocator",
    "FreeBlocks",
    "InferredTypes",
    "Layout",
    "Tuning",
    "UsedBlocks",
    "free_blocks",
    "infer_migratetypes",
]

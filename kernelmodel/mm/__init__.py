"""Address spaces: VMAs on any ordered map, changed by the system calls that change them in the kernel.

`address_space` offers the calls, one file each does one of them, `merge` decides what becomes one VMA,
`adjust` changes bounds together with both reverse maps, and `validate` holds it all against the rules.
"""

from kernelmodel.mm.address_space import AddressSpace
from kernelmodel.mm.types import Layout, MergeRules

__all__ = ["AddressSpace", "Layout", "MergeRules"]

"""Everything the model can raise: one tree.

::

    ModelError
    ├── InvariantError      a structure contradicts itself: which rule, where, with the witnesses
    ├── NoMemoryError       no block, address or slot is left for the request
    └── SyscallError        the kernel would refuse: the error number and what is wrong
"""

from __future__ import annotations


class ModelError(Exception):
    """Anything the model refuses or finds wrong."""


class InvariantError(ModelError):
    """A structure contradicts itself.

    Parameters
    ----------
    invariant
        Name of the rule that is broken, as one word or a few with dashes.
    where
        Place: a pfn, an address, a node of a tree.
    detail
        The witnesses: what was found and what the rule demands.
    """

    def __init__(self, invariant: str, where: str, detail: str) -> None:
        super().__init__(f"{invariant}: {where}: {detail}")
        self.invariant = invariant
        self.where = where
        self.detail = detail


class NoMemoryError(ModelError):
    """No block, address or slot is left for the request."""


class SyscallError(ModelError):
    """The kernel would refuse this request.

    Parameters
    ----------
    code
        Name of the error number: EINVAL, EFAULT, ...
    reason
        What is wrong.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason

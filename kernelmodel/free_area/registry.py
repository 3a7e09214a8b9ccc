"""The policies by name, and how they are asked for: ``name[:option=value]...``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kernelmodel.errors import ModelError
from kernelmodel.free_area.areas import Areas
from kernelmodel.free_area.grouped import Grouped
from kernelmodel.free_area.lists import FreeLists

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kernelmodel.free_area.ground import Ground
    from kernelmodel.free_area.interface import FreeArea


@dataclass(frozen=True)
class Option:
    """What may be said of a policy.

    Parameters
    ----------
    default
        Its value where nothing is said.
    values
        What it may be: numbers, or words.
    """

    default: int | str
    values: range | tuple[str, ...]

    def read(self, text: str) -> int | str | None:
        """Return the value that a text means; None where it means none."""
        if isinstance(self.values, tuple):
            return text if text in self.values else None
        return int(text) if text.isdecimal() and int(text) in self.values else None

    @property
    def shown(self) -> str:
        """What it may be, for a person.

        >>> Option(4, range(1, 11)).shown, Option("rb", ("rb", "avl")).shown
        ('1 to 10', 'rb or avl')
        """
        if isinstance(self.values, tuple):
            return " or ".join(self.values)
        return f"{self.values[0]} to {self.values[-1]}"


@dataclass(frozen=True)
class Kind:
    """One policy.

    Parameters
    ----------
    description
        What it does, in a line.
    make
        Its class.
    fixed
        What makes one class several policies.
    options
        What may be said of it.
    """

    description: str
    make: Callable[..., FreeArea]
    fixed: Mapping[str, Any]
    options: Mapping[str, Option]


TREE: Final = Option("rb", ("rb", "avl", "none"))
LARGE: Final = Option(4, range(1, 11))

POLICIES: Final[dict[str, Kind]] = {
    "buddy-lifo": Kind("what was freed last is taken next", FreeLists, {}, {}),
    "buddy-fifo": Kind("what was freed last waits behind all others", FreeLists, {"to_tail": True}, {}),
    "buddy-grouped": Kind(
        "Linux today: zones, migratetypes, per-CPU lists, watermarks",
        Grouped,
        {},
        {"defrag_mode": Option(0, range(2))},
    ),
    "reserve": Kind(
        "1998: blocks of order t and more are kept whole unless n are left",
        FreeLists,
        {},
        {"t": Option(4, range(1, 11)), "n": Option(8, range(1, 1 << 20))},
    ),
    "gravity": Kind(
        "1998: small requests from the top, so that large areas gather at the bottom",
        Areas,
        {"rule": "gravity"},
        {"tree": TREE, "large": LARGE},
    ),
    "best-fit": Kind("the shortest area that holds the block", Areas, {"rule": "best-fit"}, {"tree": TREE}),
    "first-fit": Kind("the lowest place that holds the block", Areas, {"rule": "first-fit"}, {"tree": TREE}),
}
"""By name, in the order in which they are compared."""


def make(spec: str, ground: Ground, *, pure: bool = False) -> FreeArea:
    """Return a policy on a ground.

    Parameters
    ----------
    spec
        Such as ``reserve:t=4:n=8``.
    ground
        Where it works; it is only read.
    pure
        Run its single operations in plain Python even where there is numba.

    Raises
    ------
    ModelError
        There is no such policy or option, or an option cannot have that value.
    """
    name, *said = spec.split(":")
    if name not in POLICIES:
        raise ModelError(f"no policy {name!r}: there are {', '.join(POLICIES)}")
    kind = POLICIES[name]
    chosen = {option: each.default for option, each in kind.options.items()}
    for part in said:
        option, _, text = part.partition("=")
        if option not in kind.options:
            there = ", ".join(kind.options) or "none"
            raise ModelError(f"policy {name} has no option {option!r}: there is {there}")
        value = kind.options[option].read(text)
        if value is None:
            raise ModelError(f"policy {name}: {option}={text}: it may be {kind.options[option].shown}")
        chosen[option] = value
    return kind.make(spec, ground, pure=pure, **kind.fixed, **chosen)

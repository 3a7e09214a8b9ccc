"""What the page's scripts read: facts as JSON, and arrays packed, gzipped and in base64."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from vmprobe.analyses.map_answer import CHANGES, PAGE_KINDS
from vmprobe.analyses.report_words import owner_text
from vmprobe.render.paint import CHANGE_WEIGHTS, LABELS, SEVERITY
from vmprobe.units import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vmprobe.analyses.map_answer import Map, ZonePages, ZoneStrip

TRIED_PAGES: Final = 1 << 24
"""Single pages that are tried at most: what is in the way in 64 GiB; more could never fit."""

MIXED: Final = 255
"""In the array of uniform pageblocks: single pages of several kinds, which follow."""
LEFT_OUT: Final = 254
"""Several kinds, and left out."""

LEVEL: Final = 6
"""Of gzip: the highest takes three times as long for a hundredth less."""
PIECE_BLOCKS: Final = 1 << 13
STEP_BLOCKS: Final = 64
"""Pageblocks that are looked at, and that are packed, at once."""
_TYPES: Final = {"i4": "<i4", "u4": "<u4", "u2": "<u2", "u1": "u1"}


class Packed:
    """Arrays one after the other, each at a multiple of four bytes."""

    def __init__(self) -> None:
        self._data = bytearray()

    def add(self, array: NDArray[Any], code: str) -> dict[str, Any]:
        """Append an array and return where it is, as the scripts read it."""
        self._data.extend(bytes(-len(self._data) % 4))
        at = len(self._data)
        self._data.extend(array.astype(_TYPES[code], copy=False).tobytes())
        return {"type": code, "at": at, "length": len(array)}

    def text(self) -> str:
        """Return them gzipped, in base64."""
        return packed_text(bytes(self._data))


def packed_text(data: bytes) -> str:
    """Return bytes gzipped, in base64; the same for the same bytes."""
    return base64.b64encode(gzip.compress(data, LEVEL, mtime=0)).decode("ascii")


def script_json(value: Any) -> str:
    r"""Return JSON that cannot end the script element it stands in.

    >>> print(script_json("</script><!--"))
    "\u003c/script\u003e\u003c!--"
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def map_facts(answer: Map, packed: Packed) -> dict[str, Any]:
    """Return the pageblocks of every zone; their arrays go to `packed`."""
    after: list[dict[str, Any] | None] = [None] * len(answer.zones)
    if answer.forecast is not None:
        then = zip(answer.forecast.zones, answer.forecast.changes, strict=True)
        after = [{**_counts(zone, packed), "changes": packed.add(changes, "u1")} for zone, changes in then]
    return {
        "page_size": answer.page_size,
        "pages": 1 << answer.pageblock_order,
        "contents": [LABELS[name] for name in answer.contents],
        "severity": [SEVERITY.index(name) for name in answer.contents],
        "absent": answer.contents.index("absent"),
        "loud": answer.contents.index("one_unmovable_page_only"),
        "change_weights": [CHANGE_WEIGHTS.index(name) for name in CHANGES],
        "owners": [plain(owner_text(owner)) for owner in answer.owners],
        "zones": [
            {
                "node": zone.node,
                "zone": plain(zone.zone),
                "first_pfn": zone.first_pfn,
                "pageblocks": len(zone),
                "arrays": {
                    **_counts(zone, packed),
                    "owner": packed.add(zone.owner, "i4"),
                    "user": packed.add(zone.user, "i4"),
                },
                "after": then,
            }
            for zone, then in zip(answer.zones, after, strict=True)
        ],
    }


def _counts(zone: ZoneStrip, packed: Packed) -> dict[str, Any]:
    # Pageblocks of more than 64 Ki pages (16 KiB pages with huge pages of 2 GiB) are nobody's yet.
    names = ("free", "stays", "unknown", "absent")
    columns = {name: packed.add(getattr(zone, name), "u2") for name in names}
    return {**columns, "content": packed.add(zone.content, "u1")}


class PageKinds:
    """The kinds of single pages, as far as they fit.

    Parameters
    ----------
    pages
        Every frame of every zone.
    pageblock_pages
        Frames of a pageblock.
    budget_bytes
        Most that they may take, gzipped.
    """

    def __init__(self, pages: Sequence[ZonePages], pageblock_pages: int, budget_bytes: int) -> None:
        blocks = [zone.kinds.reshape(-1, pageblock_pages) for zone in pages]
        changes = [_changes(each) for each in blocks]
        fitting = _fitting(blocks, np.concatenate(changes), budget_bytes)
        shown = np.split(fitting, np.cumsum([len(each) for each in blocks])[:-1])
        packed = Packed()
        self._zones = []
        self.left_out_pageblocks = 0
        for each, mixed, chosen in zip(blocks, changes, shown, strict=True):
            uniform = np.where(mixed > 0, np.uint8(LEFT_OUT), each[:, 0])
            uniform[chosen] = MIXED
            self.left_out_pageblocks += int(np.count_nonzero(uniform == LEFT_OUT))
            pages_shown = each[chosen].ravel()
            self._zones.append({"uniform": packed.add(uniform, "u1"), "mixed": packed.add(pages_shown, "u1")})
        self.text = packed.text()

    def facts(self) -> dict[str, Any]:
        """Return where they are, as the scripts read it."""
        kinds = [name.replace("_", " ") for name in PAGE_KINDS]
        return {"kinds": kinds, "mixed": MIXED, "left_out": LEFT_OUT, "zones": self._zones}


def _changes(blocks: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return how often the kind changes from page to page in each pageblock: 0 where all are alike."""
    found = np.empty(len(blocks), np.int64)
    for first in range(0, len(blocks), PIECE_BLOCKS):
        part = blocks[first : first + PIECE_BLOCKS]
        found[first : first + PIECE_BLOCKS] = np.count_nonzero(part[:, 1:] != part[:, :-1], axis=1)
    return found


def _fitting(
    blocks: Sequence[NDArray[np.uint8]], changes: NDArray[np.int64], budget_bytes: int
) -> NDArray[np.bool_]:
    """Return of which pageblocks, all zones together, the single pages are shown.

    Those with the most changes of kind come first; the more even ones are told by what their pageblock holds.
    """
    most = min(int(np.count_nonzero(changes)), TRIED_PAGES // blocks[0].shape[1])
    by_interest = np.argsort(-changes, kind="stable")[:most]
    ends = np.cumsum([len(each) for each in blocks])
    pressed, used = zlib.compressobj(LEVEL), 0
    chosen = np.zeros(len(changes), np.bool_)
    for first in range(0, most, STEP_BLOCKS):
        rows = by_interest[first : first + STEP_BLOCKS]
        for at in rows.tolist():
            zone = int(np.searchsorted(ends, at, side="right"))
            used += len(pressed.compress(blocks[zone][at - ends[zone]].tobytes()))
        used += len(pressed.flush(zlib.Z_SYNC_FLUSH))
        if used > budget_bytes:
            break
        chosen[rows] = True
    return chosen

"""An answer as one JSON document, from the answer's own dataclasses.

Integers stay integers, None is null, and what JSON cannot hold (not-a-number, infinities) is written as a
string, so that every strict reader takes the document.
"""

from __future__ import annotations

import json
import math
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np


def to_plain(value: Any) -> Any:
    r"""Return `value` made of dicts, lists, strings, numbers, booleans and None alone.

    >>> to_plain((1, None, float("nan"), b"\x01")), to_plain({"a": Decimal("1.50")})
    ([1, None, 'nan', '01'], {'a': 1.5})
    >>> to_plain(np.array([[1, 2]], np.uint8)), to_plain(np.array([0.5, np.inf]))
    ([[1, 2]], [0.5, 'inf'])
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        items = value.tolist() if isinstance(value, np.ndarray) else value
        return [to_plain(item) for item in items]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return _scalar(value)


def _scalar(value: Any) -> Any:
    """Return what only ``vmprobe sql`` meets: decimals, dates, bytes, identifiers."""
    if isinstance(value, Decimal):
        return _number(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value)


def _number(value: Decimal) -> int | float | str:
    """Return an exact number; a decimal with more digits than a double holds stays exact as a string."""
    if not value.is_finite():
        return str(value)
    if value == value.to_integral_value():
        return int(value)
    return float(value) if Decimal(repr(float(value))) == value else str(value)


def dumps(value: Any, *, indent: int | None = 2) -> str:
    """Return `value` as JSON in ASCII."""
    return json.dumps(to_plain(value), indent=indent, allow_nan=False)

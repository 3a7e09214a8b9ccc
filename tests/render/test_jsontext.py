"""vmprobe.render.jsontext: one strict document; exact numbers."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from dataclasses import dataclass
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmprobe.render.jsontext import dumps, to_plain

plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(plain_values)
def test_plain_values_come_back_as_they_were(value: object) -> None:
    assert json.loads(dumps(value)) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2**64 - 1, 2**64 - 1),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (Decimal("0.5"), 0.5),
        (Decimal("3.00"), 3),
        (Decimal("0.12345678901234567890123"), "0.12345678901234567890123"),
        (Decimal("NaN"), "NaN"),
        (b"\x00\xff", "00ff"),
        (dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC), "2026-01-02T03:04:05+00:00"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (dt.timedelta(seconds=1.5), 1.5),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ({1: (2, None)}, {"1": [2, None]}),
        ("\udc80", "\udc80"),
    ],
)
def test_what_json_lacks_has_a_form(value: object, expected: object) -> None:
    assert to_plain(value) == expected
    assert json.loads(dumps(value), parse_constant=pytest.fail) == expected


@dataclass(frozen=True)
class Inner:
    nr_pages: int


@dataclass(frozen=True)
class Outer:
    name: str | None
    rows: tuple[Inner, ...]


def test_an_answer_is_its_fields() -> None:
    assert to_plain(Outer(None, (Inner(1), Inner(2)))) == {
        "name": None,
        "rows": [{"nr_pages": 1}, {"nr_pages": 2}],
    }


def test_the_document_is_ascii() -> None:
    assert dumps({"é": "→"}).isascii()

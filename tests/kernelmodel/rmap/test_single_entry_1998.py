"""The finding of 1998, as its page tells it: the page's own code is run."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "single-entry-1998.md"


def run(text: str) -> doctest.TestResults:
    """Run all blocks of a page in one namespace."""
    blocks = "".join(re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    test = doctest.DocTestParser().get_doctest(blocks, {}, PAGE.name, str(PAGE), 0)
    return doctest.DocTestRunner(verbose=False).run(test, out=lambda _: None)


def test_the_page_is_true() -> None:
    results = run(PAGE.read_text())
    assert results.failed == 0
    assert results.attempted > 30


def test_a_page_that_is_not_true_is_noticed() -> None:
    """Had the offset been stored rightly after all, the page would say so and fail."""
    assert run(PAGE.read_text().replace("('0x1000', '0x2000'", "('0x2000', '0x2000'")).failed == 1

"""The guests of the ring, booted two at a time, and the table that is printed at the end."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from lab.errors import UnavailableError
from lab.ring import table
from lab.ring.guests import GUESTS, Guest, boot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lab.guest import Outcome
    from lab.ring.visit import Visit

NR_AT_ONCE = 2
"""Guests side by side: as many as this kind of machine has CPUs, since emulation keeps more than one busy."""

COLUMNS = pytest.StashKey[dict[str, table.Column]]()


class Ring:
    """Boots each guest once, in the background, in the order of the table."""

    def __init__(self, guests: list[Guest], folder: Path, columns: dict[str, table.Column]) -> None:
        self.columns = columns
        self._pool = ThreadPoolExecutor(NR_AT_ONCE)
        self._visits: dict[str, Future[tuple[Outcome, Visit]]] = {
            guest.id: self._pool.submit(boot, guest, folder / guest.id.replace(" ", "-")) for guest in guests
        }

    def visit(self, guest: Guest) -> Visit:
        """Return what a guest brought back, or skip with the reason why it cannot run here."""
        column = self.columns[guest.id]
        try:
            outcome, visit = self._visits[guest.id].result()
        except UnavailableError as error:
            column.about = str(error)
            column.cells = dict.fromkeys(column.cells, f"({error})")
            pytest.skip(str(error))
        counted = visit.facts["rounds"]
        column.about = (
            f"{outcome.kernel.release}, booted in {outcome.boot_seconds:.0f} s, "
            f"{outcome.seconds:.0f} s in all, {counted['quiet']} quiet of {counted['attempts']} rounds"
        )
        return visit

    def close(self) -> None:
        """Drop what has not begun; a guest that runs ends by itself."""
        self._pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def ring(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ring]:
    """The guests that the chosen tests need."""
    specs = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    chosen = {params["guest"].id for params in specs if "guest" in params}
    columns = request.config.stash.setdefault(COLUMNS, table.empty())
    made = Ring([guest for guest in GUESTS if guest.id in chosen], tmp_path_factory.mktemp("ring"), columns)
    yield made
    made.close()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table, and keep it for docs/support.md."""
    columns = config.stash.get(COLUMNS, None)
    if columns is not None:
        terminalreporter.write_line("")
        terminalreporter.write(table.text(columns))
        table.save(columns)

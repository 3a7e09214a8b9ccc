"""The ring: every kernel and shape of guest, and what vmprobe says of it against witnesses that are not ours.

`inside` runs in the guest and only collects; `visit` opens what it brought back; the modules ``checks_*``
compare one thing each and can plant the fault that it must notice; `table` holds figures and reasons.
"""

from __future__ import annotations

from typing import Final

NR_ROUNDS: Final = 3
"""Photographs of each guest, all of which must equal their witnesses."""

"""``python3 -S -m lab.workloads NAME key=value ...``: make one layout, say the truth, hold it, free it.

One line of JSON goes to stdout; then nothing moves until stdin is closed. It ends when its parent ends.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

from lab.errors import LabError, UnavailableError
from lab.workloads import WORKLOADS
from lab.workloads.made import LIMIT_SECONDS, RefusedError, TooSlowError, need, status_of
from lab.workloads.memory import SET_PDEATHSIG, SET_THP_DISABLE, fold_rss, prctl

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import NoReturn

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
UNITS: Final = {"K": 10, "M": 20, "G": 30}


def main(words: list[str]) -> int:
    """Hold one workload and return the exit status."""
    try:
        _hold(words)
    except LabError as error:
        sys.stderr.write(f"{error}\n")
        return status_of(error)
    except (OSError, MemoryError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    return 0


def _hold(words: list[str]) -> None:
    need(
        bool(words) and words[0] in WORKLOADS,
        f"usage: NAME key=value ...; NAME is one of {', '.join(WORKLOADS)}",
    )
    name = words[0]
    function: Callable[..., Any] = getattr(importlib.import_module(f"lab.workloads.{name}"), name)
    seconds, parameters = parse(name, function.__wrapped__, words[1:])  # type: ignore[attr-defined] # set by contextmanager
    if os.uname().machine != "x86_64":
        raise UnavailableError(f"workloads know x86_64 alone, not {os.uname().machine}")
    for number in SIGNALS:
        signal.signal(number, _leave)
    prctl(SET_PDEATHSIG, signal.SIGTERM)  # not SIGKILL: there may be files to remove
    if name != "huge":
        # khugepaged would move our heap about later, when all should be still.
        prctl(SET_THP_DISABLE, 1)

    def late(_number: int, _frame: FrameType | None) -> NoReturn:
        raise TooSlowError(f"not done after {seconds:g} s (seconds=)")

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    with function(**parameters) as made:
        signal.setitimer(signal.ITIMER_REAL, 0)
        said = {key: value for key, value in parameters.items() if key != "seed"}
        truth = {"workload": name, "pid": os.getpid(), "seed": parameters["seed"], "parameters": said, **made}
        sys.stdout.write(json.dumps(truth) + "\n")
        sys.stdout.flush()
        fold_rss()
        while os.read(0, 1):
            pass
        # The end of a parent closes our input first and sends its signal then: it must not stop the cleaning.
        _be_deaf()


def parse(name: str, function: Callable[..., Any], words: list[str]) -> tuple[float, dict[str, Any]]:
    """Return the seconds that it may take, and every parameter of a workload.

    Numbers take K, M and G, powers of 1024.

    Raises
    ------
    RefusedError
        A word is no parameter of it, or one is missing.
    """
    kinds, parameters = dict(function.__annotations__), dict(function.__kwdefaults__ or {})
    del kinds["return"]
    kinds["seconds"], parameters["seconds"] = "float", LIMIT_SECONDS
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or key not in kinds:
            raise RefusedError(f"{name} has no {word!r}; it has {', '.join(f'{known}=' for known in kinds)}")
        try:
            parameters[key] = _value(kinds[key], text)
        except ValueError:
            raise RefusedError(f"{word!r}: not a number") from None
    missing = [f"{key}=" for key in kinds if key not in parameters]
    need(not missing, f"{name} needs {', '.join(missing)}")
    need(0 < parameters["seconds"] <= 3600, f"seconds={parameters['seconds']}: more than 0, at most 3600")
    return parameters.pop("seconds"), parameters


def _value(kind: str, text: str) -> int | float | str:
    if kind == "str":
        return text
    if kind == "float":
        return float(text)
    return int(text.rstrip("KMG")) << UNITS.get(text[-1:], 0)


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    """End in order, so that what is held is freed and files are removed."""
    _be_deaf()
    sys.exit(128 + number)


def _be_deaf() -> None:
    """Let nothing interrupt the end."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number in SIGNALS:
        # Not SIG_IGN: Python complains of a signal that came just before it.
        signal.signal(number, lambda *_: None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

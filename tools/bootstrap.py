"""Make a virtual environment and install this project into it: what ``make install`` runs.

Usage: bootstrap.py FOLDER EXTRAS

Runs on any Python 3.11 or later, also on a Debian without python3-venv, where `venv` cannot put pip into the
environment: pip then comes from the package index, as a wheel that runs without being installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
import venv
from pathlib import Path

INDEX = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")


def version(file: dict[str, object]) -> list[int]:
    """Return the version of a pip wheel as numbers; empty for what must not be chosen."""
    name, _, rest = str(file["filename"]).partition("-")
    words = rest.partition("-")[0].split(".")
    wanted = name == "pip" and rest.endswith("-none-any.whl") and not file.get("yanked")
    return [int(word) for word in words] if wanted and all(map(str.isdecimal, words)) else []


def fetch_pip(folder: Path) -> Path:
    """Download the newest pip wheel and return its path."""
    request = urllib.request.Request(
        f"{INDEX}/pip/", headers={"Accept": "application/vnd.pypi.simple.v1+json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        files = json.load(answer)["files"]
    newest = max((f for f in files if version(f)), key=version)
    wheel = folder / newest["filename"]
    with urllib.request.urlopen(urllib.request.urljoin(f"{INDEX}/pip/", newest["url"]), timeout=60) as answer:
        wheel.write_bytes(answer.read())
    return wheel


def main() -> None:
    """Make the environment, give it pip, install."""
    if sys.version_info < (3, 11):  # noqa: UP036 - this file alone runs before the requirement is checked
        sys.exit(
            f"vmprobe needs Python 3.11 or later; this is {sys.version.split()[0]}. Try `make PYTHON=...`"
        )
    target, extras = Path(sys.argv[1]), sys.argv[2]
    python = target / "bin" / "python"
    try:
        import ensurepip  # noqa: F401, PLC0415 - Debian leaves it out

        venv.create(target, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip"]
        subprocess.run([*pip, "install", "-q", "-e", f".[{extras}]"], check=True)
    except ImportError:
        venv.create(target, with_pip=False, clear=True)
        with tempfile.TemporaryDirectory() as folder:
            wheel = fetch_pip(Path(folder))
            subprocess.run([str(python), f"{wheel}/pip", "install", "-q", "-e", f".[{extras}]"], check=True)


if __name__ == "__main__":
    main()

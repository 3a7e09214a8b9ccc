"""Programs that the lab needs: installed where that is permitted, named otherwise."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lab.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGES: Final = {
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "depmod": "kmod",
    "dpkg-deb": "dpkg",
    "mkfs.ext4": "e2fsprogs",
    "mkswap": "util-linux",
    "mount": "mount",
}
"""Programs, here or in a guest (which sees this root file system), and the Debian package of each."""

SEARCH: Final = os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"))
APT_SECONDS: Final = 600

_ONE_AT_A_TIME: Final = threading.Lock()
"""Guests start side by side, and apt-get refuses to run beside itself."""


def ensure() -> None:
    """See to it that every program is there.

    Raises
    ------
    UnavailableError
        Something is missing and may not be installed.
    """
    if platform.machine() != "x86_64":
        raise UnavailableError(f"the lab boots amd64 kernels, and this is {platform.machine()}")
    if not vng().exists():
        raise UnavailableError(f"{vng()} is missing: `make install` puts virtme-ng there")
    with _ONE_AT_A_TIME:
        missing = [package for program, package in PACKAGES.items() if not shutil.which(program, path=SEARCH)]
        if missing:
            apt(["install", "-y", "--no-install-recommends", *missing], why=f"missing: {' '.join(missing)}")


def vng() -> Path:
    """Return the virtme-ng of this interpreter's environment."""
    return Path(sys.prefix) / "bin" / "vng"


def apt(arguments: Sequence[str], *, why: str, cwd: Path | None = None, as_root: bool = True) -> None:
    """Run apt-get.

    Parameters
    ----------
    arguments
        Of apt-get.
    why
        What for, as it begins an error.
    cwd
        Where a download goes.
    as_root
        Whether the command needs root; then the package lists are read first, which a clean machine lacks.

    Raises
    ------
    UnavailableError
        There is no apt-get, we are not root, or it failed.
    """
    shown = f"apt-get {' '.join(arguments)}"
    if shutil.which("apt-get") is None:
        raise UnavailableError(f"{why}; there is no apt-get here to get it with")
    if as_root and os.geteuid() != 0:
        raise UnavailableError(f"{why}; as root: `{shown}`")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    steps = [["apt-get", "update"]] if as_root and arguments[0] != "update" else []
    for command in (*steps, ["apt-get", *arguments]):
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=False,
                cwd=cwd,
                env=environment,
                timeout=APT_SECONDS,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            raise UnavailableError(f"{why}; `{shown}` took more than {APT_SECONDS} s") from None
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UnavailableError(f"{why}; `{' '.join(command)}` failed: {last}")

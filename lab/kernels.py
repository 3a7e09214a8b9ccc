"""Stock Debian kernels: which package each series is, unpacked into a cache and never installed.

An unpacked package needs no root, runs no install hook and leaves /boot alone; virtme-ng boots an image that
has ``lib/modules`` beside its folder.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab import tools
from lab.errors import UnavailableError

KERNELS: Final = {
    "6.1": r"linux-image-(6\.1\.0-\d+-amd64)-unsigned",
    "6.12": r"linux-image-(6\.12\.\d+\+deb12-amd64)-unsigned",
}
"""Series and the names of its packages, the release in the first group. Not the ``cloud`` flavours: no 9p."""


@dataclass(frozen=True)
class Kernel:
    """One unpacked kernel package."""

    series: str
    release: str
    root: Path

    @property
    def image(self) -> Path:
        """The file to boot."""
        return self.root / "boot" / f"vmlinuz-{self.release}"

    def lacks(self, options: tuple[str, ...]) -> list[str]:
        """Return which build options it was built without."""
        config = (self.root / "boot" / f"config-{self.release}").read_text(encoding="utf-8").splitlines()
        return [o for o in options if f"{o}=y" not in config and f"{o}=m" not in config]


def cache() -> Path:
    """Return the folder of unpacked kernels."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "vmprobe-lab"


def get(series: str) -> Kernel:
    """Return the newest kernel of a series that can be had, unpacking it if that was not done before.

    Raises
    ------
    UnavailableError
        Nobody knows the series, or its package is to be had neither from the archive nor in the cache.
    """
    if series not in KERNELS:
        raise UnavailableError(f"no kernel {series!r} is known; there are {', '.join(KERNELS)}")
    unpacked = _matching(series, [path.name for path in cache().glob("linux-image-*")])
    listed = _matching(series, _package_names(series))
    if not listed and not unpacked:
        tools.apt(["update"], why=f"no package list holds a kernel {series}")
        listed = _matching(series, _package_names(series))
        if not listed:
            raise UnavailableError(f"the archive has no package like {KERNELS[series]}")
    newest = max({**unpacked, **listed}.items(), key=lambda item: _version(item[0]))
    name, release = newest
    if name not in unpacked:
        try:
            _unpack(name, release)
        except UnavailableError:
            if not unpacked:
                raise
            name, release = max(unpacked.items(), key=lambda item: _version(item[0]))
    return Kernel(series, release, cache() / name)


def _matching(series: str, names: list[str]) -> dict[str, str]:
    """Return package name to kernel release."""
    found = (re.fullmatch(KERNELS[series], name) for name in names)
    return {match[0]: match[1] for match in found if match}


def _version(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


def _package_names(series: str) -> list[str]:
    if shutil.which("apt-cache") is None:
        return []
    command = ["apt-cache", "pkgnames", f"linux-image-{series}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.split()


def _unpack(name: str, release: str) -> None:
    """Download a package and unpack kernel, configuration and modules, whole or not at all."""
    cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache(), prefix=".unpack-") as folder:
        place = Path(folder)
        tools.apt(["download", name], why=f"kernel package {name}", cwd=place, as_root=False)
        (package,) = place.glob("*.deb")
        depmod = shutil.which("depmod", path=tools.SEARCH)
        assert depmod is not None, "tools.ensure comes first"
        for command in (
            ["dpkg-deb", "-x", str(package), str(place / "root")],
            [depmod, "-b", str(place / "root"), release],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise UnavailableError(f"kernel package {name}: {done.stderr.strip()}")
        shutil.rmtree(place / "root" / "usr", ignore_errors=True)
        try:
            (place / "root").rename(cache() / name)
        except OSError:
            if not (cache() / name).is_dir():  # another process may have been faster
                raise

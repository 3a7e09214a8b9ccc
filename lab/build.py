"""``python3 -m lab.build FOLDER``, in a guest: unpack a tree, archive and search it, and build in it.

A heavy job as developers know it: thousands of small files through the page cache, inodes and directory
entries in slabs, short-lived processes by the hundred, and more of it all than the guest has memory. What is
compiled and what lies in the files comes of a seed; in the end it is all removed. Needs cc and make, as
Debian's build-essential has them.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
from pathlib import Path
from typing import Final

from lab.errors import LabError, UnavailableError

NR_FOLDERS: Final = 40
LARGEST_BYTES: Final = 1 << 20
MIB: Final = 1 << 20

FUNCTION: Final = """int f%d(int a, int b)
{
    int s = %d;
    for (int i = 0; i < a; i++) {
        s += (i * b) ^ %d;
        if (s > %d)
            s -= b;
    }
    return s;
}
"""

CHURN: Final = """set -e
tar -cf all.tar tree
grep -rc zzzyyy tree | sort >found
rm -r tree/1*
tar -xf all.tar
"""
"""Beside the compiler: every file read twice, a quarter of them made anew."""


def unpack(folder: Path, nr_bytes: int, rng: random.Random) -> int:
    """Write files, most of them small, until there are so many bytes; return how many files."""
    for number in range(NR_FOLDERS):
        (folder / str(number)).mkdir(parents=True)
    nr_files = written = 0
    while written < nr_bytes:
        # The largest are some hundreds of times as long as the median, as in any tree of sources.
        size = min(LARGEST_BYTES, int(600 / (rng.random() + 0.002)))
        (folder / str(nr_files % NR_FOLDERS) / f"{nr_files}").write_bytes(rng.randbytes(size))
        written += size
        nr_files += 1
    return nr_files


def sources(folder: Path, nr_units: int, rng: random.Random) -> None:
    """Write a program of many units, and its Makefile."""
    for unit in range(nr_units):
        text = ["#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <math.h>\n"]
        text += [
            FUNCTION % (unit * 1000 + number, rng.randint(1, 99), rng.randint(1, 999), rng.randint(100, 9999))
            for number in range(rng.randint(5, 40))
        ]
        (folder / f"unit{unit}.c").write_text("".join(text))
    (folder / "main.c").write_text("int main(void) { return 0; }\n")
    objects = " ".join(f"unit{unit}.o" for unit in range(nr_units))
    (folder / "Makefile").write_text(f"CFLAGS = -O1 -g\nprogram: main.o {objects}\n\tcc -o $@ $^\n")


def main() -> None:
    """Do it all once.

    Raises
    ------
    UnavailableError
        There is no compiler.
    LabError
        A part of it failed.
    """
    parser = argparse.ArgumentParser("lab.build", description="Unpack a tree and build a program in it.")
    parser.add_argument("folder", type=Path, help="new")
    parser.add_argument("--units", type=int, default=24, help="that are compiled")
    parser.add_argument("--mib", type=int, default=60, help="of the tree")
    parser.add_argument("--jobs", type=int, default=8, help="of make")
    parser.add_argument("--seed", type=int, default=1998)
    parser.add_argument("--keep", action="store_true", help="do not remove it all at the end")
    options = parser.parse_args()
    if missing := [tool for tool in ("cc", "make") if shutil.which(tool) is None]:
        raise UnavailableError(f"no {missing[0]} here")
    folder, rng = options.folder, random.Random(options.seed)
    folder.mkdir()
    sources(folder, options.units, rng)
    unpack(folder / "tree", options.mib * MIB, rng)
    build = subprocess.Popen(["make", "-s", f"-j{options.jobs}"], cwd=folder)
    churn = subprocess.run(["sh", "-c", CHURN], cwd=folder, check=False)
    if build.wait() or churn.returncode:
        raise LabError(f"the build ended with {build.returncode}, the rest with {churn.returncode}")
    if not options.keep:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()

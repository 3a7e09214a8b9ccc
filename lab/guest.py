"""Boot a stock kernel in QEMU through virtme-ng, run one command in it, and bring files and exit status back.

The guest's root file system is this machine's, read only; the working tree is at ``$LAB_TREE``, and what the
command writes into ``$LAB_OUT`` is in the folder that the caller gave. Output and exit status travel through
that folder too: the console of an emulated machine loses lines.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lab import kernels, tools
from lab.errors import LabError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lab.shapes import Shape

TREE: Final = Path(__file__).resolve().parent.parent
PLAN: Final = ".lab"
"""Folder of the outputs that is ours: plan, command, console, output, status."""

TIMED_OUT: Final = 124
"""Exit status of a command that was ended at the time limit, as timeout(1) has it."""

POLL_SECONDS: Final = 0.1

MAX_BOOTS: Final = 2
"""An emulated machine now and then dies before its first command; once more, then it is a fault of ours."""

EMULATED_CPU: Final = "Haswell-noTSX"
"""The oldest model that DuckDB's wheels run on (they end with SIGILL on Westmere)."""

NO_NUMPY_AVX2: Final = "X86_V3"
"""What numpy must leave alone in an emulated guest: QEMU 7.2 faults on masked AVX2 loads (numpy's sort)."""


@dataclass(frozen=True)
class Outcome:
    """How a guest's command ended.

    Parameters
    ----------
    status
        Exit status of the command; `TIMED_OUT` when its time was over.
    folder
        What it wrote into ``$LAB_OUT``.
    kernel
        What it ran on.
    boot_seconds
        Uptime when the command began; None when it never did.
    seconds
        The whole guest, from start to power off.
    """

    status: int
    folder: Path
    kernel: kernels.Kernel
    boot_seconds: float | None
    seconds: float

    @property
    def stdout(self) -> str:
        """What the command printed."""
        return (self.folder / PLAN / "stdout").read_text(encoding="utf-8", errors="replace")

    @property
    def stderr(self) -> str:
        """What the command complained of."""
        return (self.folder / PLAN / "stderr").read_text(encoding="utf-8", errors="replace")


def run(
    shape: Shape,
    command: Sequence[str],
    folder: Path,
    *,
    time_limit_seconds: float = 600,
    nameless: bool = False,
    show: Callable[[bytes, bytes], None] | None = None,
) -> Outcome:
    """Boot a guest, run `command` as root, and wait for the power to go off.

    Parameters
    ----------
    shape
        The guest.
    command
        Words, run in the working tree with ``vmprobe`` and ``python3`` in its path.
    folder
        Empty or new; becomes ``$LAB_OUT``.
    time_limit_seconds
        Of the whole guest, boot included.
    nameless
        Leave no path of this machine in any process's maps: boot through a shell script, seconds slower, in
        place of virtme-ng's own init, which lies in this interpreter's environment.
    show
        Given what the command has newly written to stdout and to stderr, while it runs.

    Raises
    ------
    UnavailableError
        No guest of this shape can run here; the message is the exact reason.
    LabError
        The guest ended without running the command to its end.
    """
    tools.ensure()
    kernel = kernels.get(shape.kernel)
    if lacking := kernel.lacks(shape.needed_options):
        raise UnavailableError(f"{kernel.release} is built without {', '.join(lacking)}")
    plan = folder / PLAN
    plan.mkdir(parents=True)
    (plan / "command").write_text(f"exec {shlex.join(command)}\n", encoding="utf-8")
    (plan / "plan").write_text(_plan(shape, kernel), encoding="utf-8")
    for name in ("stdout", "stderr"):
        (plan / name).touch()
    begin = time.monotonic()
    in_time = False
    for nr_boot in range(1, MAX_BOOTS + 1):
        with contextlib.ExitStack() as stack:
            words = _vng_words(shape, kernel, folder, stack)
            if nameless:
                words.insert(1, "--no-virtme-ng-init")
            console = stack.enter_context((plan / f"console-{nr_boot}").open("wb"))
            deadline = begin + time_limit_seconds
            in_time = _wait(words, console.fileno(), plan, deadline, show or (lambda *_: None))
        if (plan / "refused").exists():
            raise UnavailableError((plan / "refused").read_text(encoding="utf-8").strip())
        if not in_time or (plan / "uptime").exists():
            break
    seconds = time.monotonic() - begin
    if in_time and not (plan / "status").exists():
        raise LabError(f"the guest ended without running the command to its end: {_last_words(plan)}")
    return Outcome(
        int((plan / "status").read_text(encoding="utf-8")) if in_time else TIMED_OUT,
        folder,
        kernel,
        float((plan / "uptime").read_text(encoding="utf-8")) if (plan / "uptime").exists() else None,
        seconds,
    )


def emulated() -> bool:
    """Whether guests run without KVM: there is none, it is closed, or no CPU feature is behind it.

    A /dev/kvm without ``vmx`` or ``svm`` creates a machine, and then cannot run a stock kernel in it.
    """
    words = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split()
    return not (os.access("/dev/kvm", os.R_OK | os.W_OK) and {"vmx", "svm"} & set(words))


@functools.cache
def interpreter() -> tuple[str, str]:
    """Return the Python that guests run, and the folder of its standard library.

    The system's when it can import what this one's environment holds: its paths are those of any Debian, so
    that a snapshot which was taken with it names nobody's home.
    """
    system = "/usr/bin/python3"
    code = "import sys, sysconfig; print(sys.version_info[:2], sysconfig.get_path('stdlib'), sep='\\n')"
    with contextlib.suppress(OSError):
        done = subprocess.run([system, "-I", "-c", code], capture_output=True, text=True, check=False)
        version, _, library = done.stdout.strip().partition("\n")
        if version == str(sys.version_info[:2]):
            return system, library
    return str(Path(sys.executable).resolve()), sysconfig.get_path("stdlib")


def _plan(shape: Shape, kernel: kernels.Kernel) -> str:
    """Return the assignments that `inside.sh` reads."""
    packages = Path(sysconfig.get_path("purelib"))
    if packages.is_relative_to(TREE):
        packages = Path("/run/vmprobe") / packages.relative_to(TREE)
    python, library = interpreter()
    values = {
        "LAB_KERNEL": str(kernel.root),
        "LAB_DISK": "1" if shape.scratch_bytes else "0",
        "LAB_SWAP": " ".join(f"{kind}:{size}" for kind, size in shape.swap),
        "LAB_KSM": "1" if shape.ksm else "0",
        "LAB_HUGEPAGES": str(shape.hugepages),
        "LAB_PYTHON": python,
        "LAB_LIBRARY": library,
        "LAB_PYTHONPATH": f"/run/vmprobe:{packages}",
        "LAB_NUMPY": NO_NUMPY_AVX2 if emulated() else "",
    }
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def _vng_words(shape: Shape, kernel: kernels.Kernel, folder: Path, stack: contextlib.ExitStack) -> list[str]:
    """Return the command line of virtme-ng."""
    shared = (
        ("labtree", TREE, "readonly=on,"),
        ("lablib", Path(interpreter()[1]), "readonly=on,"),
        ("labout", folder.resolve(), ""),
    )
    qemu = [
        f"-virtfs local,path={path},mount_tag={tag},{mode}security_model=none,multidevs=remap"
        for tag, path, mode in shared
    ]
    if shape.scratch_bytes:
        disk = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vmprobe-lab-"))) / "disk"
        disk.touch()
        os.truncate(disk, shape.scratch_bytes)
        qemu.append(f"-drive file={disk},if=virtio,format=raw,cache=unsafe")
    words = [str(tools.vng()), "-r", str(kernel.image), "--force-9p", "--user", "root"]

    words += ["--cpus", str(shape.cpus), "--append", shape.kernel_parameters]
    if emulated():
        words.append("--disable-kvm")
        qemu.append(f"-cpu {EMULATED_CPU}")
    words += ["--memory", f"{shape.memory_bytes >> 20}M"]
    if shape.nodes > 1:
        for node in range(shape.nodes):
            cpus = ",".join(f"cpus={cpu}" for cpu in range(node, shape.cpus, shape.nodes))
            words += ["--numa", f"{(shape.memory_bytes >> 20) // shape.nodes}M,{cpus}"]
    words.append(f"--qemu-opts={' '.join(qemu)}")
    return [*words, "--", "sh", str(TREE / "lab" / "inside.sh")]


def _wait(
    words: list[str], console: int, plan: Path, deadline: float, show: Callable[[bytes, bytes], None]
) -> bool:
    """Run until the power goes off; return False when the time was over and the guest was ended."""
    bin_folder = str(Path(sys.prefix) / "bin")
    environment = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{tools.SEARCH}"}
    # A last resort for the case that we are killed: timeout(1) ends the guest in our place.
    limit = max(1, round(deadline - time.monotonic()) + 30)
    guest = subprocess.Popen(
        ["timeout", "--kill-after=5", str(limit), *words],
        stdin=subprocess.DEVNULL,
        stdout=console,
        stderr=console,
        env=environment,
        start_new_session=True,
    )
    try:
        with _news(plan / "stdout") as out, _news(plan / "stderr") as err:
            while guest.poll() is None and time.monotonic() < deadline:
                show(out(), err())
                time.sleep(POLL_SECONDS)
            show(out(), err())
        return guest.returncode is not None
    finally:
        # QEMU is a grandchild: it ends with the group that it belongs to.
        if guest.poll() is None:
            os.killpg(guest.pid, signal.SIGKILL)
        guest.wait()


@contextlib.contextmanager
def _news(path: Path) -> Iterator[Callable[[], bytes]]:
    """Give a function that returns what a file has got since its last call."""
    with path.open("rb") as file:
        yield file.read


def _last_words(plan: Path) -> str:
    """Return the line that most likely says what went wrong in a guest."""
    for path in (plan / "setup", *sorted(plan.glob("console-*"), reverse=True)):
        with contextlib.suppress(OSError):
            lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
            told = [line.strip() for line in lines if line.strip()]
            if told:
                return f"{told[-1]} ({path})"
    return "its console is empty"

"""Memory that drivers map: rings, maps and buffers, the kernel's own pages, a guest's memory."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from lab.errors import UnavailableError
from lab.workloads import look
from lab.workloads.memory import LIBC, PAGE, READ, SHARED, Area, failed
from tests.live.workloads import witness
from tests.live.workloads.anonymous import NR_PAGES, small
from tests.live.workloads.bare import Keep, bare, special
from tests.live.workloads.files import mapping
from tests.live.workloads.made import Expected, Made

if TYPE_CHECKING:
    from tests.live.workloads.made import Holding

NR_RING: Final = 16
SOL_PACKET, PACKET_RX_RING = 263, 5
BPF, BPF_MAP_CREATE, BPF_ARRAY, BPF_MMAPABLE = 321, 0, 2, 1 << 10
PERF_EVENT_OPEN, PERF_SOFTWARE, PERF_DUMMY, PERF_ATTR_BYTES = 298, 1, 9, 112
UDMABUF_CREATE, SEAL_SHRINK = 0x40187542, 2
KVM_CREATE_VM, KVM_SET_MEMORY = 0xAE01, 0x4020AE46
VIDEO_ROM: Final = 0xC0000
"""Address of read-only memory of old machines, which /dev/mem gives to root also where it is strict."""


def _as_if(nr_pages: int) -> Area:
    """Return plain memory for a control."""
    area = small(nr_pages)
    area.stamp(1)
    return area


@contextmanager
def vdso(control: bool) -> Holding:
    """Keep the vdso, which every other process has; the control does not."""

    def work() -> Keep:
        start, nr_bytes = special("[vdso]")
        for at in range(start, start + nr_bytes, PAGE):
            ctypes.string_at(at, 1)
        return Keep(ranges=[] if control else [(start, nr_bytes)])

    with bare(work) as (one,):
        nr = witness.present_pages(one.pid) - 1
        look.expect_equal("pages of the vdso", nr > 0, not control)
        yield Made([one.pid], Expected(frames=nr, processes=1, least=("processes",)))


@contextmanager
def data_of_vdso(control: bool) -> Holding:
    """Keep the data page of the vdso, a mapping of frame numbers; the control does not."""

    def work() -> Keep:
        return Keep(ranges=[] if control else [special("[vvar]")])

    with bare(work) as (one,):
        look.expect_equal("VmFlags pf", "pf" in look.text(f"/proc/{one.pid}/smaps").split(), not control)
        yield Made([one.pid], Expected(processes=1, least=("processes",)))


@contextmanager
def pfnmap_memory(control: bool) -> Holding:
    """Map read-only memory of the machine through /dev/mem; the control maps none."""

    def work() -> Keep:
        if control:
            return Keep([_as_if(NR_RING)])
        try:
            fd = os.open("/dev/mem", os.O_RDONLY)
        except OSError as error:
            raise UnavailableError(f"/dev/mem: {error.strerror}") from error
        try:
            return Keep([Area(NR_RING, prot=READ, flags=SHARED, fd=fd, offset=VIDEO_ROM)])
        except OSError as error:
            raise UnavailableError(f"/dev/mem: {error}") from error

    with bare(work) as (one,):
        yield Made([one.pid], Expected(processes=1))


@contextmanager
def packet_ring(control: bool) -> Holding:
    """Map the ring of a packet socket; the control maps none."""

    def work() -> Keep:
        try:
            ring = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            blocks = struct.pack("=4I", PAGE, NR_RING, PAGE // 2, NR_RING * 2)
            ring.setsockopt(SOL_PACKET, PACKET_RX_RING, blocks)
        except OSError as error:
            raise UnavailableError(f"packet socket: {error.strerror}") from error
        fd = ring.detach()
        return Keep([_as_if(NR_RING) if control else mapping(fd, NR_RING)], fds=[fd])

    with bare(work) as (one,):
        look.expect_equal("present pages", witness.present_pages(one.pid), NR_RING + 1)
        yield Made([one.pid], Expected(frames=NR_RING, processes=1))


@contextmanager
def bpf_map(control: bool) -> Holding:
    """Map an array of BPF; the control has none."""

    def work() -> Keep:
        if control:
            return Keep([_as_if(NR_RING)])
        attributes = struct.pack("=5I", BPF_ARRAY, 4, PAGE, NR_RING, BPF_MMAPABLE).ljust(72, b"\0")
        fd = LIBC.syscall(BPF, BPF_MAP_CREATE, attributes, len(attributes))
        if fd < 0:
            raise UnavailableError(str(failed("bpf map")))
        return Keep([mapping(fd, NR_RING)], fds=[fd])

    with bare(work) as (one,):
        look.expect_equal("present pages", witness.present_pages(one.pid), NR_RING + 1)
        yield Made([one.pid], Expected(frames=NR_RING, processes=1))


@contextmanager
def perf_ring(control: bool) -> Holding:
    """Map the ring of a performance event; the control maps none."""

    def work() -> Keep:
        attributes = struct.pack("=2IQ", PERF_SOFTWARE, PERF_ATTR_BYTES, PERF_DUMMY)
        fd = LIBC.syscall(PERF_EVENT_OPEN, attributes.ljust(PERF_ATTR_BYTES, b"\0"), 0, -1, -1, 0)
        if fd < 0:
            raise UnavailableError(str(failed("perf_event_open")))
        return Keep([_as_if(NR_RING + 1) if control else mapping(fd, NR_RING + 1)], fds=[fd])

    with bare(work) as (one,):
        # Where it is a mapping of frame numbers (seen on 6.18), pagemap shows nothing of it.
        nr = witness.present_pages(one.pid) - 1
        yield Made([one.pid], Expected(frames=nr or None, processes=1))


@contextmanager
def dma_buf(control: bool) -> Holding:
    """Map a buffer for devices that is made of a memfd; the control maps the memfd."""

    def work() -> Keep:
        memory = os.memfd_create("buffer", os.MFD_ALLOW_SEALING)
        os.truncate(memory, NR_RING * PAGE)
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, SEAL_SHRINK)
        if control:
            return Keep([mapping(memory, NR_RING)])
        try:
            device = os.open("/dev/udmabuf", os.O_RDWR)
            fd = fcntl.ioctl(
                device, UDMABUF_CREATE, bytearray(struct.pack("=2I2Q", memory, 0, 0, NR_RING * PAGE))
            )
        except OSError as error:
            raise UnavailableError(f"/dev/udmabuf: {error.strerror}") from error
        return Keep([mapping(fd, NR_RING)], fds=[fd])

    with bare(work) as (one,):
        yield Made([one.pid], Expected(processes=1, bytes=NR_RING * PAGE))


@contextmanager
def kvm_guest(control: bool) -> Holding:
    """Give memory to a virtual machine; the control opens the device and makes none."""

    def work() -> Keep:
        try:
            device = os.open("/dev/kvm", os.O_RDWR)
        except OSError as error:
            raise UnavailableError(f"/dev/kvm: {error.strerror}") from error
        area, fds = _as_if(NR_PAGES), [device]
        if not control:
            try:
                fds.append(fcntl.ioctl(device, KVM_CREATE_VM, 0))
            except OSError as error:
                raise UnavailableError(f"/dev/kvm makes no machine: {error.strerror}") from error
            region = struct.pack("=2I3Q", 0, 0, 0, area.nr_bytes, area.start)
            fcntl.ioctl(fds[1], KVM_SET_MEMORY, region)
        return Keep([area], fds=fds)

    with bare(work) as (one,):
        yield Made([one.pid], Expected(processes=1))

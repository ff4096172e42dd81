"""The real daemon with disks, and an initiator that knows what it has written to them."""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.daemon.harness import PATIENCE, SCST_TGT, Daemon
from tests.support.initiator import Initiator, Task
from tests.support.iscsi_login import ISID, NAME

TARGET = "iqn.2005-03.org.example:disk"
BLOCK = 512
CHUNK = 64 << 10
"""Bytes that a `Writer` writes at once."""


def manage(path: str, command: str) -> None:
    """Write a line to a file of the tree, as a shell does."""
    Path(SCST_TGT, path).write_text(f"{command}\n")


def make_disk(path: Path, size: int = 4 << 20) -> Path:
    """A new file of *size* bytes of zeros; returns its path."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


def export(*disks: Path) -> None:
    """Make a device of each file, called as the file, and show them as LUNs 0, 1, ... to all."""
    manage("targets/iscsi/mgmt", f"add_target {TARGET}")
    for lun, disk in enumerate(disks):
        manage("handlers/vdisk_fileio/mgmt", f"add_device {disk.name} filename={disk}")
        manage(f"targets/iscsi/{TARGET}/luns/mgmt", f"add {disk.name} {lun}")
    manage(f"targets/iscsi/{TARGET}/enabled", "1")
    manage("targets/iscsi/enabled", "1")


@contextmanager
def serving(directory: Path, *disks: Path) -> Iterator[Daemon]:
    """A daemon with state below *directory* that exports *disks*."""
    with Daemon(directory, behaviour=None).ready() as daemon:
        export(*disks)
        yield daemon


def log_in(daemon: Daemon, name: str = NAME, isid: bytes = ISID) -> Initiator:
    """A normal session."""
    initiator = Initiator.connect("127.0.0.1", daemon.port, name=name, isid=isid, timeout=PATIENCE)
    initiator.login(TARGET)
    return initiator


def settle(initiator: Initiator, lun: int = 0) -> None:
    """Fetch the unit attentions of a LUN: TEST UNIT READY until it is."""
    while initiator.command(bytes(6), lun=lun).status:
        pass


def read(initiator: Initiator, lba: int, blocks: int, lun: int = 0) -> Task:
    """READ(10)."""
    cdb = struct.pack(">BxIxHx", 0x28, lba, blocks)
    return initiator.command(cdb, expect=blocks * BLOCK, lun=lun)


def write(initiator: Initiator, lba: int, data: bytes, lun: int = 0) -> Task:
    """WRITE(10), sent and not waited for."""
    cdb = struct.pack(">BxIxHx", 0x2A, lba, len(data) // BLOCK)
    return initiator.issue(cdb, data_out=data, lun=lun)


def synchronize(initiator: Initiator, lun: int = 0) -> Task:
    """SYNCHRONIZE CACHE(10) of everything."""
    return initiator.command(b"\x35" + bytes(9), lun=lun)


class Writer:
    """Writes chunks over and over, each time with another content, several at once.

    Attributes:
        acknowledged: by chunk, the generation that was last answered with GOOD.
        flushed: the same as it was when a SYNCHRONIZE CACHE was last answered.
        issued: by chunk, the generation that was last sent.
    """

    def __init__(self, initiator: Initiator, chunks: int, depth: int = 4) -> None:
        self.initiator = initiator
        self.acknowledged = dict.fromkeys(range(chunks), 0)
        self.issued = dict(self.acknowledged)
        self.flushed = dict(self.acknowledged)
        self._depth = depth

    def rounds(self) -> Iterator[int]:
        """Write everything, then flush; yield the generation, and begin again."""
        for generation in itertools.count(1):
            chunks = iter(self.acknowledged)
            while batch := list(itertools.islice(chunks, self._depth)):
                tasks = []
                for chunk in batch:
                    self.issued[chunk] = generation
                    data = content(chunk, generation)
                    tasks.append(write(self.initiator, chunk * (CHUNK // BLOCK), data))
                for chunk, task in zip(batch, tasks, strict=True):
                    assert self.initiator.wait(task).status == 0, task.sense.hex()
                    self.acknowledged[chunk] = generation
            assert synchronize(self.initiator).status == 0
            self.flushed = dict(self.acknowledged)
            yield generation

    def check(self, data: bytes) -> None:
        """Every block of *data* must have acknowledged data, or data sent after that."""
        for chunk, oldest in self.acknowledged.items():
            assert oldest >= self.flushed[chunk]
            generations = range(oldest, self.issued[chunk] + 1)
            allowed = {content(chunk, generation)[:BLOCK] for generation in generations}
            for at in range(chunk * CHUNK, (chunk + 1) * CHUNK, BLOCK):
                found = data[at : at + BLOCK]
                assert found in allowed, f"at {at}: {found[:8].hex()} is not of {generations}"


def content(chunk: int, generation: int) -> bytes:
    """What `Writer` writes: zeros at first, as in a new file."""
    if generation == 0:
        return bytes(CHUNK)
    return struct.pack(">II", chunk, generation) * (CHUNK // 8)


def resident(daemon: Daemon) -> int:
    """The daemon's resident set (bytes)."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) << 10


def descriptors(daemon: Daemon) -> int:
    """How many descriptors the daemon has open."""
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))

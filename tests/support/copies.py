"""Parameter lists of third-party copies, built from the standards by hand (SPC-4, SBC-4)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio

from scstfs.handlers.vdisk import VdiskDevice
from tests.support.fake_store import FakeStore
from tests.support.target import Initiator, Result, System

Disks = tuple[VdiskDevice, VdiskDevice]
"""A source, LUN 0, with DATA at its beginning, and a destination, LUN 1."""

BLOCK = 512
DATA = os.urandom(64 * BLOCK)

COPY_ABORTED = (0xA, 0x00, 0x00)
INVALID_FIELD = (0x5, 0x24, 0x00)

ZERO_TOKEN = bytes.fromhex("ffff0001 0000 01f8") + bytes(504)


def be(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big")


def target_descriptor(device: VdiskDevice, *, block_size: int | None = None) -> bytes:
    """An identification descriptor (E4h) with the device's EUI-64 designator."""
    name = next(d for d in device.identifiers() if d[1] == 0x02)
    size = block_size or 1 << device.block_shift
    return bytes((0xE4, 0, 0, 0)) + name.ljust(25, b"\0") + be(size, 3)


NULL_TARGET = bytes((0xE4, 0x20)) + bytes(30)


@dataclass(frozen=True)
class Segment:
    """Blocks of ``source`` (an index of the targets) to ``destination``."""

    source: int
    destination: int
    blocks: int
    source_lba: int = 0
    destination_lba: int = 0
    counts_destination: bool = False

    def encode(self) -> bytes:
        flags = 0x02 if self.counts_destination else 0
        return (
            bytes((0x02, flags, 0, 0x18))
            + be(self.source, 2)
            + be(self.destination, 2)
            + bytes(2)
            + be(self.blocks, 2)
            + be(self.source_lba, 8)
            + be(self.destination_lba, 8)
        )


def lid1(targets: Sequence[bytes], segments: Sequence[bytes], *, list_id: int = 0) -> bytes:
    """A parameter list of EXTENDED COPY (LID1); list identifier 0 means that there is none."""
    usage = 0x00 if list_id else 0x18
    body, tail = b"".join(targets), b"".join(segments)
    head = bytes((list_id, usage)) + be(len(body), 2) + bytes(4) + be(len(tail), 4) + bytes(4)
    return head + body + tail


def lid4(
    targets: Sequence[bytes], segments: Sequence[bytes], *, list_id: int = 0, immed: bool = False
) -> bytes:
    """A parameter list of EXTENDED COPY (LID4)."""
    usage = 0x00 if list_id else 0x18
    body, tail = b"".join(targets), b"".join(segments)
    head = bytes((0x01, usage)) + be(32, 2) + bytes(11) + bytes((immed,))
    head += bytes((0xFF, 0, 0, 0)) + be(list_id, 4) + bytes(18)
    return head + be(len(body), 2) + be(len(tail), 2) + be(0, 2) + body + tail


def extended_copy(data: bytes, action: int = 0) -> bytes:
    return bytes((0x83, action)) + bytes(8) + be(len(data), 4) + bytes(2)


def receive(action: int, list_id: bytes, length: int) -> bytes:
    return bytes((0x84, action)) + list_id.ljust(8, b"\0") + be(length, 4) + bytes(2)


def ranges(extents: Sequence[tuple[int, int]]) -> bytes:
    return b"".join(be(lba, 8) + be(blocks, 4) + bytes(4) for lba, blocks in extents)


def populate(extents: Sequence[tuple[int, int]], *, timeout: int = 0) -> bytes:
    body = ranges(extents)
    head = be(14 + len(body), 2) + bytes(2) + be(timeout, 4) + bytes(6) + be(len(body), 2)
    return head + body


def write_using(
    token: bytes,
    extents: Sequence[tuple[int, int]],
    *,
    offset: int = 0,
    immed: bool = False,
    delete: bool = False,
) -> bytes:
    body = ranges(extents)
    flags = (0x01 if immed else 0) | (0x02 if delete else 0)
    head = be(534 + len(body), 2) + bytes((flags,)) + bytes(5) + be(offset, 8)
    return head + token + bytes(6) + be(len(body), 2) + body


def token_cdb(action: int, list_id: int, length: int) -> bytes:
    return bytes((0x83, action)) + bytes(4) + be(list_id, 4) + be(length, 4) + bytes(2)


async def populate_token(
    initiator: Initiator,
    extents: Sequence[tuple[int, int]],
    *,
    list_id: int = 1,
    lun: int = 0,
    timeout: int = 0,
) -> Result:
    data = populate(extents, timeout=timeout)
    return await initiator.execute(token_cdb(0x10, list_id, len(data)), data, lun=lun)


async def write_using_token(
    initiator: Initiator,
    token: bytes,
    extents: Sequence[tuple[int, int]],
    *,
    list_id: int = 2,
    lun: int = 0,
    offset: int = 0,
    immed: bool = False,
    delete: bool = False,
) -> Result:
    data = write_using(token, extents, offset=offset, immed=immed, delete=delete)
    return await initiator.execute(token_cdb(0x11, list_id, len(data)), data, lun=lun)


async def token_information(initiator: Initiator, list_id: int = 1, lun: int = 0) -> Result:
    return await initiator.execute(receive(0x07, be(list_id, 4), 4096), data_in=4096, lun=lun)


async def fetch_token(initiator: Initiator, list_id: int = 1, lun: int = 0) -> bytes:
    """The token that a POPULATE TOKEN made."""
    data = (await token_information(initiator, list_id, lun)).data
    sense_length = data[13]
    tokens = data[32 + sense_length :]
    assert be(len(tokens) - 4, 4) == tokens[:4]
    return tokens[6:518]


def content(system: System, name: str = "destination") -> bytes:
    """The contents of a disk's file."""
    return (system.directory / name).read_bytes()


async def copy(
    initiator: Initiator, disks: Disks, *segments: Segment, list_id: int = 0, lun: int = 0
) -> Result:
    """EXTENDED COPY (LID1) between the disks."""
    data = lid1(
        [target_descriptor(disk) for disk in disks],
        [segment.encode() for segment in segments],
        list_id=list_id,
    )
    return await initiator.execute(extended_copy(data), data, lun=lun)


async def held_copy(
    system: System, disks: Disks, *, list_id: int = 0
) -> tuple[Initiator, FakeStore, Callable[[], Result]]:
    """A copy of blocks 0 to 7 that is held when it writes."""
    store = FakeStore(1 << 20)
    disks[1].medium.install(store)
    store.pause("write")
    initiator = system.initiator("copier")
    data = lid1(
        [target_descriptor(disk) for disk in disks],
        [Segment(0, 1, 8).encode()],
        list_id=list_id,
    )
    cmd = initiator.start(extended_copy(data), data)
    while not store.calls:
        await trio.lowlevel.checkpoint()
    return initiator, store, lambda: cmd.result


async def results(initiator: Initiator, list_id: int, action: int = 0) -> Result:
    """RECEIVE COPY STATUS (LID1), or with another service action what that gives."""
    return await initiator.execute(receive(action, bytes((list_id,)), 512), data_in=512)

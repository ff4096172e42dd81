"""The fast path of iSCSI: it answers what the general way would have answered.

Each input is run twice, on two targets of which one has no fast path: what is sent, what is on the
disk in the end and how the connection ends must be the same.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

import trio
from fastcrc import crc32

from fuzz.memory import DIRECTORY
from fuzz.source import Source
from scstfs.drivers.iscsi.config import IscsiTarget
from scstfs.drivers.iscsi.nexus import Nexus
from scstfs.drivers.iscsi.server import Server
from scstfs.drivers.iscsi.wire import Flusher, Wire
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.iscsi.admission import LoginResult
from scstfs.iscsi.connection import Connection
from scstfs.iscsi.discovery import Portal
from scstfs.iscsi.errors import ProtocolError
from scstfs.iscsi.keys import Digest
from scstfs.iscsi.negotiate import SessionParameters
from scstfs.iscsi.receive import Receiver
from scstfs.iscsi.transmit import Transmitter
from tests.support import iscsi_wire as wire
from tests.support.fake_store import FakeStore
from tests.support.iscsi_wire import FINAL, READ, WRITE, Pdu
from tests.support.whole import Whole, whole

_BLOCK: Final = 512
_SIZE: Final = 64 * _BLOCK
_STEPS: Final = 64
_DATA: Final = bytes(range(1, 255)) * 40
_PORTAL: Final = Portal("127.0.0.1", 3260)

#: Operation codes of READ and WRITE, with where LBA and number of blocks are (offset, length).
_CDBS: Final = (
    (0x08, 6, (2, 2), (4, 1)),
    (0x28, 10, (2, 4), (7, 2)),
    (0xA8, 12, (2, 4), (6, 4)),
    (0x88, 16, (2, 8), (10, 4)),
)

_ODD: Final = (
    *("blocks", "lba", "cdb", "data", "ahs", "immediate", "flags", "lun", "tag", "length"),
    *("number", "header"),
)


@dataclass(eq=False)
class _StillWire:
    """A connection without a socket; nothing is sent until it is asked for."""

    flusher: Flusher
    tx: Transmitter = field(default_factory=Transmitter)
    peer: Portal = _PORTAL
    local: Portal = _PORTAL
    is_writing: bool = False
    reason: str = ""

    def flush(self) -> None:
        """There is nowhere to send to."""

    def close(self, why: str) -> None:
        """The connection is to end."""
        self.reason = self.reason or why


class _Scripted:
    """Pieces of what an initiator sends, the same each time."""

    def __init__(self, source: Source) -> None:
        self.source = source
        digests = (Digest.NONE, Digest.CRC32C)
        self.parameters = SessionParameters(
            initial_r2t=source.byte() & 1,
            immediate_data=source.byte() < 230,
            max_recv_data_segment_length=source.choose((4096, 512, 8192)),
            max_xmit_data_segment_length=source.choose((4096, 512, 8192)),
            max_burst_length=source.choose((8192, 512, 4096)),
            first_burst_length=source.choose((4096, 4096, 512)),
            header_digest=source.choose(digests),
            data_digest=source.choose(digests),
        )
        self.depth = 1 + source.byte() % 64
        self.read_only = source.byte() > 230
        self.cmd_sn = source.choose((1, 0xFFFFFFFE))

    def pieces(self) -> Iterator[bytes]:
        """The stream, cut anywhere."""
        source, waiting, number = self.source, b"", self.cmd_sn
        for _ in range(_STEPS):
            if not source.more:
                break
            pdu = self._command(number)
            number = (number + 1) & 0xFFFFFFFF
            waiting += self._encoded(pdu)
            kind = source.byte()
            if kind < 160:
                continue
            cut = len(waiting) if kind < 220 else source.number(len(waiting))
            yield waiting[:cut]
            waiting = waiting[cut:]
        yield waiting

    def _command(self, number: int) -> Pdu:
        """A READ or WRITE, with one thing odd about it now and then."""
        source = self.source
        code, size, lba_at, blocks_at = source.choose(_CDBS)
        writes = source.flag()
        odd = source.choose(_ODD) if source.byte() > 200 else ""
        blocks = source.byte() if odd == "blocks" else source.choose((1, 1, 2, 4, 8))
        lba = source.number(1 << 40) if odd == "lba" else source.byte() % 60
        cdb = bytearray(16)
        cdb[0] = code + (2 if writes else 0)
        for (at, length), value in ((lba_at, lba), (blocks_at, blocks)):
            cdb[at : at + length] = (value % 256**length).to_bytes(length, "big")
        if odd == "cdb":
            cdb[source.choose((1, size - 1, source.byte() % 16))] ^= 1 << source.byte() % 8
        length = blocks * _BLOCK
        direction = WRITE if writes else READ
        pdu = Pdu.make(
            wire.SCSI_COMMAND,
            data=_DATA[: source.number(length) if odd == "data" else length] if writes else b"",
            ahs=bytes(4) if odd == "ahs" else b"",
            immediate=odd == "immediate",
            flags=source.byte() if odd == "flags" else FINAL | direction | source.byte() % 2,
            lun=bytes((0, odd == "lun")),
            itt=source.number(0xFFFFFFFF) if odd == "tag" else number % 12,
            expected_length=source.number(2 * length) if odd == "length" else length,
            cmd_sn=number + source.byte() - 128 if odd == "number" else number,
            cdb=bytes(cdb),
        )
        if odd == "header":
            pdu.header[source.byte() % 48] ^= source.byte()
        return pdu

    def _encoded(self, pdu: Pdu) -> bytes:
        spoiled = self.source.byte()
        head, body = bytes(pdu.header) + pdu.ahs, pdu.data + bytes(-len(pdu.data) % 4)
        if self.parameters.has_header_digest:
            head += _digest(head, wrong=spoiled == 255)
        if self.parameters.has_data_digest and body:
            body += _digest(body, wrong=spoiled == 254)
        return head + body


def _digest(data: bytes, *, wrong: bool) -> bytes:
    return (crc32.iscsi(data) ^ wrong).to_bytes(4, "little")


def run(data: bytes) -> None:
    """Run ``data`` with the fast path and without."""
    with tempfile.TemporaryDirectory(prefix="scstfs-fuzz.", dir=DIRECTORY) as directory:
        quick = trio.run(_outcome, data, Path(directory, "quick"), True)
        slow = trio.run(_outcome, data, Path(directory, "slow"), False)
    assert quick == slow, "the fast path makes a difference"


async def _outcome(data: bytes, directory: Path, fast: bool) -> tuple[object, ...]:
    """What is sent for each piece, how it ends, and what is on the disk then."""
    script = _Scripted(Source(data))
    directory.mkdir()
    async with whole(directory) as everything:
        store = await _add_disk(everything, read_only=script.read_only)
        target = everything.iscsi.targets["iqn.t"]
        server = Server(everything.scst, everything.iscsi)
        nexus, connection = _open(server, target, script)
        if not fast:
            connection._fast = lambda connection: None
        sent, reason = [], ""
        try:
            for piece in script.pieces():
                sent.append(await _arrive(connection, piece))
        except ProtocolError as fault:
            reason = fault.why
        counters = nexus.core.counters
        counts = [(c.cmds, c.io_bytes, c.unaligned) for c in (counters.read, counters.write)]
        nexus.connection_ended(nexus.wire)
        return sent, reason, counts, bytes(store.content)


async def _add_disk(everything: Whole, *, read_only: bool) -> FakeStore:
    await everything.write("handlers/vdisk_nullio/mgmt", "add_device disk size_mb=1\n")
    await everything.write("targets/iscsi/mgmt", "add_target iqn.t\n")
    await everything.write("targets/iscsi/iqn.t/luns/mgmt", f"add disk 0 read_only={read_only:d}\n")
    device = everything.scst.devices["disk"]
    assert isinstance(device, VdiskDevice)
    store = FakeStore(_SIZE, quick=True)
    device.install(store)
    return store


def _open(server: Server, target: IscsiTarget, script: _Scripted) -> tuple[Nexus, Connection]:
    still = cast("Wire", _StillWire(server.flusher))
    login = LoginResult(
        target=target,
        initiator="iqn.i",
        user=None,
        isid=b"\x80\0\0\0\0\0",
        tsih=0,
        cid=0,
        replaces=None,
        parameters=script.parameters,
        stat_sn=0xFFFFFFFE,
        exp_cmd_sn=script.cmd_sn,
        max_cmd_sn=(script.cmd_sn + 1) & 0xFFFFFFFF,
    )
    nexus = Nexus(server, login, 1, still)
    rx = Receiver(script.parameters.max_recv_data_segment_length)
    for side in (rx, still.tx):
        side.header_digest = script.parameters.has_header_digest
        side.data_digest = script.parameters.has_data_digest
    connection = Connection(
        nexus,
        script.parameters,
        cmd_sn=script.cmd_sn,
        stat_sn=login.stat_sn,
        queue_depth=script.depth,
        rx=rx,
        tx=still.tx,
        max_cmd_sn=login.max_cmd_sn,
    )
    nexus.start(connection)
    for tgt_dev in nexus.core.tgt_devs.values():
        tgt_dev.unit_attentions = type(tgt_dev.unit_attentions)()
        tgt_dev.refresh()
    return nexus, connection


async def _arrive(connection: Connection, piece: bytes) -> bytes:
    """Let bytes arrive; returns what is sent for them, when nothing is under way any more."""
    rx, tx, out = connection.rx, connection.tx, b""
    while True:
        done = connection.process()
        while any(task.is_executing for task in connection.tasks.values()):
            await trio.sleep(0.0001)
        while tx.pending:
            data = b"".join(tx.buffers())
            tx.sent(len(data))
            out += data
        if connection.closing or (done and not piece):
            return out
        if done:
            count = 0
            for buffer in rx.buffers():
                part = piece[count : count + len(buffer)]
                buffer[: len(part)] = part
                count += len(part)
            rx.received(count)
            piece = piece[count:]

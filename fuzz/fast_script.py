"""The PDUs of the initiator in the fuzz target ``fast``, made from its input.

They are mostly READ and WRITE, sometimes with one oddity, with other commands and task management
between them, and the data that R2Ts request.
"""

from __future__ import annotations

from typing import Final

from fastcrc import crc32

from fuzz.source import Source
from scstfs.iscsi.keys import Digest
from scstfs.iscsi.negotiate import SessionParameters
from tests.support import iscsi_wire as wire
from tests.support import reservations
from tests.support.iscsi_wire import FINAL, NO_TAG, READ, WRITE, Pdu
from tests.support.reservations import pr_out

BLOCKS: Final = 64
KEY: Final = 7
_DATA: Final = bytes(range(1, 255)) * 140

#: Operation codes of READ and WRITE, with where LBA and number of blocks are (offset, length).
_CDBS: Final = (
    (0x08, 6, (2, 2), (4, 1)),
    (0x28, 10, (2, 4), (7, 2)),
    (0xA8, 12, (2, 4), (6, 4)),
    (0x88, 16, (2, 8), (10, 4)),
)
#: Thresholds of a first byte: another command, task management.
_OTHER: Final = 216
_FUNCTION: Final = 248

_ODD: Final = (
    *("blocks", "lba", "cdb", "data", "ahs", "immediate", "flags", "lun", "tag", "length"),
    *("number", "header"),
)


def _mode_select(page: str) -> tuple[bytes, bytes]:
    """MODE SELECT of one page, in hexadecimal, without the zeros at its end."""
    data = bytes(4) + bytes.fromhex(page)
    data = data.ljust(4 + 2 + data[5], b"\0")
    return bytes((0x15, 0x10, 0, 0, len(data), 0)), data


#: SYNCHRONIZE CACHE, which goes to a thread.
_FLUSH: Final = bytes.fromhex("35000000000000000000"), b""

#: CDB and data-out.
_OTHERS: Final[tuple[tuple[bytes, bytes], ...]] = (
    (bytes(6), b""),
    (bytes.fromhex("030000001200"), b""),
    (bytes.fromhex("a00000000000000001000000"), b""),
    (bytes.fromhex("160000000000"), b""),
    (bytes.fromhex("170000000000"), b""),
    pr_out(reservations.IGNORE, new=KEY),
    pr_out(reservations.RESERVE, reservations.EA, key=KEY),
    pr_out(reservations.RESERVE, reservations.WE_RO, key=KEY),
    pr_out(reservations.RELEASE, reservations.EA, key=KEY),
    pr_out(reservations.CLEAR, key=KEY),
    pr_out(reservations.PREEMPT, reservations.WE, key=KEY, new=KEY + 1),
    # SWP on and off, WCE on and off.
    _mode_select("0a0a 0000 08"),
    _mode_select("0a0a 0000 00"),
    _mode_select("0812 04"),
    _mode_select("0812 00"),
    _FLUSH,
    # One with NACA that fails.
    (bytes.fromhex("35000000ffff00000004"), b""),
)
#: REQUEST SENSE and REPORT LUNS.
_RETURN_DATA: Final = (0x03, 0xA0)
_FUNCTIONS: Final = (1, 2, 3, 4, 5, 6, 7, 9)


class Script:
    """An initiator that is deterministic as long as it gets the same answers."""

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
        kind = source.byte()
        self.read_only = kind > 230
        self.is_cd_rom = 200 < kind <= 230
        self.block = 2048 if self.is_cd_rom else 512
        self.first_cmd_sn = self.cmd_sn = source.choose((1, 0xFFFFFFFE))
        #: The next command is a SYNCHRONIZE CACHE for this LUN.
        self.flush: int | None = None
        #: R2Ts that have not been answered.
        self._wanted: list[Pdu] = []

    def start_again(self, cmd_sn: int) -> None:
        """Take a new connection, on which this CmdSN is due."""
        self.cmd_sn = cmd_sn
        self._wanted.clear()

    def hear(self, sent: bytes) -> None:
        """Process the target's bytes."""
        parameters, at = self.parameters, 0
        while at < len(sent):
            pdu = Pdu(sent[at : at + 48])
            at += 48 + 4 * parameters.has_header_digest
            length = pdu["data_length"]
            if length:
                at += length + -length % 4 + 4 * parameters.has_data_digest
            if pdu.opcode == wire.R2T:
                self._wanted.append(pdu)

    def next(self) -> bytes:
        """The next bytes to send."""
        source = self.source
        if self._wanted and source.byte() < 200:
            return self._data_out(self._wanted.pop(0))
        number = self.cmd_sn
        self.cmd_sn = (number + 1) & 0xFFFFFFFF
        if self.flush is not None:
            lun, self.flush = self.flush, None
            return self._encoded(self._other(number, lun, _FLUSH))
        kind = source.byte()
        if kind < _OTHER:
            return self._encoded(self._read_or_write(kind, number))
        if kind < _FUNCTION:
            return self._encoded(self._other(number, 0, source.choose(_OTHERS)))
        self.cmd_sn = number
        return self._encoded(self._function(number))

    def _read_or_write(self, kind: int, number: int) -> Pdu:
        source, block = self.source, self.block
        code, size, lba_at, blocks_at = _CDBS[kind % len(_CDBS)]
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
        length = blocks * block
        direction = WRITE if writes else READ
        # Most WRITEs send as much unsolicited data as allowed; R2Ts request the rest.
        most = self.parameters.first_burst_length if self.parameters.immediate_data else 0
        most = min(length, most, self.parameters.max_recv_data_segment_length)
        at_once = source.number(length) if odd == "data" else most
        pdu = Pdu.make(
            wire.SCSI_COMMAND,
            data=_DATA[:at_once] if writes else b"",
            ahs=bytes(4) if odd == "ahs" else b"",
            immediate=odd == "immediate",
            flags=source.byte() if odd == "flags" else FINAL | direction | source.byte() % 2,
            lun=bytes((0, source.choose((1, 1, 1, 2)) if odd == "lun" else 0)),
            itt=source.number(0xFFFFFFFF) if odd == "tag" else number % 12,
            expected_length=source.number(2 * length) if odd == "length" else length,
            cmd_sn=number + source.byte() - 128 if odd == "number" else number,
            cdb=bytes(cdb),
        )
        if odd == "header":
            pdu.header[source.byte() % 48] ^= source.byte()
        return pdu

    def _other(self, number: int, lun: int, command: tuple[bytes, bytes]) -> Pdu:
        cdb, data = command
        expected = 256 if cdb[0] in _RETURN_DATA else 0
        direction = WRITE if data else READ if expected else 0
        return Pdu.make(
            wire.SCSI_COMMAND,
            data=data if self.parameters.immediate_data else b"",
            flags=FINAL | direction | self.source.choose((1, 1, 1, 2, 3, 4)),
            lun=bytes((0, lun)),
            itt=number % 12,
            expected_length=len(data) or expected,
            cmd_sn=number,
            cdb=cdb,
        )

    def _function(self, number: int) -> Pdu:
        """Task management, immediate as usual."""
        source = self.source
        function, about = source.choose(_FUNCTIONS), source.byte() % 12
        return Pdu.make(
            wire.TASK_REQUEST,
            immediate=True,
            flags=FINAL | function,
            lun=bytes(8),
            itt=100 + source.byte() % 3,
            referenced_tag=about if function in (1, 9) else NO_TAG,
            cmd_sn=number,
            ref_cmd_sn=number - (number - about) % 12,
        )

    def _data_out(self, wanted: Pdu) -> bytes:
        """The burst that an R2T requests, or nearly that."""
        source = self.source
        offset, left, out = wanted["buffer_offset"], wanted["desired_length"], b""
        odd = source.byte()
        if odd == 255:
            offset += source.byte()
        segment, data_sn = self.parameters.max_recv_data_segment_length, 0
        while left:
            size = min(left, segment)
            left -= size
            pdu = Pdu.make(
                wire.DATA_OUT,
                data=_DATA[offset : offset + size - (odd == 254)],
                flags=0 if left else FINAL,
                lun=wanted.blob("lun"),
                itt=wanted["itt"],
                ttt=wanted["ttt"] + (odd == 253),
                data_sn=data_sn,
                buffer_offset=offset,
            )
            out += self._encoded(pdu)
            offset, data_sn = offset + size, data_sn + 1
        return out

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

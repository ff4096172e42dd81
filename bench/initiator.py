"""An iSCSI session for a load generator: login, capacity, logout, and a socket in between.

Just enough of RFC 7143 for one connection at error recovery level 0. The load itself is in
`bench.load`.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Final

from fastcrc import crc32

BHS_BYTES: Final = 48
IMMEDIATE: Final = 0x40
FINAL: Final = 0x80
NO_TAG: Final = 0xFFFFFFFF

# Opcodes (RFC 7143 11.2.1.2)
NOP_OUT: Final = 0x00
SCSI_COMMAND: Final = 0x01
DATA_OUT: Final = 0x05
NOP_IN: Final = 0x20
SCSI_RESPONSE: Final = 0x21
DATA_IN: Final = 0x25
R2T: Final = 0x31
_LOGIN: Final = 0x03
_LOGOUT: Final = 0x06
_LOGIN_RESPONSE: Final = 0x23
_LOGOUT_RESPONSE: Final = 0x26

# Opcode, flags, segment length, LUN, tag, expected length, CmdSN, ExpStatSN, CDB (11.3)
COMMAND: Final = struct.Struct(">BB2xI8sIIII16s")
# Opcode, flags, segment length, LUN, tag, target tag, ExpStatSN, DataSN, buffer offset (11.7)
DATA_OUT_HEADER: Final = struct.Struct(">BB2xI8sII4xI4xII4x")
# Opcode, flags, LUN, tag, target tag, CmdSN, ExpStatSN (11.18)
NOP_OUT_HEADER: Final = struct.Struct(">BB6x8sIIII16x")
# StatSN, ExpCmdSN, MaxCmdSN of any response (11.4)
SEQUENCE: Final = struct.Struct(">III")
SEQUENCE_AT: Final = 24

_LOGIN_HEADER: Final = struct.Struct(">BBBBI6sHIH2xII16x")  # 11.12
_LOGOUT_HEADER: Final = struct.Struct(">BB2xI8xIH2xII16x")  # 11.14
_OPERATIONAL, _FULL_FEATURE = 1, 3
_ISID: Final = b"\x80\0\0\0\0\1"  # 11.12.5, of the random kind
_MOST_LOGINS: Final = 10

_READ_CAPACITY_16: Final = bytes([0x9E, 0x10, *bytes(11), 32, 0, 0])
_MOST_UNIT_ATTENTIONS: Final = 16

_DIGEST: Final = struct.Struct("<I")
_MOST_BUFFERS: Final = 512  # of one sendmsg(2), which takes 1024


class TargetError(Exception):
    """The target did something that a benchmark cannot handle."""


class Session:
    """A session with one logical unit.

    Attributes:
        segment: bytes of data the target takes in one PDU.
        first_burst: bytes it takes unasked.
        immediate: whether a command may carry data.
        unsolicited: whether Data-Out may follow a command unasked.
        digests: whether both digests are used.
        blocks: capacity in blocks.
        block_size: bytes.
    """

    def __init__(
        self,
        address: tuple[str, int],
        target: str,
        lun: int,
        digests: bool,
        isid: bytes = _ISID,
    ) -> None:
        """Log in at `address`, a host and port, and learn the capacity of logical unit `lun`.

        Sessions that exist at the same time need different `isid`, six bytes.
        """
        self.socket = socket.create_connection(address, timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.lun = struct.pack(">H6x", lun)
        self.cmd_sn = 1
        self.max_cmd_sn = 1
        self.exp_stat_sn = 0
        self.digests = False  # during login
        keys = self._login(target, digests, isid)
        if digests and not keys["HeaderDigest"] == keys["DataDigest"] == "CRC32C":
            raise TargetError("the target does not do digests")
        self.digests = digests
        self.segment = int(keys.get("MaxRecvDataSegmentLength", 8192))
        self.first_burst = int(keys.get("FirstBurstLength", 65536))
        self.immediate = keys.get("ImmediateData", "Yes") == "Yes"
        self.unsolicited = keys.get("InitialR2T", "Yes") == "No"
        self.blocks, self.block_size = self._capacity()

    @property
    def header_bytes(self) -> int:
        """Bytes of a header with its digest."""
        return BHS_BYTES + 4 * self.digests

    def _login(self, target: str, digests: bool, isid: bytes) -> Mapping[str, str]:
        digest = "CRC32C" if digests else "None"
        offers = {
            "InitiatorName": "iqn.2007-05.com.example:scstfs-bench",
            "SessionType": "Normal",
            "TargetName": target,
            "HeaderDigest": digest,
            "DataDigest": digest,
            "InitialR2T": "No",
            "ImmediateData": "Yes",
            "MaxRecvDataSegmentLength": 1 << 20,
            "MaxBurstLength": (1 << 24) - 1,
            "FirstBurstLength": 1 << 20,
            "MaxConnections": 1,
            "MaxOutstandingR2T": 1,
            "DefaultTime2Wait": 0,
            "DefaultTime2Retain": 0,
            "ErrorRecoveryLevel": 0,
        }
        text = "".join(f"{key}={value}\0" for key, value in offers.items()).encode()
        answers: dict[str, str] = {}
        flags = FINAL | _OPERATIONAL << 2 | _FULL_FEATURE
        tsih = 0
        for _ in range(_MOST_LOGINS):
            header = _LOGIN_HEADER.pack(
                *(_LOGIN | IMMEDIATE, flags, 0, 0, len(text), isid, tsih, 0, 0),
                *(self.cmd_sn, self.exp_stat_sn),
            )
            self.socket.sendall(header + text + bytes(-len(text) % 4))
            bhs, data = self.receive()
            if bhs[0] != _LOGIN_RESPONSE or bhs[36]:
                raise TargetError(f"login refused: status {bhs[36:38].hex()}")
            pairs = (pair.partition("=") for pair in data.decode().split("\0") if pair)
            answers |= {key: value for key, _, value in pairs}
            if bhs[1] & FINAL:
                return answers
            tsih = int.from_bytes(bhs[14:16])
            text = b""
        raise TargetError("the login does not come to an end")

    def _capacity(self) -> tuple[int, int]:
        """Return the number and size of blocks; clear unit attentions on the way."""
        flags = FINAL | 0x40 | 1  # read, simple task
        for _ in range(_MOST_UNIT_ATTENTIONS):
            header = COMMAND.pack(
                *(SCSI_COMMAND, flags, 0, self.lun, 0, 32, self.cmd_sn, self.exp_stat_sn),
                _READ_CAPACITY_16,
            )
            self.cmd_sn += 1
            self.send([self.with_digest(header)])
            capacity = b""
            bhs, data = self.receive()
            while bhs[0] == DATA_IN:
                capacity += data
                if bhs[1] & 1:
                    break
                bhs, data = self.receive()
            if bhs[3] == 0:
                last, size = struct.unpack_from(">QI", capacity)
                return last + 1, size
        raise TargetError("the logical unit does not get ready")

    def close(self) -> None:
        """Log out."""
        header = _LOGOUT_HEADER.pack(
            *(_LOGOUT | IMMEDIATE, FINAL, 0, 0, 0, self.cmd_sn, self.exp_stat_sn)
        )
        self.send([self.with_digest(header)])
        while self.receive()[0][0] != _LOGOUT_RESPONSE:
            pass
        self.socket.close()

    def receive(self) -> tuple[bytes, bytes]:
        """Return header and data of the next PDU."""
        header = self._exactly(self.header_bytes)
        length = int.from_bytes(header[5:8])
        data = self._exactly(self.data_bytes(length))
        stat_sn, _, self.max_cmd_sn = SEQUENCE.unpack_from(header, SEQUENCE_AT)
        if header[0] != DATA_IN or header[1] & 1:
            self.exp_stat_sn = stat_sn + 1
        return header[:BHS_BYTES], data[:length]

    def data_bytes(self, length: int) -> int:
        """Bytes that a data segment of `length` takes, with padding and digest."""
        return (length + 3 & ~3) + 4 * self.digests if length else 0

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise TargetError("the target closed the connection")
            data += part
        return data

    def with_digest(self, data: bytes | memoryview) -> bytes:
        """Return `data` with its digest if digests are used."""
        return bytes(data) + self.digest(data) if self.digests else bytes(data)

    def digest(self, data: bytes | memoryview) -> bytes:
        """Return the CRC32C of `data` as it is sent (RFC 7143 13.1)."""
        return _DIGEST.pack(crc32.iscsi(data))

    def send(self, parts: Sequence[bytes | memoryview]) -> None:
        """Send all of `parts` with as few system calls as possible."""
        left = [memoryview(part) for part in parts]
        first = 0
        while first < len(left):
            sent = self.socket.sendmsg(left[first : first + _MOST_BUFFERS])
            while first < len(left) and sent >= len(left[first]):
                sent -= len(left[first])
                first += 1
            if sent:
                left[first] = left[first][sent:]

"""Sends commands to a SCSI device of this machine, and translates failures.

Everything here blocks and runs in worker threads.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

from scstfs.handlers.device_node import DeviceNode
from scstfs.log import RateLimited
from scstfs.scsi import sense
from scstfs.scsi.opcodes import CommandRow
from scstfs.scsi.sense import CheckCondition, Sense, SenseKey
from scstfs.scsi.status import Status, TaskStatus
from scstfs.sgutils.sg_pt import TransportError

log = logging.getLogger(__name__)
_incidents: Final = RateLimited(log)

#: Timeout of auxiliary commands (seconds).
ASIDE_TIMEOUT: Final = 15

_REQUEST_SENSE: Final = b"\x03\0\0\0\xfc\0"
_SENSE_ROOM: Final = 0xFC
_VARIABLE_LENGTH: Final = 0x7F
_READ_16: Final = 0x88
_WRITE_16: Final = 0x8A

#: Commands that can be cut into pieces, by the names in the opcode table.
_DIVISIBLE: Final = frozenset({"read", "write", "write_and_verify"})

NO_ANSWER: Final = Sense(SenseKey.HARDWARE_ERROR, 0x05)

#: Host status of the adapter's driver (scsi_status.h) → the answer to the initiator.
_HOST: Final[Mapping[int, Sense | Status]] = MappingProxyType(
    {
        0x01: NO_ANSWER,  # DID_NO_CONNECT
        0x02: Status.BUSY,  # DID_BUS_BUSY
        0x03: sense.COMMAND_TIMEOUT,  # DID_TIME_OUT
        0x04: NO_ANSWER,  # DID_BAD_TARGET
        0x05: sense.ABORTED,  # DID_ABORT
        0x08: sense.RESET,  # DID_RESET
        0x0B: Status.BUSY,  # DID_SOFT_ERROR
        0x0C: Status.BUSY,  # DID_IMM_RETRY
        0x0D: Status.BUSY,  # DID_REQUEUE
        0x0E: Status.BUSY,  # DID_TRANSPORT_DISRUPTED
        0x0F: Status.BUSY,  # DID_TRANSPORT_FAILFAST
        0x11: Status.RESERVATION_CONFLICT,  # DID_NEXUS_FAILURE
        0x12: Status.BUSY,  # DID_ALLOC_FAILURE
    }
)
_MEDIUM_ERROR: Final = 0x13

#: Errno of the system → the answer to the initiator.
_SYSTEM: Final[Mapping[int, Sense | Status]] = MappingProxyType(
    {
        errno.ETIMEDOUT: sense.COMMAND_TIMEOUT,
        errno.ENODEV: NO_ANSWER,
        errno.ENXIO: NO_ANSWER,
        errno.EAGAIN: Status.BUSY,
        errno.EBUSY: Status.BUSY,
        errno.ENOMEM: Status.BUSY,
        errno.EDOM: Status.BUSY,  # the sg driver accepts no more commands
    }
)


def translate(error: OSError, *, writing: bool) -> CheckCondition | TaskStatus:
    """The answer for a command that did not return from its device."""
    answer: Sense | Status
    if isinstance(error, TransportError):
        if error.host_status == _MEDIUM_ERROR:
            answer = sense.WRITE_ERROR if writing else sense.UNRECOVERED_READ_ERROR
        else:
            answer = _HOST.get(error.host_status, sense.INTERNAL_FAILURE)
    else:
        answer = _SYSTEM.get(error.errno or 0, sense.INTERNAL_TARGET_FAILURE)
    return CheckCondition(answer) if isinstance(answer, Sense) else TaskStatus(answer)


class Outcome(NamedTuple):
    """How a command ended: status byte, sense data, data-in."""

    status: int
    sense: bytes
    data: memoryview

    @property
    def is_good(self) -> bool:
        """Whether the device executed the command."""
        return self.status in (Status.GOOD, Status.CONDITION_MET)


_NOTHING: Final = memoryview(b"")


def cdb_to_send(op: CommandRow, cdb: bytes) -> bytes:
    """The CDB without the zeros that the decoder has put behind it."""
    if cdb[0] == _VARIABLE_LENGTH:
        return cdb[: 8 + cdb[7]]
    # The third group has only one code; this is its length.
    length = op.cdb_length if cdb[0] >> 5 != _VARIABLE_LENGTH >> 5 else 0
    if not length:
        # Vendor CDB lengths are unknown; use the shortest that fits.
        used = len(cdb.rstrip(b"\0"))
        length = next((size for size in (10, 12, 16) if used <= size), len(cdb))
    return cdb[:length]


@dataclass(frozen=True, slots=True)
class Passing:
    """One command for a device; ``run`` executes it.

    ``block_size`` is in bytes, 0 where the device has no blocks; ``timeout`` in seconds.
    ``is_wanted`` tells whether the result is still needed.
    """

    node: DeviceNode
    op: CommandRow
    cdb: bytes
    timeout: int
    block_size: int = 0
    data_out: memoryview = _NOTHING
    data_in: memoryview = _NOTHING
    is_wanted: Callable[[], bool] = lambda: True

    def run(self) -> Outcome:
        """Execute the command; raises OSError."""
        if not self.is_wanted():
            return Outcome(Status.TASK_ABORTED, b"", _NOTHING)
        try:
            return self._with_sense(self._run())
        except OSError as error:
            self._tell(error)
            raise

    def _run(self) -> Outcome:
        if self.op.execute in _DIVISIBLE and self.op.lba and self.block_size:
            return self._in_pieces()
        return self._send(self.cdb, self.data_out, self.data_in)

    def _send(self, cdb: bytes, data_out: memoryview, data_in: memoryview) -> Outcome:
        result = self.node.execute(cdb, self.timeout, data_out, data_in or None)
        return Outcome(result.status, result.sense, data_in[: result.received])

    def _in_pieces(self) -> Outcome:
        """READ and WRITE, in pieces that the host adapter accepts.

        The first piece that fails or is short ends the command.
        """
        size = self.block_size
        blocks = max(len(self.data_out), len(self.data_in)) // size
        most = max(self.node.limit // size if self.node.limit else blocks, 1)
        if blocks <= most and blocks == self._blocks_asked:
            return self._send(self.cdb, self.data_out, self.data_in)
        outcome, first, arrived = Outcome(Status.GOOD, b"", _NOTHING), self._lba, 0
        for done in range(0, blocks, most):
            count = min(most, blocks - done)
            part = slice(done * size, (done + count) * size)
            data_in = self.data_in[part]
            outcome = self._send(self._piece(first + done, count), self.data_out[part], data_in)
            arrived += len(outcome.data)
            if not outcome.is_good or len(outcome.data) < len(data_in):
                break
        return outcome._replace(data=self.data_in[:arrived])

    @property
    def _lba(self) -> int:
        assert self.op.lba is not None
        lba = self.op.lba.get(self.cdb)
        # The LBA of six-byte commands has 21 bits.
        return lba & 0x1FFFFF if len(self.cdb) == 6 else lba

    @property
    def _blocks_asked(self) -> int:
        assert self.op.length is not None
        blocks = self.op.length.get(self.cdb)
        return blocks or 256 if len(self.cdb) == 6 else blocks

    def _piece(self, lba: int, blocks: int) -> bytes:
        op, cdb = self.op, bytearray(self.cdb)
        assert op.lba is not None
        assert op.length is not None
        if len(cdb) == 6:
            blocks &= 0xFF
        for where, value in ((op.lba, lba), (op.length, blocks)):
            cdb[where.offset : where.offset + where.size] = value.to_bytes(where.size, "big")
        return bytes(cdb)

    def _with_sense(self, outcome: Outcome) -> Outcome:
        """Request the sense data that should have come with the status (SAM-5 5.13)."""
        if outcome.status != Status.CHECK_CONDITION or sense.decode(outcome.sense) is not None:
            return outcome
        room = bytearray(_SENSE_ROOM)
        result = self.node.execute(_REQUEST_SENSE, ASIDE_TIMEOUT, data_in=room)
        return outcome._replace(sense=bytes(room[: result.received]))

    def _tell(self, error: OSError) -> None:
        size = max(len(self.data_out), len(self.data_in))
        if error.errno == errno.EINVAL and size:
            _incidents.warning(
                "Unable to complete command %s due to SG IO count limitation: %d bytes",
                self.op.name,
                size,
            )
        else:
            _incidents.info("%s did not come back from its device: %s", self.op.name, error)


# COMPARE AND WRITE (SBC-3 5.2), which few devices support


@dataclass(frozen=True, slots=True)
class Comparing:
    """Reads, compares and writes; no other command may write the blocks meanwhile."""

    node: DeviceNode
    cdb: bytes
    timeout: int
    expected: memoryview
    replacement: memoryview

    def run(self) -> Outcome:
        """Execute the command; raises OSError, and CheckCondition MISCOMPARE."""
        present = bytearray(len(self.expected))
        result = self.node.execute(self._command(_READ_16), self.timeout, data_in=present)
        outcome = Outcome(result.status, result.sense, _NOTHING)
        if not outcome.is_good:
            return outcome
        if result.received < len(present):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if present != self.expected:
            same = zip(present, self.expected, strict=True)
            offset = next(n for n, (here, there) in enumerate(same) if here != there)
            raise CheckCondition(sense.MISCOMPARE.with_information(offset))
        result = self.node.execute(self._command(_WRITE_16), self.timeout, self.replacement)
        return Outcome(result.status, result.sense, _NOTHING)

    def _command(self, code: int) -> bytes:
        """READ(16) or WRITE(16) of the same blocks, with the same DPO and FUA."""
        blocks = self.cdb[13:14].rjust(4, b"\0")
        return bytes((code, self.cdb[1])) + self.cdb[2:10] + blocks + self.cdb[14:16]

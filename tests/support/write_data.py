"""Write data of a test's initiator, and the target's answers."""

from __future__ import annotations

from scstfs.iscsi.negotiate import SessionParameters
from tests.support import iscsi_wire as wire
from tests.support.engine import CHECK_CONDITION, Engine, data_out
from tests.support.iscsi_wire import Pdu

DATA = bytes(range(256)) * 40
"""10240 bytes."""

BASE = SessionParameters(
    initial_r2t=0,
    immediate_data=1,
    max_recv_data_segment_length=65536,
    max_burst_length=4096,
    first_burst_length=2048,
    max_outstanding_r2t=1,
)

# Sense data for faults in received data (RFC 7143 11.4.7.2).
CRC = (0x0B, 0x47, 0x05)
AMOUNT = (0x0B, 0x0C, 0x0D)
UNEXPECTED = (0x0B, 0x0C, 0x0C)
ORDER = (0x0B, 0x4B, 0x00)


def sense_of(pdu: Pdu) -> tuple[int, int, int]:
    """Sense key, additional sense code and qualifier of a response (fixed format)."""
    assert (pdu.opcode, pdu["status"]) == (wire.SCSI_RESPONSE, CHECK_CONDITION), pdu
    return pdu.data[4], pdu.data[14], pdu.data[15]


def r2ts(engine: Engine) -> list[Pdu]:
    """The PDUs sent, which must be only R2Ts."""
    pdus = engine.out()
    assert all(pdu.opcode == wire.R2T for pdu in pdus), pdus
    return pdus


def answer_r2t(r2t: Pdu, *, size: int = 1 << 20) -> list[Pdu]:
    """The Data-Out PDUs for an R2T, in order."""
    start, length = r2t["buffer_offset"], r2t["desired_length"]
    starts = list(range(start, start + length, size))
    return [
        data_out(
            r2t["itt"],
            DATA[at : min(at + size, start + length)],
            ttt=r2t["ttt"],
            offset=at,
            data_sn=number,
            final=at == starts[-1],
        )
        for number, at in enumerate(starts)
    ]

"""The category ``pdu`` of the driver's ``trace_level``: the header of every PDU, both ways.

Data segments are left out: they hold the contents of disks, and authentication data.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from scstfs.iscsi import pdu
from scstfs.iscsi.codes import OPCODE_MASK, PduOpcode

if TYPE_CHECKING:
    from scstfs.core.trace import TraceLog
    from scstfs.iscsi.connection import Connection

_CATEGORY: Final = "pdu"
_NAMES: Final = {int(opcode): opcode.name for opcode in PduOpcode}


def follow(trace: TraceLog, who: object, connection: Connection) -> None:
    """Start or stop tracing the PDUs of a connection in full-feature phase.

    ``who`` is its name in the log.
    """
    is_on = trace.enabled(_CATEGORY)
    connection.trace(partial(tell, trace, who) if is_on else None)


def tell(trace: TraceLog, who: object, direction: str, header: bytes) -> None:
    """Trace a PDU if the category is on; ``header`` has 48 bytes."""
    if trace.enabled(_CATEGORY):
        opcode = header[0] & OPCODE_MASK
        trace.event(
            _CATEGORY,
            "%s: %s %s with %d bytes of data: %s",
            who,
            direction,
            _NAMES.get(opcode, f"opcode {opcode:02x}"),
            int.from_bytes(header[5:8], "big"),
            header[: pdu.BHS_LENGTH].hex(" ", 4),
        )

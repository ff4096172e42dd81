"""Login PDU headers as bytes (RFC 7143 11.12, 11.13), by the conventions of `iscsi.pdu`."""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from scstfs.iscsi.codes import (
    CONTINUE,
    LOGIN_CSG_SHIFT,
    LOGIN_STAGE_MASK,
    LOGIN_TRANSIT,
    VERSION,
    LoginStatus,
    PduOpcode,
)
from scstfs.iscsi.pdu import BytesLike

LOGIN_REQUEST: Final = Struct(">BBBBI6sHIHxxII16x")
"""opcode, flags, Version-max, Version-min, lengths, ISID, TSIH, ITT, CID, CmdSN, ExpStatSN."""


class LoginRequest(NamedTuple):
    """A Login Request (RFC 7143 11.12)."""

    opcode: int
    flags: int
    version_max: int
    version_min: int
    lengths: int
    isid: bytes
    tsih: int
    itt: int
    cid: int
    cmd_sn: int
    exp_stat_sn: int

    @property
    def transit(self) -> bool:
        """The T bit."""
        return bool(self.flags & LOGIN_TRANSIT)

    @property
    def continues(self) -> bool:
        """The C bit."""
        return bool(self.flags & CONTINUE)

    @property
    def current_stage(self) -> int:
        """CSG, a LoginStage or the reserved 2."""
        return self.flags >> LOGIN_CSG_SHIFT & LOGIN_STAGE_MASK

    @property
    def next_stage(self) -> int:
        """NSG, meaningful with the T bit only."""
        return self.flags & LOGIN_STAGE_MASK


def unpack_login_request(buffer: BytesLike, offset: int = 0) -> LoginRequest:
    """Read the 48 bytes at `offset` as a Login Request."""
    return LoginRequest(*LOGIN_REQUEST.unpack_from(buffer, offset))


LOGIN_RESPONSE: Final = Struct(">BBBBI6sHI4xIIIBB10x")
"""opcode, flags, Version-max, Version-active, lengths, ISID, TSIH, ITT, StatSN, ExpCmdSN, MaxCmdSN,
Status-Class, Status-Detail."""


def pack_login_response(
    *,
    flags: int,
    isid: bytes,
    tsih: int,
    itt: int,
    stat_sn: int,
    exp_cmd_sn: int,
    max_cmd_sn: int,
    status: int = LoginStatus.SUCCESS,
    data_length: int = 0,
) -> bytes:
    """Build a Login Response; `flags` are T, C, CSG, NSG; `status` is a LoginStatus."""
    return LOGIN_RESPONSE.pack(
        PduOpcode.LOGIN_RESPONSE,
        flags,
        VERSION,
        VERSION,
        data_length,
        isid,
        tsih,
        itt,
        stat_sn,
        exp_cmd_sn,
        max_cmd_sn,
        status >> 8,
        status & 0xFF,
    )

"""Faults in what an initiator sends, and the answer that each kind gets."""

from __future__ import annotations

from enum import IntEnum

from scstfs.iscsi.codes import LoginStatus


class RejectReason(IntEnum):
    """Reason of a Reject PDU (RFC 7143 11.17.1)."""

    DATA_DIGEST_ERROR = 0x02
    SNACK_REJECT = 0x03
    PROTOCOL_ERROR = 0x04
    COMMAND_NOT_SUPPORTED = 0x05
    IMMEDIATE_COMMAND_REJECT = 0x06
    TASK_IN_PROGRESS = 0x07
    INVALID_DATA_ACK = 0x08
    INVALID_PDU_FIELD = 0x09
    LONG_OPERATION_REJECT = 0x0A
    NEGOTIATION_RESET = 0x0B
    WAITING_FOR_LOGOUT = 0x0C


class ProtocolError(Exception):
    """The peer broke the protocol on a connection.

    Args:
        why: for the log, one line without a full stop.
        reason: of the Reject PDU, where the fault gets one; during login the Login Response says
            "initiator error" instead.
    """

    def __init__(self, why: str, reason: RejectReason = RejectReason.PROTOCOL_ERROR) -> None:
        super().__init__(why)
        self.why = why
        self.reason = reason


class LoginRefused(Exception):  # noqa: N818 - a decision of the target, not an error of it
    """A login fails: Login Response with this status, then the connection is closed.

    Args:
        status: Status-Class and Status-Detail (RFC 7143 11.13.5).
        why: for the log, one line without a full stop; never holds a secret.
        text: key=value pairs that go with the status; a redirection's TargetAddress.
    """

    def __init__(
        self, status: LoginStatus, why: str, text: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(why)
        self.status = status
        self.why = why
        self.text = text

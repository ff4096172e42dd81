"""The numbers of iSCSI: opcodes, flag bits, tags, reasons and statuses of RFC 7143 and RFC 7144.

Codes are IntEnums, for names in logs and tests; flag bits are plain integers, because the data path
combines them for every PDU.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

RESERVED_TAG: Final = 0xFFFFFFFF
"""The Initiator or Target Transfer Tag that means "none" (RFC 7143 11.2.1.8, 11.7.4)."""
VERSION: Final = 0x00
"""The only version of the protocol there is (RFC 7143 11.12.5)."""
OPCODE_MASK: Final = 0x3F
IMMEDIATE: Final = 0x40
"""I bit of byte 0: deliver at once, CmdSN is not consumed (RFC 7143 11.2.1.1)."""
FINAL: Final = 0x80
"""F bit of byte 1 (most PDUs)."""
CONTINUE: Final = 0x40
"""C bit of byte 1: the text continues in the next PDU (RFC 7143 11.10.2, 11.12.2)."""

COMMAND_READ: Final = 0x40
"""R bit: the command expects data from the target."""
COMMAND_WRITE: Final = 0x20
"""W bit: the command sends data to the target."""
COMMAND_ATTRIBUTE_MASK: Final = 0x07
TASK_FUNCTION_MASK: Final = 0x7F
LOGOUT_REASON_MASK: Final = 0x7F

RESIDUAL_OVERFLOW: Final = 0x04
"""O bit: the residual count is the number of bytes beyond the expected length."""
RESIDUAL_UNDERFLOW: Final = 0x02
"""U bit: the residual count is the number of expected bytes that were not transferred."""
DATA_STATUS: Final = 0x01
"""S bit of Data-In: the status travels with the last data PDU."""

LOGIN_TRANSIT: Final = 0x80
"""T bit: the sender is ready to go to the next stage."""
LOGIN_CSG_SHIFT: Final = 2
LOGIN_STAGE_MASK: Final = 0x03


class PduOpcode(IntEnum):
    """Opcodes of RFC 7143 11.2.1.2, without the I bit."""

    NOP_OUT = 0x00
    SCSI_COMMAND = 0x01
    TASK_MANAGEMENT_REQUEST = 0x02
    LOGIN_REQUEST = 0x03
    TEXT_REQUEST = 0x04
    DATA_OUT = 0x05
    LOGOUT_REQUEST = 0x06
    SNACK_REQUEST = 0x10
    NOP_IN = 0x20
    SCSI_RESPONSE = 0x21
    TASK_MANAGEMENT_RESPONSE = 0x22
    LOGIN_RESPONSE = 0x23
    TEXT_RESPONSE = 0x24
    DATA_IN = 0x25
    LOGOUT_RESPONSE = 0x26
    READY_TO_TRANSFER = 0x31
    ASYNC_MESSAGE = 0x32
    REJECT = 0x3F


class IscsiTaskAttribute(IntEnum):
    """ATTR of a SCSI Command (RFC 7143 11.3.1)."""

    UNTAGGED = 0
    SIMPLE = 1
    ORDERED = 2
    HEAD_OF_QUEUE = 3
    ACA = 4


class ScsiResponseCode(IntEnum):
    """Response field of a SCSI Response (RFC 7143 11.4.3)."""

    COMPLETED_AT_TARGET = 0x00
    TARGET_FAILURE = 0x01


class TaskFunction(IntEnum):
    """Function of a task management request (RFC 7143 11.5.1; from 9 on RFC 7144)."""

    ABORT_TASK = 1
    ABORT_TASK_SET = 2
    CLEAR_ACA = 3
    CLEAR_TASK_SET = 4
    LOGICAL_UNIT_RESET = 5
    TARGET_WARM_RESET = 6
    TARGET_COLD_RESET = 7
    TASK_REASSIGN = 8
    QUERY_TASK = 9
    QUERY_TASK_SET = 10
    I_T_NEXUS_RESET = 11
    QUERY_ASYNCHRONOUS_EVENT = 12


#: Functions about the task that the Referenced Task Tag names; it is reserved in all others.
REFER_TO_A_TASK: Final = frozenset(
    {TaskFunction.ABORT_TASK, TaskFunction.TASK_REASSIGN, TaskFunction.QUERY_TASK}
)


#: Functions that RFC 7144 added; they need iSCSIProtocolLevel 2.
NEED_LEVEL_2: Final = frozenset(
    {
        TaskFunction.QUERY_TASK,
        TaskFunction.QUERY_TASK_SET,
        TaskFunction.I_T_NEXUS_RESET,
        TaskFunction.QUERY_ASYNCHRONOUS_EVENT,
    }
)
LEVEL_2: Final = 2


class TaskResponse(IntEnum):
    """Response of a task management response (RFC 7143 11.6.1; 7 is RFC 7144's)."""

    FUNCTION_COMPLETE = 0
    TASK_DOES_NOT_EXIST = 1
    LUN_DOES_NOT_EXIST = 2
    TASK_STILL_ALLEGIANT = 3
    REASSIGNMENT_NOT_SUPPORTED = 4
    FUNCTION_NOT_SUPPORTED = 5
    AUTHORIZATION_FAILED = 6
    FUNCTION_SUCCEEDED = 7
    FUNCTION_REJECTED = 255


class AsyncEvent(IntEnum):
    """AsyncEvent of an Asynchronous Message (RFC 7143 11.9.1; 5 came with FastAbort)."""

    SCSI = 0
    LOGOUT_REQUESTED = 1
    CONNECTION_DROPPED = 2
    SESSION_DROPPED = 3
    NEGOTIATION_REQUESTED = 4
    TASKS_TERMINATED = 5
    VENDOR_SPECIFIC = 255


class LoginStage(IntEnum):
    """CSG and NSG (RFC 7143 11.12.3); 2 is reserved."""

    SECURITY = 0
    OPERATIONAL = 1
    FULL_FEATURE = 3


class LoginStatus(IntEnum):
    """Status-Class and Status-Detail as one number, class in the upper byte (RFC 7143 11.13.5)."""

    SUCCESS = 0x0000
    TARGET_MOVED_TEMPORARILY = 0x0101
    TARGET_MOVED_PERMANENTLY = 0x0102
    INITIATOR_ERROR = 0x0200
    AUTHENTICATION_FAILURE = 0x0201
    AUTHORIZATION_FAILURE = 0x0202
    NOT_FOUND = 0x0203
    TARGET_REMOVED = 0x0204
    UNSUPPORTED_VERSION = 0x0205
    TOO_MANY_CONNECTIONS = 0x0206
    MISSING_PARAMETER = 0x0207
    CANNOT_INCLUDE_IN_SESSION = 0x0208
    SESSION_TYPE_NOT_SUPPORTED = 0x0209
    SESSION_DOES_NOT_EXIST = 0x020A
    INVALID_DURING_LOGIN = 0x020B
    TARGET_ERROR = 0x0300
    SERVICE_UNAVAILABLE = 0x0301
    OUT_OF_RESOURCES = 0x0302


class LogoutReason(IntEnum):
    """Reason code of a Logout Request (RFC 7143 11.14.1)."""

    CLOSE_SESSION = 0
    CLOSE_CONNECTION = 1
    REMOVE_FOR_RECOVERY = 2


class LogoutCode(IntEnum):
    """Response of a Logout Response (RFC 7143 11.15.1)."""

    CLOSED = 0
    CID_NOT_FOUND = 1
    RECOVERY_NOT_SUPPORTED = 2
    CLEANUP_FAILED = 3

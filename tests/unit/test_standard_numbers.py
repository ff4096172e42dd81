"""The numbers that standards assign, copied once more from the standards.

RFC 7143, RFC 7144 and RFC 4171 for `scstfs.iscsi`; SAM-5, SPC-4, SBC-3 and MMC-6 for `scstfs.scsi`.
"""

from __future__ import annotations

import enum
import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import scstfs.iscsi
import scstfs.scsi

#: Names and values, the latter in hexadecimal.
NUMBERS = {
    "iscsi.codes.AsyncEvent": """
        SCSI=0 LOGOUT_REQUESTED=1 CONNECTION_DROPPED=2 SESSION_DROPPED=3
        NEGOTIATION_REQUESTED=4 TASKS_TERMINATED=5 VENDOR_SPECIFIC=ff
    """,
    "iscsi.codes.IscsiTaskAttribute": """
        UNTAGGED=0 SIMPLE=1 ORDERED=2 HEAD_OF_QUEUE=3 ACA=4
    """,
    "iscsi.codes.LoginStage": """
        SECURITY=0 OPERATIONAL=1 FULL_FEATURE=3
    """,
    "iscsi.codes.LoginStatus": """
        SUCCESS=0 TARGET_MOVED_TEMPORARILY=101 TARGET_MOVED_PERMANENTLY=102
        INITIATOR_ERROR=200 AUTHENTICATION_FAILURE=201 AUTHORIZATION_FAILURE=202
        NOT_FOUND=203 TARGET_REMOVED=204 UNSUPPORTED_VERSION=205 TOO_MANY_CONNECTIONS=206
        MISSING_PARAMETER=207 CANNOT_INCLUDE_IN_SESSION=208 SESSION_TYPE_NOT_SUPPORTED=209
        SESSION_DOES_NOT_EXIST=20a INVALID_DURING_LOGIN=20b TARGET_ERROR=300
        SERVICE_UNAVAILABLE=301 OUT_OF_RESOURCES=302
    """,
    "iscsi.codes.LogoutCode": """
        CLOSED=0 CID_NOT_FOUND=1 RECOVERY_NOT_SUPPORTED=2 CLEANUP_FAILED=3
    """,
    "iscsi.codes.LogoutReason": """
        CLOSE_SESSION=0 CLOSE_CONNECTION=1 REMOVE_FOR_RECOVERY=2
    """,
    "iscsi.codes.PduOpcode": """
        NOP_OUT=0 SCSI_COMMAND=1 TASK_MANAGEMENT_REQUEST=2 LOGIN_REQUEST=3 TEXT_REQUEST=4
        DATA_OUT=5 LOGOUT_REQUEST=6 SNACK_REQUEST=10 NOP_IN=20 SCSI_RESPONSE=21
        TASK_MANAGEMENT_RESPONSE=22 LOGIN_RESPONSE=23 TEXT_RESPONSE=24 DATA_IN=25
        LOGOUT_RESPONSE=26 READY_TO_TRANSFER=31 ASYNC_MESSAGE=32 REJECT=3f
    """,
    "iscsi.codes.ScsiResponseCode": """
        COMPLETED_AT_TARGET=0 TARGET_FAILURE=1
    """,
    "iscsi.codes.TaskFunction": """
        ABORT_TASK=1 ABORT_TASK_SET=2 CLEAR_ACA=3 CLEAR_TASK_SET=4 LOGICAL_UNIT_RESET=5
        TARGET_WARM_RESET=6 TARGET_COLD_RESET=7 TASK_REASSIGN=8 QUERY_TASK=9
        QUERY_TASK_SET=a I_T_NEXUS_RESET=b QUERY_ASYNCHRONOUS_EVENT=c
    """,
    "iscsi.codes.TaskResponse": """
        FUNCTION_COMPLETE=0 TASK_DOES_NOT_EXIST=1 LUN_DOES_NOT_EXIST=2
        TASK_STILL_ALLEGIANT=3 REASSIGNMENT_NOT_SUPPORTED=4 FUNCTION_NOT_SUPPORTED=5
        AUTHORIZATION_FAILED=6 FUNCTION_SUCCEEDED=7 FUNCTION_REJECTED=ff
    """,
    "iscsi.errors.RejectReason": """
        DATA_DIGEST_ERROR=2 SNACK_REJECT=3 PROTOCOL_ERROR=4 COMMAND_NOT_SUPPORTED=5
        IMMEDIATE_COMMAND_REJECT=6 TASK_IN_PROGRESS=7 INVALID_DATA_ACK=8 INVALID_PDU_FIELD=9
        LONG_OPERATION_REJECT=a NEGOTIATION_RESET=b WAITING_FOR_LOGOUT=c
    """,
    "iscsi.isns.Function": """
        DEV_ATTR_REG=1 DEV_ATTR_QRY=2 DEV_GET_NEXT=3 DEV_DEREG=4 SCN_REG=5 SCN_DEREG=6
        SCN_EVENT=7 SCN=8 ESI=d HEARTBEAT=e
    """,
    "iscsi.isns.IsnsStatus": """
        SUCCESS=0 UNKNOWN_ERROR=1 FORMAT_ERROR=2 INVALID_REGISTRATION=3 INVALID_QUERY=5
        SOURCE_UNKNOWN=6 SOURCE_ABSENT=7 SOURCE_UNAUTHORIZED=8 NO_SUCH_ENTRY=9
        VERSION_NOT_SUPPORTED=a INTERNAL_ERROR=b BUSY=c MESSAGE_NOT_SUPPORTED=f
        SCN_REGISTRATION_REJECTED=11 ESI_NOT_AVAILABLE=15
    """,
    "iscsi.isns.IsnsFlag": """
        FROM_CLIENT=8000 FROM_SERVER=4000 AUTHENTICATION=2000 REPLACE=1000 LAST_PDU=800
        FIRST_PDU=400
    """,
    "iscsi.isns.NodeType": """
        TARGET=1 INITIATOR=2 CONTROL=4
    """,
    "iscsi.isns.ScnEvent": """
        DD_ADDED=1 DD_REMOVED=2 OBJECT_UPDATED=4 OBJECT_ADDED=8 OBJECT_REMOVED=10 MANAGEMENT=20
        TARGET_AND_SELF_ONLY=40 INITIATOR_AND_SELF_ONLY=80
    """,
    "iscsi.isns.Tag": """
        DELIMITER=0 ENTITY_IDENTIFIER=1 ENTITY_PROTOCOL=2 TIMESTAMP=4 REGISTRATION_PERIOD=6
        PORTAL_IP_ADDRESS=10 PORTAL_PORT=11 ESI_INTERVAL=13 ESI_PORT=14 SCN_PORT=17
        ISCSI_NAME=20 ISCSI_NODE_TYPE=21 ISCSI_ALIAS=22 ISCSI_SCN_BITMAP=23
        PORTAL_GROUP_TAG=33
    """,
    "scsi.alua.AccessState": """
        ACTIVE=0 NONOPTIMIZED=1 STANDBY=2 UNAVAILABLE=3 LBA_DEPENDENT=4 OFFLINE=e
        TRANSITIONING=f
    """,
    "scsi.alua.StatusCode": """
        SET_TARGET_PORT_GROUPS=1 IMPLICIT=2
    """,
    "scsi.control.PageControl": """
        CURRENT=0 CHANGEABLE=1 DEFAULT=2 SAVED=3
    """,
    "scsi.control.QErr": """
        RESUME=0 ABORT_ALL=1 RESERVED=2 ABORT_NEXUS=3
    """,
    "scsi.logs.ResourceCount": """
        AVAILABLE=1 USED=2
    """,
    "scsi.logs.ResourceScope": """
        NOT_REPORTED=0 LOGICAL_UNIT=1 NOT_DEDICATED=2
    """,
    "scsi.lun.AddressMethod": """
        PERIPHERAL=0 FLAT=1 LUN=2
    """,
    "scsi.mmc.MediaEvent": """
        NO_CHANGE=0 NEW_MEDIA=2 REMOVAL=3
    """,
    "scsi.mmc.Profile": """
        NONE=0 CD_ROM=8 DVD_ROM=10
    """,
    "scsi.mmc._Requested": """
        ALL=0 CURRENT=1 ONE=2
    """,
    "scsi.opcodes.DeviceType": """
        DISK=0 TAPE=1 PRINTER=2 PROCESSOR=3 WRITE_ONCE=4 CD_ROM=5 SCANNER=6 OPTICAL=7
        CHANGER=8 COMMUNICATIONS=9 RAID=c ENCLOSURE=d SIMPLIFIED_DISK=e OPTICAL_CARD=f
    """,
    "scsi.pr.InAction": """
        READ_KEYS=0 READ_RESERVATION=1 REPORT_CAPABILITIES=2 READ_FULL_STATUS=3
    """,
    "scsi.pr.OutAction": """
        REGISTER=0 RESERVE=1 RELEASE=2 CLEAR=3 PREEMPT=4 PREEMPT_AND_ABORT=5
        REGISTER_AND_IGNORE=6 REGISTER_AND_MOVE=7
    """,
    "scsi.pr.PrType": """
        WRITE_EXCLUSIVE=1 EXCLUSIVE_ACCESS=3 WRITE_EXCLUSIVE_REGISTRANTS_ONLY=5
        EXCLUSIVE_ACCESS_REGISTRANTS_ONLY=6 WRITE_EXCLUSIVE_ALL_REGISTRANTS=7
        EXCLUSIVE_ACCESS_ALL_REGISTRANTS=8
    """,
    "scsi.provisioning.Provisioning": """
        MAPPED=0 DEALLOCATED=1 ANCHORED=2
    """,
    "scsi.sbc.SanitizeTest": """
        NONE=0 VERIFY=1
    """,
    "scsi.sense.SenseKey": """
        NO_SENSE=0 RECOVERED_ERROR=1 NOT_READY=2 MEDIUM_ERROR=3 HARDWARE_ERROR=4
        ILLEGAL_REQUEST=5 UNIT_ATTENTION=6 DATA_PROTECT=7 BLANK_CHECK=8 VENDOR_SPECIFIC=9
        COPY_ABORTED=a ABORTED_COMMAND=b RESERVED=c VOLUME_OVERFLOW=d MISCOMPARE=e
        COMPLETED=f
    """,
    "scsi.spc.TimestampOrigin": """
        POWER_ON=0 SET_TIMESTAMP=2 OTHER=3
    """,
    "scsi.status.Status": """
        GOOD=0 CHECK_CONDITION=2 CONDITION_MET=4 BUSY=8 RESERVATION_CONFLICT=18
        TASK_SET_FULL=28 ACA_ACTIVE=30 TASK_ABORTED=40
    """,
    "scsi.tokens.OperationStatus": """
        COMPLETED=1 FAILED=2 PARTIAL=3 RESIDUAL=4 IN_FOREGROUND=11 IN_BACKGROUND=12
        TERMINATED=60
    """,
    "scsi.tokens.RodType": """
        ACCESS_UPON_REFERENCE=10000 POINT_IN_TIME_DEFAULT=800000
        POINT_IN_TIME_CHANGE_VULNERABLE=800001 POINT_IN_TIME_PERSISTENT=800002
        POINT_IN_TIME_ANY=80ffff BLOCK_ZERO=ffff0001
    """,
    "scsi.tokens.TransferUnits": """
        BYTES=0 BLOCKS=f1
    """,
    "scsi.transport_id.Protocol": """
        FIBRE_CHANNEL=0 PARALLEL_SCSI=1 SRP=4 ISCSI=5 SAS=6 COPY_MANAGER=c
    """,
    "scsi.xcopy.CopyStatus": """
        IN_PROGRESS=0 COMPLETED=1 FAILED=2
    """,
    "scsi.xcopy.ListIdUsage": """
        HOLD=0 RESERVED=1 DISCARD=2 NONE=3
    """,
    "scsi.xcopy.ReceiveAction": """
        COPY_STATUS=0 OPERATING_PARAMETERS=3 FAILED_SEGMENT_DETAILS=4
    """,
}


#: Bits of our own.
OWN = {"iscsi.keys.KeyPhase", "iscsi.keys.Digest", "scsi.opcodes.Flag"}


def enumerations() -> Iterator[tuple[str, type[enum.IntEnum | enum.IntFlag]]]:
    for package in (scstfs.iscsi, scstfs.scsi):
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for name, value in vars(importlib.import_module(found.name)).items():
                if not isinstance(value, type) or not issubclass(
                    value, enum.IntEnum | enum.IntFlag
                ):
                    continue
                if value.__module__ == found.name:
                    yield f"{found.name.removeprefix('scstfs.')}.{name}", value


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_those_of_the_standards(name: str) -> None:
    members = dict(enumerations())[name].__members__
    found = [f"{member}={value:x}" for member, value in members.items()]
    assert found == NUMBERS[name].split()


def test_no_enumeration_is_missing() -> None:
    assert {name for name, _ in enumerations()} == {*NUMBERS, *OWN}

"""The commands our own devices serve, a row each (SPC-4, SBC-3, MMC-6).

The order of `COMMANDS` is the order of REPORT SUPPORTED OPERATION CODES; a row without `usage` is
not listed there.  Facts are those of SCST 3.10.  A row in `EXTENSIONS` is a command that SCST
refuses and we serve; it replaces the row with the same operation code and service action, if there
is one.
"""

from __future__ import annotations

from typing import Final

from scstfs.scsi.opcodes import (
    Check,
    CommandRow,
    Direction,
    Feature,
    Flag,
    Shape,
    When,
    blocks_at,
    bytes_at,
    opcode,
)

IN: Final = Direction.IN
OUT: Final = Direction.OUT

# Reservations under which all nexuses may send it: Write Exclusive, Exclusive Access, RESERVE.
W: Final = Flag.WRITE_EXCLUSIVE_OK
WE: Final = W | Flag.EXCLUSIVE_ACCESS_OK
RWE: Final = WE | Flag.RESERVE_OK
MEDIUM: Final = Flag.WRITES_MEDIUM
SMALL: Final = Flag.SMALL_TIMEOUT
LONG: Final = Flag.LONG_TIMEOUT
HEAD: Final = Flag.IMPLICIT_HEAD_OF_QUEUE
SERIAL: Final = Flag.SERIALIZED
STRICT: Final = Flag.STRICTLY_SERIALIZED | Flag.SERIALIZED
LOCAL: Final = Flag.LOCAL
FULLY_LOCAL: Final = Flag.FULLY_LOCAL | Flag.LOCAL
# What a port that is not active, or a device whose backing is closed, still executes.
STANDBY: Final = Flag.STANDBY_OK | Flag.INACTIVE_OK
UNAVAILABLE: Final = STANDBY | Flag.UNAVAILABLE_OK
ANY_STATE: Final = UNAVAILABLE | Flag.TRANSITIONING_OK
# About a drive, whatever is in it; a unit attention waits for another command (MMC-6 6.6, 6.7).
DRIVE: Final = RWE | SMALL | Flag.SKIP_UA | Flag.NO_MEDIUM_OK
WHILE_BUSY: Final = Flag.FORMATTING_OK | Flag.SANITIZING_OK

AT_6: Final = blocks_at((1, 3), (4, 1))
AT_10: Final = blocks_at((2, 4), (7, 2))
AT_12: Final = blocks_at((2, 4), (6, 4))
AT_16: Final = blocks_at((2, 8), (10, 4))
AT_32: Final = blocks_at((12, 8), (28, 4))

BYTCHK_1X: Final = Check(1, 0x04, bit=2)
# 32-byte CDBs have the bits in byte 10, but SCST's sense data points at byte 1.
_BYTCHK_1X_32: Final = Check(10, 0x04, bit=2, points_at=1)
# BYTCHK 10b is reserved; with 11b one block of data is compared with every block (SBC-3 5.33).
_BYTCHK_10: Final = Check(1, 0x04, bit=2, unless=0x02)
_NDOB: Final = Check(1, 0x01, bit=0, unless=0x08)
_ANCHOR: Final = Check(1, 0x10, bit=4, unless=0x08)
_NDOB_32: Final = Check(10, 0x01, bit=0, unless=0x08)
_ANCHOR_32: Final = Check(10, 0x10, bit=4, unless=0x08)
# ZNR, for zoned devices, and the reserved bytes.
_SANITIZE_RESERVED: Final = (Check(1, 0x40, bit=6), *(Check(byte, 0xFF) for byte in range(2, 7)))

# fmt: off
COMMANDS: Final[tuple[CommandRow, ...]] = (
    opcode(0x35, "SYNCHRONIZE CACHE(10)", "DWRO", at=blocks_at((2, 4), None),
           execute="synchronize_cache", usage="35 02 ffffffff 00 ffff 04", timeout=60),
    opcode(0x91, "SYNCHRONIZE CACHE(16)", "DWRO", at=blocks_at((2, 8), None),
           execute="synchronize_cache", usage="91 02 ffffffffffffffff ffffffff 00 04",
           timeout=60),
    opcode(0x1A, "MODE SENSE(6)", "*", IN, at=bytes_at(4, 1), flags=W | SMALL | STANDBY,
           execute="mode_sense", usage="1a 08 ff ff ff 04", timeout=10),
    opcode(0x5A, "MODE SENSE(10)", "*", IN, at=bytes_at(7, 2), flags=W | SMALL | STANDBY,
           execute="mode_sense", usage="5a 18 ff ff 000000 ffff 04", timeout=10),
    opcode(0x15, "MODE SELECT(6)", "*", OUT, at=bytes_at(4, 1), flags=STRICT | STANDBY,
           execute="mode_select", usage="15 11 0000 ff 04", timeout=10),
    opcode(0x55, "MODE SELECT(10)", "*", OUT, at=bytes_at(7, 2), flags=STRICT | STANDBY,
           execute="mode_select", usage="55 11 0000000000 ffff 04", timeout=10),
    opcode(0x4C, "LOG SELECT", "*", OUT, at=bytes_at(7, 2), flags=STRICT | STANDBY,
           execute="log_refused", usage="4c 03 ff ff 000000 ffff 04", timeout=10),
    opcode(0x4D, "LOG SENSE", "*", IN, at=bytes_at(7, 2), flags=RWE | SMALL | STANDBY,
           execute="log_refused", usage="4d 01 ff ff 00 ffff ffff 04", timeout=10),
    opcode(0x1B, "START STOP UNIT", "DWROA", flags=LONG, when=When(4, 0xF1, 0x01, RWE),
           execute="start_stop_unit", usage="1b 01 00 0f f7 04", timeout=10),
    opcode(0x25, "READ CAPACITY", "DWRO", IN, fixed=8, flags=RWE | HEAD | ANY_STATE,
           execute="read_capacity_10", usage="25 00 00000000 0000 00 04", timeout=10),
    opcode(0x1D, "SEND DIAGNOSTIC", "*", OUT, at=bytes_at(3, 2), flags=STANDBY,
           execute="send_diagnostic", usage="1d f7 00 ffff 04", timeout=10),
    opcode(0xA3, "REPORT TARGET PORT GROUPS", "DTLWSOMCAEK", IN, sa=0x0A, at=bytes_at(6, 4),
           flags=RWE | LOCAL | ANY_STATE,
           execute="report_target_port_groups", usage="a3 ea 00000000 ffffffff 00 04",
           timeout=10),
    # SCST takes the whole field after byte 1 of a CD-ROM's READ(6) for a length, and reads from the
    # beginning: right for LBA 0 only. We do not.
    opcode(0x08, "READ(6)", "DR", IN, at=AT_6, shape=Shape.SIX, flags=W,
           execute="read", usage="08 1f ffff ff 04", timeout=60),
    opcode(0x28, "READ(10)", "DWRSO", IN, at=AT_10, flags=W, protect=1,
           execute="read", usage="28 f8 ffffffff 00 ffff 04", timeout=60),
    opcode(0xA8, "READ(12)", "DWRO", IN, at=AT_12, flags=W, protect=1,
           execute="read", usage="a8 f8 ffffffff ffffffff 00 04", timeout=60),
    opcode(0x88, "READ(16)", "DWRSO", IN, at=AT_16, flags=W, protect=1,
           execute="read", usage="88 f8 ffffffffffffffff ffffffff 00 04", timeout=60),
    opcode(0x0A, "WRITE(6)", "D", OUT, at=AT_6, shape=Shape.SIX, flags=MEDIUM,
           execute="write", usage="0a 1f ffff ff 04", timeout=60),
    opcode(0x2A, "WRITE(10)", "DWRO", OUT, at=AT_10, flags=MEDIUM, protect=1,
           execute="write", usage="2a fa ffffffff 00 ffff 04", timeout=60),
    opcode(0xAA, "WRITE(12)", "DWRO", OUT, at=AT_12, flags=MEDIUM, protect=1,
           execute="write", usage="aa fa ffffffff ffffffff 00 04", timeout=60),
    opcode(0x8A, "WRITE(16)", "DWRO", OUT, at=AT_16, flags=MEDIUM, protect=1,
           execute="write", usage="8a fa ffffffffffffffff ffffffff 00 04", timeout=60),
    opcode(0x2E, "WRITE AND VERIFY(10)", "DWRO", OUT, at=AT_10, flags=MEDIUM, protect=1,
           execute="write_and_verify", usage="2e f6 ffffffff 00 ffff 04", timeout=60),
    opcode(0xAE, "WRITE AND VERIFY(12)", "DWRO", OUT, at=AT_12, flags=MEDIUM, protect=1,
           execute="write_and_verify", usage="ae f6 ffffffff ffffffff 00 04", timeout=60),
    opcode(0x8E, "WRITE AND VERIFY(16)", "DWRO", OUT, at=AT_16, flags=MEDIUM, protect=1,
           execute="write_and_verify", usage="8e f6 ffffffffffffffff ffffffff 00 04",
           timeout=60),
    opcode(0x2F, "VERIFY(10)", "DWRO", at=AT_10, shape=Shape.VERIFY, flags=W,
           checks=(BYTCHK_1X,), protect=1,
           execute="verify", usage="2f f6 ffffffff 00 ffff 04", timeout=60),
    opcode(0xAF, "VERIFY(12)", "DWRO", at=AT_12, shape=Shape.VERIFY, flags=W,
           checks=(BYTCHK_1X,), protect=1,
           execute="verify", usage="af f6 ffffffff ffffffff 00 04", timeout=60),
    opcode(0x8F, "VERIFY(16)", "DWRO", at=AT_16, shape=Shape.VERIFY, flags=W,
           checks=(BYTCHK_1X,), protect=1,
           execute="verify", usage="8f f6 ffffffffffffffff ffffffff 00 04", timeout=60),
    opcode(0x9E, "READ CAPACITY(16)", "D", IN, sa=0x10, at=bytes_at(10, 4),
           flags=RWE | HEAD | ANY_STATE,
           execute="read_capacity_16", usage="9e 10 0000000000000000 ffffffff 00 04",
           timeout=10),
    opcode(0x41, "WRITE SAME(10)", "D", OUT, at=AT_10, shape=Shape.WRITE_SAME, flags=MEDIUM,
           checks=(_ANCHOR,), protect=1,
           execute="write_same", usage="41 e8 ffffffff 00 ffff 04", timeout=60),
    opcode(0x93, "WRITE SAME(16)", "D", OUT, at=AT_16, shape=Shape.WRITE_SAME, flags=MEDIUM,
           checks=(_NDOB, _ANCHOR), protect=1,
           execute="write_same", usage="93 e8 ffffffffffffffff ffffffff 00 04", timeout=60),
    opcode(0x42, "UNMAP", "D", OUT, at=bytes_at(7, 2), flags=MEDIUM | Flag.DESCRIPTORS,
           execute="unmap", usage="42 00 00000000 00 ffff 04", timeout=60),
    opcode(0x04, "FORMAT UNIT", "DRO", shape=Shape.FORMAT, flags=MEDIUM | LONG | STRICT,
           execute="format_unit", usage="04 f0 000000 04", timeout=3600),
    opcode(0x83, "EXTENDED COPY", "D", OUT, at=bytes_at(10, 4),
           flags=MEDIUM | LOCAL | Flag.THIRD_PARTY | Flag.DESCRIPTORS,
           checks=(Check(1, 0xFF, bit=0),),
           execute="extended_copy", usage="83 00 0000000000000000 ffffffff 00 04",
           timeout=60),
    opcode(0x89, "COMPARE AND WRITE", "D", OUT, at=blocks_at((2, 8), (13, 1)),
           shape=Shape.COMPARE, flags=MEDIUM | LOCAL | Flag.ATOMIC, protect=1,
           execute="compare_and_write", usage="89 f8 ffffffffffffffff 000000 ff 00 04",
           timeout=60),
    opcode(0x7F, "READ(32)", "D", IN, sa=0x09, at=AT_32, flags=W, protect=10,
           requires=Feature.PROTECTION_TYPE_2, execute="read", timeout=60,
           usage="7f 04 00000000 00 18 0009 f8 00 ffffffffffffffff ffffffff ffff ffff ffffffff"),
    opcode(0x7F, "WRITE(32)", "D", OUT, sa=0x0B, at=AT_32, flags=MEDIUM, protect=10,
           requires=Feature.PROTECTION_TYPE_2, execute="write", timeout=60,
           usage="7f 04 00000000 00 18 000b fa 00 ffffffffffffffff ffffffff ffff ffff ffffffff"),
    opcode(0x7F, "VERIFY(32)", "D", sa=0x0A, at=AT_32, shape=Shape.VERIFY, flags=W,
           checks=(_BYTCHK_1X_32,), protect=10,
           requires=Feature.PROTECTION_TYPE_2, execute="verify", timeout=60,
           usage="7f 04 00000000 00 18 000a f6 00 ffffffffffffffff ffffffff ffff ffff ffffffff"),
    opcode(0x7F, "WRITE AND VERIFY(32)", "D", OUT, sa=0x0C, at=AT_32, flags=MEDIUM, protect=10,
           requires=Feature.PROTECTION_TYPE_2, execute="write_and_verify", timeout=60,
           usage="7f 04 00000000 00 18 000c f6 00 ffffffffffffffff ffffffff ffff ffff ffffffff"),
    opcode(0x7F, "WRITE SAME(32)", "D", OUT, sa=0x0D, at=AT_32, shape=Shape.WRITE_SAME,
           flags=MEDIUM, checks=(_NDOB_32, _ANCHOR_32), protect=10,
           requires=Feature.PROTECTION_TYPE_2, execute="write_same", timeout=60,
           usage="7f 04 00000000 00 18 000d e8 00 ffffffffffffffff ffffffff ffff ffff ffffffff"),
    opcode(0x12, "INQUIRY", "*", IN, at=bytes_at(3, 2),
           flags=RWE | SMALL | HEAD | Flag.SKIP_UA | ANY_STATE | WHILE_BUSY | Flag.NO_MEDIUM_OK,
           execute="inquiry", usage="12 01 ff ffff 04", timeout=10),
    opcode(0x00, "TEST UNIT READY", "*", flags=RWE | SMALL | HEAD | Flag.INACTIVE_OK,
           execute="test_unit_ready", usage="00 00 000000 04", timeout=10),
    opcode(0x16, "RESERVE(6)", "*",
           flags=WE | SMALL | LOCAL | SERIAL | Flag.ATOMIC | STANDBY,
           execute="reserve", usage="16 00 000000 04", timeout=10),
    opcode(0x17, "RELEASE(6)", "*", flags=RWE | SMALL | LOCAL | SERIAL | STANDBY,
           execute="release", usage="17 00 000000 04", timeout=10),
    opcode(0x56, "RESERVE(10)", "*",
           flags=WE | SMALL | LOCAL | SERIAL | Flag.ATOMIC | STANDBY,
           execute="reserve", usage="56 00 00000000000000 04", timeout=10),
    opcode(0x57, "RELEASE(10)", "*", flags=RWE | SMALL | LOCAL | SERIAL | STANDBY,
           execute="release", usage="57 00 00000000000000 04", timeout=10),
    opcode(0x5E, "PERSISTENT RESERVE IN", "DTLPWSOMC", IN, at=bytes_at(5, 4),
           flags=WE | SMALL | LOCAL | SERIAL | STANDBY,
           execute="persistent_reserve_in", usage="5e 1f 0000000000 ffff 04",
           timeout=10),
    opcode(0x5F, "PERSISTENT RESERVE OUT", "DTLPWSOMC", OUT, at=bytes_at(5, 4),
           flags=WE | SMALL | LOCAL | SERIAL | STANDBY,
           execute="persistent_reserve_out", usage="5f 1f ff 0000 ffffffff 04", timeout=10),
    opcode(0xA0, "REPORT LUNS", "DTLPWRSOMCA", IN, at=bytes_at(6, 4),
           flags=RWE | SMALL | HEAD | Flag.SKIP_UA | FULLY_LOCAL | ANY_STATE | WHILE_BUSY,
           execute="report_luns", usage="a0 00 ff 000000 ffffffff 00 04", timeout=10),
    opcode(0x03, "REQUEST SENSE", "*", IN, at=bytes_at(4, 1),
           flags=RWE | SMALL | Flag.SKIP_UA | LOCAL | ANY_STATE | WHILE_BUSY,
           execute="request_sense", usage="03 01 0000 ff 04", timeout=10),
    opcode(0xA3, "REPORT SUPPORTED OPERATION CODES", "DTLWSOMCAEK", IN, sa=0x0C,
           at=bytes_at(6, 4), flags=W | FULLY_LOCAL,
           execute="report_supported_opcodes", usage="a3 0c 87 ff ffff ffffffff 00 04",
           timeout=10),
    opcode(0xA3, "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", "DTLWSOMCAEK", IN, sa=0x0D,
           at=bytes_at(6, 4), flags=W | FULLY_LOCAL,
           execute="report_supported_tmf", usage="a3 0d 80 000000 ffffffff 00 04", timeout=10),
    opcode(0xA4, "SET TARGET PORT GROUPS", "DTLWSOMCAEK", OUT, sa=0x0A, at=bytes_at(6, 4),
           flags=LOCAL | STRICT | UNAVAILABLE, requires=Feature.EXPLICIT_ALUA,
           execute="set_target_port_groups", usage="a4 0a 00000000 ffffffff 00 04",
           timeout=10),
    # Served, or refused in their own way, and not listed.
    opcode(0x1E, "PREVENT ALLOW MEDIUM REMOVAL", "*", flags=LONG,
           when=When(4, 0x03, 0x00, RWE), execute="prevent_allow_medium_removal"),
    opcode(0x43, "READ TOC/PMA/ATIP", "R", IN, at=bytes_at(7, 2), execute="read_toc"),
    opcode(0x84, "RECEIVE COPY RESULT", "D", IN, at=bytes_at(10, 4), flags=WE | LOCAL,
           execute="receive_copy_results"),
    opcode(0x9E, "GET LBA STATUS", "D", IN, sa=0x12, at=bytes_at(10, 4, lba=(2, 8)), flags=W,
           execute="invalid_service_action"),
    opcode(0x9E, "SERVICE ACTION IN", "D", IN, shape=Shape.EXPECTED,
           execute="invalid_service_action"),
    opcode(0xA3, "REPORT IDENTIFYING INFORMATION", "DTLWSOMCAEK", IN, sa=0x05,
           at=bytes_at(6, 4), flags=RWE, execute="internal_target_failure"),
    opcode(0xA3, "MAINTENANCE(IN)", "DTLWSOMCAEK", IN, at=bytes_at(6, 4),
           execute="internal_target_failure"),
    opcode(0xA4, "MAINTENANCE(OUT)", "DTLWSOMCAEK", OUT, at=bytes_at(6, 4),
           execute="internal_target_failure"),
)

EXTENSIONS: Final[tuple[CommandRow, ...]] = (
    opcode(0x4D, "LOG SENSE", "D", IN, at=bytes_at(7, 2), flags=RWE | SMALL | STANDBY,
           execute="log_sense", usage="4d 01 ff ff 00 ffff ffff 04", timeout=10,
           extension=True),
    opcode(0x2F, "VERIFY(10)", "D", at=AT_10, shape=Shape.VERIFY, flags=W,
           checks=(_BYTCHK_10,), protect=1,
           execute="verify", usage="2f f6 ffffffff 00 ffff 04", timeout=60, extension=True),
    opcode(0xAF, "VERIFY(12)", "D", at=AT_12, shape=Shape.VERIFY, flags=W,
           checks=(_BYTCHK_10,), protect=1,
           execute="verify", usage="af f6 ffffffff ffffffff 00 04", timeout=60,
           extension=True),
    opcode(0x8F, "VERIFY(16)", "D", at=AT_16, shape=Shape.VERIFY, flags=W,
           checks=(_BYTCHK_10,), protect=1,
           execute="verify", usage="8f f6 ffffffffffffffff ffffffff 00 04", timeout=60,
           extension=True),
    opcode(0x9E, "GET LBA STATUS", "D", IN, sa=0x12, at=bytes_at(10, 4, lba=(2, 8)), flags=W,
           requires=Feature.THIN, execute="get_lba_status",
           usage="9e 12 ffffffffffffffff ffffffff 00 04", timeout=10, extension=True),
    opcode(0x34, "PRE-FETCH", "D", at=AT_10, shape=Shape.NO_DATA, flags=W,
           execute="pre_fetch", usage="34 02 ffffffff 00 ffff 04", timeout=60,
           extension=True),
    opcode(0x90, "PRE-FETCH(16)", "D", at=AT_16, shape=Shape.NO_DATA, flags=W,
           execute="pre_fetch", usage="90 02 ffffffffffffffff ffffffff 00 04", timeout=60,
           extension=True),
    opcode(0x37, "READ DEFECT DATA(10)", "D", IN, at=bytes_at(7, 2), flags=W,
           execute="read_defect_data", usage="37 00 1f 00000000 ffff 04", timeout=10,
           extension=True),
    opcode(0xB7, "READ DEFECT DATA(12)", "D", IN, at=bytes_at(6, 4), flags=W,
           execute="read_defect_data", usage="b7 1f ffffffff ffffffff 00 04", timeout=10,
           extension=True),
    opcode(0x8B, "ORWRITE(16)", "D", OUT, at=AT_16, flags=MEDIUM | Flag.ATOMIC, protect=1,
           execute="orwrite", usage="8b f8 ffffffffffffffff ffffffff 00 04", timeout=60,
           extension=True),
    opcode(0x9C, "WRITE ATOMIC(16)", "D", OUT, at=blocks_at((2, 8), (12, 2)),
           flags=MEDIUM | Flag.ATOMIC, protect=1,
           execute="write_atomic", usage="9c f8 ffffffffffffffff ffff ffff 00 04", timeout=60,
           extension=True),
    opcode(0x48, "SANITIZE OVERWRITE", "D", OUT, sa=0x01, at=bytes_at(7, 2),
           flags=MEDIUM | LONG | STRICT, checks=_SANITIZE_RESERVED,
           execute="sanitize_overwrite", usage="48 a1 0000000000 ffff 04", timeout=3600,
           extension=True),
    opcode(0x48, "SANITIZE BLOCK ERASE", "D", OUT, sa=0x02, at=bytes_at(7, 2),
           flags=MEDIUM | LONG | STRICT, checks=_SANITIZE_RESERVED,
           execute="sanitize_block_erase", usage="48 a2 0000000000 ffff 04", timeout=3600,
           extension=True),
    opcode(0x48, "SANITIZE EXIT FAILURE MODE", "D", OUT, sa=0x1F, at=bytes_at(7, 2),
           flags=MEDIUM | LONG | STRICT, checks=_SANITIZE_RESERVED,
           execute="sanitize_exit_failure_mode", usage="48 1f 0000000000 ffff 04",
           timeout=10, extension=True),
    opcode(0x48, "SANITIZE", "D", OUT, at=bytes_at(7, 2), flags=MEDIUM | LONG | STRICT,
           execute="invalid_service_action", extension=True),
    opcode(0x1C, "RECEIVE DIAGNOSTIC RESULTS", "D", IN, at=bytes_at(3, 2),
           flags=W | STANDBY,
           execute="receive_diagnostic_results", usage="1c 01 ff ffff 04", timeout=10,
           extension=True),
    opcode(0xA3, "REPORT IDENTIFYING INFORMATION", "D", IN, sa=0x05, at=bytes_at(6, 4),
           flags=RWE, execute="report_identifying_information",
           usage="a3 05 00000000 ffffffff fe 04", timeout=10, extension=True),
    opcode(0xA3, "REPORT TIMESTAMP", "D", IN, sa=0x0F, at=bytes_at(6, 4), flags=RWE,
           execute="report_timestamp", usage="a3 0f 00000000 ffffffff 00 04", timeout=10,
           extension=True),
    opcode(0x46, "GET CONFIGURATION", "R", IN, at=bytes_at(7, 2), flags=DRIVE,
           execute="get_configuration", extension=True),
    opcode(0x4A, "GET EVENT STATUS NOTIFICATION", "R", IN, at=bytes_at(7, 2), flags=DRIVE,
           execute="get_event_status_notification", extension=True),
    opcode(0x51, "READ DISC INFORMATION", "R", IN, at=bytes_at(7, 2), flags=W,
           execute="read_disc_information", extension=True),
    opcode(0xBD, "MECHANISM STATUS", "R", IN, at=bytes_at(8, 2), flags=W | Flag.NO_MEDIUM_OK,
           execute="mechanism_status", extension=True),
    # Where there are others with the same operation code, this one has its service action, too.
    opcode(0x83, "EXTENDED COPY", "D", OUT, at=bytes_at(10, 4), checks=(Check(1, 0xFF, bit=0),),
           execute="invalid_service_action", extension=True),
    opcode(0x83, "EXTENDED COPY(LID1)", "D", OUT, sa=0x00, at=bytes_at(10, 4),
           flags=MEDIUM | LOCAL | Flag.THIRD_PARTY | Flag.DESCRIPTORS,
           checks=(Check(1, 0xE0, bit=0),),
           execute="extended_copy", usage="83 00 0000000000000000 ffffffff 00 04",
           timeout=60, extension=True),
    opcode(0x83, "EXTENDED COPY(LID4)", "D", OUT, sa=0x01, at=bytes_at(10, 4),
           flags=MEDIUM | LOCAL | Flag.THIRD_PARTY | Flag.DESCRIPTORS,
           execute="extended_copy_lid4", usage="83 01 0000000000000000 ffffffff 00 04",
           timeout=60, extension=True),
    opcode(0x83, "POPULATE TOKEN", "D", OUT, sa=0x10, at=bytes_at(10, 4),
           flags=W | LOCAL | Flag.DESCRIPTORS, requires=Feature.TOKEN_COPY,
           execute="populate_token", usage="83 10 00000000 ffffffff ffffffff 00 04",
           timeout=60, extension=True),
    opcode(0x83, "WRITE USING TOKEN", "D", OUT, sa=0x11, at=bytes_at(10, 4),
           flags=MEDIUM | LOCAL | Flag.DESCRIPTORS, requires=Feature.TOKEN_COPY,
           execute="write_using_token", usage="83 11 00000000 ffffffff ffffffff 00 04",
           timeout=60, extension=True),
    opcode(0x84, "RECEIVE COPY RESULT", "D", IN, at=bytes_at(10, 4), flags=WE,
           execute="invalid_service_action", extension=True),
    opcode(0x84, "RECEIVE COPY STATUS(LID1)", "D", IN, sa=0x00, at=bytes_at(10, 4),
           flags=WE | LOCAL, execute="receive_copy_results",
           usage="84 00 ff 00000000000000 ffffffff 00 04", timeout=10, extension=True),
    opcode(0x84, "RECEIVE COPY OPERATING PARAMETERS", "D", IN, sa=0x03, at=bytes_at(10, 4),
           flags=WE | LOCAL, execute="receive_copy_results",
           usage="84 03 0000000000000000 ffffffff 00 04", timeout=10, extension=True),
    opcode(0x84, "RECEIVE COPY FAILURE DETAILS(LID1)", "D", IN, sa=0x04, at=bytes_at(10, 4),
           flags=WE | LOCAL, execute="receive_copy_results",
           usage="84 04 ff 00000000000000 ffffffff 00 04", timeout=10, extension=True),
    opcode(0x84, "RECEIVE COPY STATUS(LID4)", "D", IN, sa=0x05, at=bytes_at(10, 4),
           flags=WE | LOCAL, execute="receive_copy_status_lid4",
           usage="84 05 ffffffff 00000000 ffffffff 00 04", timeout=10, extension=True),
    opcode(0x84, "RECEIVE ROD TOKEN INFORMATION", "D", IN, sa=0x07, at=bytes_at(10, 4),
           flags=WE | LOCAL, requires=Feature.TOKEN_COPY,
           execute="receive_rod_token_information",
           usage="84 07 ffffffff 00000000 ffffffff 00 04", timeout=10, extension=True),
)
# fmt: on

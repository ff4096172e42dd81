"""How scstadmin ends, and its codes for refusals."""

from __future__ import annotations

import enum
from collections.abc import Sequence

_DMESG = ' See "dmesg" for more information.'


class Stop(Exception):  # noqa: N818 - an end, not always an error
    """The program ends, with this text on standard output."""

    def __init__(self, words: str, status: int = 1) -> None:
        super().__init__(words)
        self.words = words
        self.status = status


class BadOption(Exception):  # noqa: N818 - it tells about the option
    """Options that there are not, or that are wrong; one line each for standard error."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class Unavailable(Exception):  # noqa: N818 - it tells about the tree
    """A part of the tree could not be read; the message is scstadmin's."""


class Code(enum.IntEnum):
    """The result of a change. The number is an exit status, `text` the message."""

    text: str | None

    def __new__(cls, value: int, text: str | None) -> Code:
        """Make a code with its message; None: there is none."""
        code = int.__new__(cls, value)
        code._value_ = value
        code.text = text
        return code

    DONE = 0, None
    FAILED = 1, None
    FATAL = 2, f"A fatal error occurred.{_DMESG}"

    BAD_ATTRIBUTES = 7, "Bad attributes given for SCST."
    ATTRIBUTE_STATIC = 8, "SCST attribute specified is static"
    SETATTR_FAIL = 9, f"Failed to set a SCST attribute.{_DMESG}"

    HND_NO_HANDLER = 10, "No such handler exists."
    HND_BAD_ATTRIBUTES = 17, "Bad attributes given for handler."
    HND_ATTRIBUTE_STATIC = 18, "Handler attribute given is static."
    HND_SETATTR_FAIL = 19, f"Failed to set handler attribute.{_DMESG}"

    DEV_NO_DEVICE = 20, "No such device exists."
    DEV_EXISTS = 21, "Device already exists."
    DEV_OPEN_FAIL = 22, f"Failed to open device.{_DMESG}"
    DEV_CLOSE_FAIL = 23, f"Failed to close device.{_DMESG}"
    DEV_BAD_ATTRIBUTES = 27, "Bad attributes given for device."
    DEV_ATTRIBUTE_STATIC = 28, "Device attribute specified is static."
    DEV_SETATTR_FAIL = 29, f"Failed to set device attribute.{_DMESG}"

    DRV_NO_DRIVER = 30, "No such driver exists."
    DRV_NOTVIRT = 31, "Driver is incapable of dynamically adding/removing targets or attributes."
    DRV_ADDATTR_FAIL = 35, f"Failed to add driver dynamic attribute.{_DMESG}"
    DRV_REMATTR_FAIL = 36, f"Failed to remove driver dymanic attribute.{_DMESG}"
    DRV_BAD_ATTRIBUTES = 37, "Bad attributes given for driver."
    DRV_ATTRIBUTE_STATIC = 38, "Driver attribute specified is static."
    DRV_SETATTR_FAIL = 39, f"Failed to set driver attribute.{_DMESG}"

    TGT_NO_TARGET = 40, "No such target exists."
    TGT_EXISTS = 41, "Target already exists."
    TGT_ADD_FAIL = 42, f"Failed to add target.{_DMESG}"
    TGT_REM_FAIL = 43, f"Failed to remove target.{_DMESG}"
    TGT_ADDATTR_FAIL = 45, f"Failed to add target dynamic attribute.{_DMESG}"
    TGT_REMATTR_FAIL = 46, f"Failed to remove target dynamic attribute.{_DMESG}"
    TGT_NO_LUN = 47, "No such LUN exists."
    TGT_ADD_LUN_FAIL = 48, f"Failed to add LUN to target.{_DMESG}"
    TGT_LUN_EXISTS = 49, "LUN already exists."
    TGT_BAD_ATTRIBUTES = 50, "Bad attributes given for target."
    TGT_ATTRIBUTE_STATIC = 51, "Target attribute specified is static."
    TGT_SETATTR_FAIL = 52, f"Failed to set target attribute.{_DMESG}"
    TGT_CLR_LUN_FAIL = 53, f"Failed to clear LUNs from target.{_DMESG}"
    TGT_BUSY = 54, f"Failed to remove target - target has active sessions.{_DMESG}"

    GRP_NO_GROUP = 60, "No such group exists."
    GRP_EXISTS = 61, "Group already exists."
    GRP_ADD_FAIL = 62, f"Failed to add group.{_DMESG}"
    GRP_REM_FAIL = 63, f"Failed to remove group.{_DMESG}"
    GRP_NO_LUN = 70, "No such LUN exists."
    GRP_LUN_EXISTS = 71, "LUN already exists."
    GRP_ADD_LUN_FAIL = 72, f"Failed to add LUN to group.{_DMESG}"
    GRP_REM_LUN_FAIL = 73, f"Failed to remove LUN.{_DMESG}"
    GRP_CLR_LUN_FAIL = 75, f"Failed to clear LUNs from group.{_DMESG}"
    GRP_BAD_ATTRIBUTES = 77, "Bad attributes given for group."
    GRP_ATTRIBUTE_STATIC = 78, "Group attribute specified is static."
    GRP_SETATTR_FAIL = 79, f"Failed to set group attribute.{_DMESG}"
    GRP_NO_INI = 80, "No such initiator exists."
    GRP_INI_EXISTS = 81, "Initiator already exists."
    GRP_ADD_INI_FAIL = 82, f"Failed to add initiator.{_DMESG}"
    GRP_REM_INI_FAIL = 83, f"Failed to remove initiator.{_DMESG}"
    GRP_MOV_INI_FAIL = 84, f"Failed to move initiator.{_DMESG}"
    GRP_CLR_INI_FAIL = 85, f"Failed to clear initiators.{_DMESG}"

    LUN_DEV_EXISTS = 91, "Device already exists for LUN."
    LUN_RPL_DEV_FAIL = 96, f"Failed to replace device for LUN.{_DMESG}"
    LUN_BAD_ATTRIBUTES = 97, "Bad attributes for LUN."
    LUN_ATTRIBUTE_STATIC = 98, "LUN attribute specified is static."
    LUN_SETATTR_FAIL = 99, f"Failed to set LUN attribute.{_DMESG}"

    INI_SETATTR_FAIL = 102, f"Failed to set initiator attribute.{_DMESG}"

    NO_SESSION = 110, "Session not found for driver/target."
    SESSION_CLOSE_FAIL = 111, "Failed to close session."

    DEV_GRP_NO_GROUP = 120, "No such device group exists."
    DEV_GRP_EXISTS = 121, "Device group already exists."
    DEV_GRP_ADD_FAIL = 122, f"Failed to add device group.{_DMESG}"
    DEV_GRP_REM_FAIL = 123, f"Failed to remove device group.{_DMESG}"

    # scstadmin has no messages for these three.
    ALUA_BAD_ATTRIBUTES = 125, None
    ALUA_ATTRIBUTE_STATIC = 126, None
    ALUA_SETATTR_FAIL = 127, None

    DGRP_ADD_DEV_FAIL = 130, f"Failed to add device to device group.{_DMESG}"
    DGRP_REM_DEV_FAIL = 131, f"Failed to remove device from device group.{_DMESG}"
    DGRP_NO_DEVICE = 132, "No such device in device group."
    DGRP_DEVICE_EXISTS = 133, "Device already exists within device group."
    DGRP_ADD_GRP_FAIL = 134, f"Failed to add target group to device group.{_DMESG}"
    DGRP_REM_GRP_FAIL = 135, f"Failed to remove target group from device group.{_DMESG}"
    DGRP_NO_GROUP = 136, "No such target group exists within device group."
    DGRP_GROUP_EXISTS = 137, "Target group already exists within device group."
    DGRP_DEVICE_OTHER = 138, "Device is already assigned to another device group."
    DGRP_BAD_ATTRIBUTES = 140, "Bad attributes for device group."
    DGRP_ATTRIBUTE_STATIC = 141, "Device group attribute specified is static."
    DGRP_SETATTR_FAIL = 142, f"Failed to set device group attribute.{_DMESG}"

    TGRP_BAD_ATTRIBUTES = 150, "Bad attributes for target group."
    TGRP_ATTRIBUTE_STATIC = 151, "Target group attribute specified is static."
    TGRP_SETATTR_FAIL = 152, f"Failed to set target group attribute.{_DMESG}"
    TGRP_ADD_TGT_FAIL = 160, "Failed to add target to target group."
    TGRP_REM_TGT_FAIL = 161, "Failed to remove target from target group."
    TGRP_NO_TGT = 162, "No such target exists within target group."
    TGRP_TGT_EXISTS = 163, "Target already exists within target group."
    TGRP_TGT_BAD_ATTR = 170, "Bad attributes for target group target."
    TGRP_TGT_ATTR_STATIC = 171, "Target group target attribute specified is static."
    TGRP_TGT_SETATTR_FAIL = 172, f"Failed to set target group target attribute.{_DMESG}"


def fatal(message: str) -> Stop:
    """The end of the program because of an error."""
    return Stop(f"\n\nFATAL: Received the following error:\n\n\t{message}\n\n")


def unreadable(error: OSError) -> Stop:
    """The end of the program because a part of the tree cannot be read."""
    return fatal(f"Unable to read directory '{error.filename}': {error.strerror}")

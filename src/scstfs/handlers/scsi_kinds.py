"""The types of SCSI devices that can be passed through: a row each."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from scstfs.scsi.opcodes import DeviceType, Flag


class Probe(enum.Enum):
    """What is read from a device when a handler gets it, besides its control mode page."""

    CAPACITY = "READ CAPACITY(10): the size of its blocks"
    BLOCK_DESCRIPTOR = "MODE SENSE(6): the size of its blocks, if it is ready"
    READINESS = "TEST UNIT READY: pending unit attentions"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Timeouts of commands (seconds), by their class in the opcode table."""

    small: int
    regular: int
    long: int

    def of(self, flags: Flag) -> int:
        """The time for a command with these flags."""
        if flags & Flag.LONG_TIMEOUT:
            return self.long
        return self.small if flags & Flag.SMALL_TIMEOUT else self.regular


@dataclass(frozen=True, slots=True)
class ScsiKind:
    """One type of devices.

    ``lanes`` is the number of commands that a device gets at a time, besides those that overtake
    all others; it is 1 if the order matters. ``block_size`` (bytes) is assumed as long as the
    device does not report one; 0: it has no blocks.
    """

    handler: str
    type: DeviceType
    probe: Probe
    timeouts: Timeouts
    lanes: int = 1
    block_size: int = 0
    #: There is a second handler, NAME_perf.
    has_perf: bool = False
    #: The device-specific parameter of its mode parameter header has a write protect bit.
    write_protect: bool = False
    #: The high bits of byte 1, a LUN in SCSI-2, are cleared.
    without_lun: bool = False


#: The kernel's sg driver takes at most 16 commands at a time from one open file.
_RANDOM_ACCESS_LANES: Final = 14

#: For commands that overtake all others.
OVERTAKING_LANES: Final = 2

_MINUTES: Final = Timeouts(small=3, regular=900, long=14000)
_SHORT: Final = Timeouts(small=3, regular=3, long=14000)

_ROWS: Final = (
    ScsiKind(
        "dev_cdrom",
        DeviceType.CD_ROM,
        Probe.CAPACITY,
        _MINUTES,
        lanes=_RANDOM_ACCESS_LANES,
        block_size=2048,
        without_lun=True,
    ),
    ScsiKind("dev_changer", DeviceType.CHANGER, Probe.READINESS, _SHORT),
    ScsiKind(
        "dev_disk",
        DeviceType.DISK,
        Probe.CAPACITY,
        Timeouts(small=10, regular=60, long=3600),
        lanes=_RANDOM_ACCESS_LANES,
        block_size=512,
        has_perf=True,
        write_protect=True,
    ),
    ScsiKind(
        "dev_modisk",
        DeviceType.OPTICAL,
        Probe.CAPACITY,
        _MINUTES,
        lanes=_RANDOM_ACCESS_LANES,
        block_size=1024,
        has_perf=True,
        write_protect=True,
        without_lun=True,
    ),
    ScsiKind("dev_processor", DeviceType.PROCESSOR, Probe.READINESS, _SHORT),
    ScsiKind("dev_raid", DeviceType.RAID, Probe.READINESS, _SHORT),
    ScsiKind(
        "dev_tape",
        DeviceType.TAPE,
        Probe.BLOCK_DESCRIPTOR,
        _MINUTES,
        block_size=512,
        has_perf=True,
        write_protect=True,
    ),
)

KINDS: Final[Mapping[DeviceType, ScsiKind]] = MappingProxyType({row.type: row for row in _ROWS})

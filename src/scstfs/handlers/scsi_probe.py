"""Reads the properties of a SCSI device of this machine before commands are passed to it.

Everything here blocks and runs in worker threads.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

from scstfs.handlers.device_node import DeviceNode
from scstfs.handlers.scsi_kinds import Probe, ScsiKind
from scstfs.handlers.scsi_transfer import ASIDE_TIMEOUT
from scstfs.scsi import sense
from scstfs.scsi.control import ControlValues
from scstfs.scsi.opcodes import NO_FLAGS
from scstfs.scsi.sense import Received, SenseKey
from scstfs.scsi.status import Status
from scstfs.sgutils.sg_pt import TransportError

#: A device with this many unit attentions in a row is refused.
_TRIES: Final = 5

_TEST_UNIT_READY: Final = bytes(6)
_READ_CAPACITY: Final = b"\x25" + bytes(9)
_MODE_SENSE: Final = b"\x1a\0\0\0\xff\0"
#: Without block descriptors; a header of 4 bytes and the page's first 10.
_CONTROL_PAGE: Final = b"\x1a\x08\x0a\0\x0e\0"
_HEADER: Final = 4
_PAGE_END: Final = 14


class Control(NamedTuple):
    """The fields of the control mode page (SPC-4 7.5.8) that the core uses."""

    values: ControlValues = ControlValues()
    separate_task_sets: bool = False


@dataclass(slots=True)
class Findings:
    """The properties read; initiators must be told the unit attentions that came up."""

    block_size: int = 0
    control: Control | None = None
    unit_attentions: list[Received] = field(default_factory=list)


def examine(node: DeviceNode, kind: ScsiKind) -> Findings:
    """Read a device's properties; raises OSError if it cannot be used."""
    findings = Findings(block_size=kind.block_size)
    _PROBES[kind.probe](_Questions(node, findings), kind)
    findings.control = read_control(node, findings)
    return findings


def read_control(node: DeviceNode, findings: Findings) -> Control | None:
    """The control mode page, None if the device does not show it; raises OSError."""
    data = _Questions(node, findings).ask(_CONTROL_PAGE, _PAGE_END, ASIDE_TIMEOUT)
    if data is None or len(data) < _PAGE_END:
        return None
    page = data[_HEADER:]
    return Control(ControlValues.of_page(page), separate_task_sets=page[2] >> 5 == 1)


@dataclass(frozen=True, slots=True)
class _Questions:
    node: DeviceNode
    findings: Findings

    def ask(self, cdb: bytes, length: int, timeout: int) -> bytes | None:
        """The data of a command, None if it failed; unit attentions are collected.

        Raises OSError, ENODEV if there are too many of them.
        """
        for _ in range(_TRIES):
            room = bytearray(length)
            try:
                result = self.node.execute(cdb, timeout, data_in=room or None)
            except TransportError:
                return None
            if result.status == Status.GOOD:
                return bytes(room[: result.received])
            said = sense.received(result.sense)
            if said is None or said.key is not SenseKey.UNIT_ATTENTION:
                return None
            self.findings.unit_attentions.append(said)
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))


def _capacity(questions: _Questions, kind: ScsiKind) -> None:
    data = questions.ask(_READ_CAPACITY, 8, kind.timeouts.of(NO_FLAGS))
    size = capacity_block_size(data or b"", ten=True)
    if size:
        questions.findings.block_size = size


def _block_descriptor(questions: _Questions, kind: ScsiKind) -> None:
    if questions.ask(_TEST_UNIT_READY, 0, kind.timeouts.small) is None:
        # For example, the drive has no tape.
        return
    data = questions.ask(_MODE_SENSE, 255, kind.timeouts.small)
    if data is None:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
    size = mode_block_size(data, ten=False)
    if size is not None:
        questions.findings.block_size = size


def _readiness(questions: _Questions, kind: ScsiKind) -> None:
    questions.ask(_TEST_UNIT_READY, 0, kind.timeouts.small)


_PROBES: Final[Mapping[Probe, Callable[[_Questions, ScsiKind], None]]] = MappingProxyType(
    {
        Probe.CAPACITY: _capacity,
        Probe.BLOCK_DESCRIPTOR: _block_descriptor,
        Probe.READINESS: _readiness,
    }
)


def capacity_block_size(data: bytes | memoryview, *, ten: bool) -> int:
    """The size of blocks (bytes) in the data of READ CAPACITY (10) or (16); 0: none."""
    start = 4 if ten else 8
    return int.from_bytes(data[start : start + 4], "big") if len(data) >= start + 4 else 0


def mode_block_size(data: bytes | memoryview, *, ten: bool) -> int | None:
    """The size of blocks (bytes) in a mode parameter list, None without a block descriptor.

    0 stands for blocks of any size, as tapes may have them.
    """
    header = 8 if ten else _HEADER
    if len(data) < header + 8:
        return None
    length = int.from_bytes(data[6:8], "big") if ten else data[3]
    return int.from_bytes(data[header + 5 : header + 8], "big") if length == 8 else None

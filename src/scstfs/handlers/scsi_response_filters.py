"""Changes to a SCSI device's answer before its initiator gets it, and what we learn from it.

One row for each operation code with a filter; all other answers pass unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from scstfs.core.alua import group_of
from scstfs.handlers.scsi_probe import capacity_block_size, mode_block_size
from scstfs.scsi import sense
from scstfs.scsi.opcodes import DeviceType
from scstfs.scsi.sense import SenseKey

if TYPE_CHECKING:
    from scstfs.core.command import Command
    from scstfs.handlers.scsi_device import ScsiDevice

_EVPD: Final = 0x01
_DEVICE_IDENTIFICATION: Final = 0x83
_WRITE_PROTECT: Final = 0x80
_PAGE_CONTROL: Final = 0xC0
_READ_CAPACITY_16: Final = 0x10

# In a designation descriptor (SPC-4 7.8.6): binary, of a target port, and two types of those.
_BINARY: Final = 0x01
_TARGET_PORT: Final = 0x10
_ASSOCIATION: Final = 0x30
_RELATIVE_TARGET_PORT: Final = 0x04
_TARGET_PORT_GROUP: Final = 0x05


def _inquiry(device: ScsiDevice, cmd: Command, data: memoryview) -> None:
    """Replace the device's ports in the device identification page by our target port."""
    if not cmd.cdb[1] & _EVPD or cmd.cdb[2] != _DEVICE_IDENTIFICATION or len(data) < 4:
        return
    target = cmd.session.target
    group = group_of(device)
    entry = None if group is None else group.find_entry(target.name)
    values = {
        _RELATIVE_TARGET_PORT: target.rel_tgt_id,
        _TARGET_PORT_GROUP: 0 if entry is None else entry[0].group_id,
    }
    end = min(len(data), 4 + int.from_bytes(data[2:4], "big"))
    start = 4
    while start + 4 <= end:
        length, kind = data[start + 3], data[start + 1]
        is_number = data[start] & 0x0F == _BINARY and length == 4 and start + 8 <= end
        value = values.get(kind & 0x0F)
        if is_number and kind & _ASSOCIATION == _TARGET_PORT and value is not None:
            data[start + 6 : start + 8] = value.to_bytes(2, "big")
        start += 4 + length


def _request_sense(device: ScsiDevice, cmd: Command, data: memoryview) -> None:
    """A unit attention that one initiator gets by REQUEST SENSE concerns the others, too."""
    said = sense.received(bytes(data))
    if said is not None and said.key is SenseKey.UNIT_ATTENTION:
        device.spread(said, told=cmd)


def _read_capacity_10(device: ScsiDevice, cmd: Command, data: memoryview) -> None:
    _take_capacity(device, data, ten=True)


def _service_action_in(device: ScsiDevice, cmd: Command, data: memoryview) -> None:
    if cmd.cdb[1] & 0x1F == _READ_CAPACITY_16:
        _take_capacity(device, data, ten=False)


def _take_capacity(device: ScsiDevice, data: memoryview, *, ten: bool) -> None:
    size = capacity_block_size(data, ten=ten)
    if size:
        device.set_block_size(size)


def _mode_sense(device: ScsiDevice, cmd: Command, data: memoryview) -> None:
    ten = cmd.cdb[0] == 0x5A
    if device.type is DeviceType.TAPE and not cmd.cdb[2] & _PAGE_CONTROL:
        _take_block_descriptor(device, data, ten=ten)
    where = 3 if ten else 2
    protected = cmd.tgt_dev.read_only or device.control.swp
    if device.kind.write_protect and protected and len(data) > where:
        data[where] |= _WRITE_PROTECT


def _mode_select(device: ScsiDevice, cmd: Command, _data: memoryview) -> None:
    if device.type is DeviceType.TAPE:
        _take_block_descriptor(device, memoryview(cmd.data), ten=cmd.cdb[0] == 0x55)
    device.tell_others(cmd, sense.MODE_PARAMETERS_CHANGED)


def _log_select(device: ScsiDevice, cmd: Command, _data: memoryview) -> None:
    device.tell_others(cmd, sense.LOG_PARAMETERS_CHANGED)


def _take_block_descriptor(device: ScsiDevice, data: memoryview, *, ten: bool) -> None:
    size = mode_block_size(data, ten=ten)
    if size is not None:
        device.set_block_size(size)


#: Operation code → filter that is called if the status is GOOD; it changes ``data``, the data-in,
#: in place.
AFTER: Final[Mapping[int, Callable[[ScsiDevice, Command, memoryview], None]]] = MappingProxyType(
    {
        0x03: _request_sense,
        0x12: _inquiry,
        0x15: _mode_select,
        0x1A: _mode_sense,
        0x25: _read_capacity_10,
        0x4C: _log_select,
        0x55: _mode_select,
        0x5A: _mode_sense,
        0x9E: _service_action_in,
    }
)

#: Commands that may change the control mode page.
CHANGING_MODES: Final = frozenset({0x15, 0x55})

#: Additional sense codes of unit attentions after which the control mode page may have changed:
#: medium changed, reset, parameters changed, commands cleared by another initiator.
_MODES_CHANGED: Final = frozenset({0x28, 0x29, 0x2F})


def may_change_modes(condition: sense.Sense) -> bool:
    """Whether the device's mode parameters must be read again after this unit attention."""
    return condition.asc in _MODES_CHANGED or condition.triple[1:] == (0x2A, 0x01)


def tape_data_length(cdb: bytes, said: sense.Received, block_size: int) -> int | None:
    """The bytes that a READ(6) of a tape returned before a mark or a block of another length.

    It is the requested length minus the INFORMATION field; None if the sense data has none.
    """
    flags, valid = 0, False
    if said.data[0] & 0x7F == 0x70 and len(said.data) > 7:
        flags, valid = said.data[2] & 0xE0, bool(said.data[0] & 0x80)
    if cdb[0] != 0x08 or cdb[1] & 0x02 or not flags or not valid:
        return None
    missing = int.from_bytes(said.data[3:7], "big")
    asked = int.from_bytes(cdb[2:5], "big")
    if missing > asked:
        # A block longer than requested.
        return None
    return (asked - missing) * (block_size if cdb[1] & 0x01 else 1)

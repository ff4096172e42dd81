"""Mode pages: MODE SENSE and MODE SELECT (SPC-4 6.11, 7.5).

`ModePages` is the state of one device: current, default and saved values.  The caller changes it in
steps, because a change may need a file reopened or written, and must be undone if that fails.
Answers are byte for byte SCST's, even where SCST differs from SPC-4, with one exception: a
parameter list may have several pages, and takes effect as a whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from scstfs.scsi.control import ControlValues, PageControl, check_control_page, control_page
from scstfs.scsi.mmc import capabilities_page
from scstfs.scsi.opcodes import DeviceType
from scstfs.scsi.sense import (
    INVALID_FIELD_IN_CDB,
    PARAMETER_LIST_LENGTH_ERROR,
    SAVING_NOT_SUPPORTED,
    CheckCondition,
    invalid_field_in_cdb,
    invalid_field_in_parameter_list,
)

_MODE_SENSE_6: Final = 0x1A
_MODE_SELECT_6: Final = 0x15
_DBD: Final = 0x08
_PF: Final = 0x10
_SP: Final = 0x01
_PS: Final = 0x80
_SPF: Final = 0x40
_WRITE_PROTECTED: Final = 0x80
_DPOFUA: Final = 0x10
_ALL_PAGES: Final = 0x3F
_CACHING: Final = 0x08
_CACHING_LENGTH: Final = 18
_CONTROL: Final = 0x0A
_CONTROL_LENGTH: Final = 10
_WCE: Final = 0x04
_LARGEST: Final = 0xFFFFFFFF

_HEADS: Final = 255
_SECTORS: Final = 56
_ROTATION_RATE: Final = 15000

# Pages that never change, by page code: code, length, contents.
_ERROR_RECOVERY: Final = bytes.fromhex("010a c0010000000001 00ffff")
_DISCONNECT: Final = bytes.fromhex("020e 8080000a00000000000000000000")
_EXCEPTIONS: Final = bytes.fromhex("1c0a 08000000000000000000")
_CACHING_PAGE: Final = bytes.fromhex("0812 000000000000000000008014000000000000")


@dataclass(frozen=True, slots=True)
class SetControl:
    """A step of MODE SELECT: new control values, to be saved if `save`."""

    values: ControlValues
    save: bool


@dataclass(frozen=True, slots=True)
class SetCache:
    """A step of MODE SELECT: whether writes go through the cache, to be saved if `save`."""

    write_through: bool
    save: bool


#: One change that a MODE SELECT requests.
ModeStep: TypeAlias = SetControl | SetCache


@dataclass(slots=True)
class ModePages:
    """Mode parameters of one device.

    `saving` says whether parameters can be saved at all; with `nv_cache` there is no volatile cache
    to switch off; with `fixed_cache` attempts to do so are ignored. `write_through` is the current
    value; the default is always False.
    """

    device_type: int = DeviceType.DISK
    task_set: int = 1
    saving: bool = True
    nv_cache: bool = False
    fixed_cache: bool = False
    cluster_mode: bool = False
    write_through: bool = False
    saved_write_through: bool = False
    default: ControlValues = field(default_factory=ControlValues)
    current: ControlValues = field(default_factory=ControlValues)
    saved: ControlValues = field(default_factory=ControlValues)

    def sense(self, cdb: bytes, geometry: Geometry, read_only: bool) -> bytes:
        """Return the data for a MODE SENSE (6) or (10) CDB, to be cut; raises CheckCondition."""
        short = cdb[0] == _MODE_SENSE_6
        if not (cdb[4] if short else any(cdb[7:9])):
            return b""
        page_control = PageControl(cdb[2] >> 6)
        if page_control is PageControl.SAVED and not self.saving:
            raise CheckCondition(SAVING_NOT_SUPPORTED)
        if cdb[3]:
            raise invalid_field_in_cdb(3)
        specific = _WRITE_PROTECTED if read_only else 0
        if self.device_type != DeviceType.CD_ROM:
            specific |= _DPOFUA
        descriptor = b"" if cdb[1] & _DBD else geometry.descriptor()
        body = descriptor + self._pages(cdb[2] & 0x3F, page_control, geometry)
        head = bytes((self.device_type, specific))
        if short:
            return bytes(((len(body) + 3) & 0xFF,)) + head + bytes((len(descriptor),)) + body
        size = (len(body) + 6).to_bytes(2, "big")
        return size + head + bytes(2) + len(descriptor).to_bytes(2, "big") + body

    def _pages(self, code: int, page_control: PageControl, geometry: Geometry) -> bytes:
        pages = _CD_ROM_PAGES if self.device_type == DeviceType.CD_ROM else _PAGES
        if code == _ALL_PAGES:
            return b"".join(build(self, page_control, geometry) for build in pages.values())
        builder = pages.get(code)
        if builder is None:
            raise invalid_field_in_cdb(2, 0)
        return builder(self, page_control, geometry)

    def caching_page(self, page_control: PageControl) -> bytes:
        """Return the Caching page (SBC-3 6.5.5)."""
        through = {
            PageControl.CURRENT: self.write_through,
            PageControl.CHANGEABLE: False,
            PageControl.DEFAULT: False,
            PageControl.SAVED: self.saved_write_through,
        }[page_control]
        page = bytearray(_CACHING_PAGE)
        if page_control is PageControl.CHANGEABLE:
            page[2:] = bytes(_CACHING_LENGTH)
        if not self.nv_cache:
            page[0] |= _PS if self.saving else 0
            page[2] |= 0 if through else _WCE
        return bytes(page)

    def select(self, cdb: bytes, data: bytes) -> list[ModeStep]:
        """Return the steps that a MODE SELECT (6) or (10) parameter list requests, in order.

        Nothing changes yet; raises CheckCondition if any part is wrong.  `data` is as long as the
        parameter list length, which may be zero.
        """
        if self.cluster_mode:
            raise CheckCondition(INVALID_FIELD_IN_CDB)
        if not data:
            return []
        if not cdb[1] & _PF:
            raise invalid_field_in_cdb(1)
        # The header ends with the block descriptor length.
        offset, size = (4, 1) if cdb[0] == _MODE_SELECT_6 else (8, 2)
        if len(data) < offset:
            raise CheckCondition(PARAMETER_LIST_LENGTH_ERROR)
        descriptors = int.from_bytes(data[offset - size : offset], "big")
        if descriptors not in (0, 8):
            raise invalid_field_in_parameter_list(offset - 1)
        if len(data) < offset + descriptors:
            raise CheckCondition(PARAMETER_LIST_LENGTH_ERROR)
        save = bool(cdb[1] & _SP)
        return list(self._steps(data, offset + descriptors, save))

    def _steps(self, data: bytes, offset: int, save: bool) -> Iterator[ModeStep]:
        while offset < len(data):
            self._check_page(data, offset)
            length = data[offset + 1]
            if data[offset] == _CACHING:
                if save and (self.nv_cache or not self.saving):
                    raise invalid_field_in_cdb(1, 0)
                yield SetCache(not data[offset + 2] & _WCE, save)
            else:
                if save and not self.saving:
                    raise invalid_field_in_cdb(2, 1)
                page = data[offset : offset + 2 + length]
                check_control_page(page, offset, self.task_set)
                yield SetControl(ControlValues.of_page(page), save)
            offset += 2 + length

    def _check_page(self, data: bytes, offset: int) -> None:
        """Raise CheckCondition unless there is a complete page that can be set."""
        head = data[offset]
        if head & _PS:
            raise invalid_field_in_parameter_list(offset, 7)
        if head & _SPF:
            raise invalid_field_in_parameter_list(offset, 6)
        lengths = {_CONTROL: _CONTROL_LENGTH}
        if self.device_type != DeviceType.CD_ROM:
            lengths[_CACHING] = _CACHING_LENGTH
        if head not in lengths:
            raise invalid_field_in_parameter_list(offset, 0)
        if len(data) < offset + 2:
            raise CheckCondition(PARAMETER_LIST_LENGTH_ERROR)
        length = data[offset + 1]
        if length != lengths[head]:
            raise invalid_field_in_parameter_list(offset + 1)
        if len(data) < offset + 2 + length:
            # SCST continues with the contents of the buffer behind the list.
            raise CheckCondition(PARAMETER_LIST_LENGTH_ERROR)

    def apply(self, step: ModeStep) -> bool:
        """Take a step; return whether the saved parameters must be written now.

        If a step fails elsewhere, restore the old values with `revert`; when saved parameters have
        been written, call `keep`.
        """
        if isinstance(step, SetControl):
            changed = step.values != self.current
            self.current = step.values
        else:
            changed = step.write_through != self.write_through
            if not (self.nv_cache or self.fixed_cache):
                self.write_through = step.write_through
        return changed and step.save

    def values(self) -> tuple[ControlValues, bool]:
        """Return the current values, for `revert`."""
        return self.current, self.write_through

    def revert(self, values: tuple[ControlValues, bool]) -> None:
        """Restore the current values that `values` returned."""
        self.current, self.write_through = values

    def keep(self, step: ModeStep) -> None:
        """Make the values of `step` the saved ones: they have been written.

        A reset may have changed the current values meanwhile.
        """
        if isinstance(step, SetControl):
            self.saved = step.values
        elif not (self.nv_cache or self.fixed_cache):
            self.saved_write_through = step.write_through

    def reset(self) -> None:
        """Do what a logical unit reset does: saved control values, and the default cache."""
        self.current = self.saved
        if not (self.nv_cache or self.fixed_cache):
            self.write_through = False


@dataclass(frozen=True, slots=True)
class Geometry:
    """The size of a device, in blocks, and of a block, in bytes; `locked` keeps its medium in."""

    blocks: int
    block_size: int
    locked: bool = False

    def descriptor(self) -> bytes:
        """Return the short LBA mode parameter block descriptor; a size too large is FFFFFFFFh."""
        return min(self.blocks, _LARGEST).to_bytes(4, "big") + self.block_size.to_bytes(4, "big")

    def format_page(self) -> bytes:
        """Return the Format Device page; its number of sectors per track has no meaning."""
        out = bytearray(bytes.fromhex("0316") + bytes(22))
        out[10:12] = _SECTORS.to_bytes(2, "big")
        out[12:14] = (self.block_size & 0xFFFF).to_bytes(2, "big")
        out[20] = 0x40  # hard sectors
        return bytes(out)

    def rigid_disk_page(self) -> bytes:
        """Return the Rigid Disk Geometry page: the cylinders that add up to the size."""
        cylinders = -(-self.blocks // (_HEADS * _SECTORS))
        out = bytearray(bytes.fromhex("0416") + bytes(22))
        out[2:5] = (cylinders & 0xFFFFFF).to_bytes(3, "big")
        out[5] = _HEADS
        out[20:22] = _ROTATION_RATE.to_bytes(2, "big")
        return bytes(out)


_Builder = Callable[[ModePages, PageControl, Geometry], bytes]


def _constant(page: bytes) -> _Builder:
    return lambda pages, page_control, geometry: _unchangeable(page, page_control)


def _unchangeable(page: bytes, page_control: PageControl) -> bytes:
    """Return `page`, or its mask of changeable bits, which is zero."""
    if page_control is PageControl.CHANGEABLE:
        return page[:2] + bytes(len(page) - 2)
    return page


_PAGES: Final[Mapping[int, _Builder]] = {
    0x01: _constant(_ERROR_RECOVERY),
    0x02: _constant(_DISCONNECT),
    0x03: lambda _, control, geometry: _unchangeable(geometry.format_page(), control),
    _CACHING: lambda pages, control, _: pages.caching_page(control),
    _CONTROL: lambda pages, control, _: control_page(pages, control),
    0x1C: _constant(_EXCEPTIONS),
    0x04: lambda _, control, geometry: _unchangeable(geometry.rigid_disk_page(), control),
}

_CD_ROM_PAGES: Final[Mapping[int, _Builder]] = {
    **{code: _PAGES[code] for code in (0x01, _CONTROL, 0x1C)},
    0x2A: lambda _, control, geometry: _unchangeable(capabilities_page(geometry.locked), control),
}

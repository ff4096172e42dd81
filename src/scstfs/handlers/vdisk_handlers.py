"""The four handlers of virtual devices: a row each."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from scstfs.core.trace import TraceLog
from scstfs.handlers import atomic, erasing, mmc, sbc, spc
from scstfs.handlers.block_store import BlockStore
from scstfs.handlers.settings import NULLIO_SIZE
from scstfs.handlers.store import FileStore, NullStore, Store
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.handlers.vdisk_handler import VdiskHandler
from scstfs.scsi.identity import VENDOR_BLOCK, VENDOR_FILE
from scstfs.scsi.opcodes import DeviceType, Flag

CD_BLOCK_SHIFT: Final = 11

#: Trace categories of all four, besides the common ones.
_TRACES: Final = MappingProxyType({"order": 0x80000000})

_COMMANDS: Final = MappingProxyType(
    {**spc.COMMANDS, **sbc.COMMANDS, **erasing.COMMANDS, **mmc.COMMANDS}
)


def _open_file(device: VdiskDevice, filename: str | None) -> Store | None:
    if filename is None:
        return None
    store = FileStore(
        filename,
        read_only=device.read_only,
        direct=device.settings.o_direct,
        block_size=1 << device.block_shift,
        engine=device.disks,
    )
    return _recovered(device, store)


def _open_block(device: VdiskDevice, filename: str | None) -> Store | None:
    if filename is None:
        return None
    store = BlockStore(
        filename,
        read_only=device.read_only,
        block_size=1 << device.block_shift,
        engine=device.disks,
    )
    return _recovered(device, store)


def _recovered(device: VdiskDevice, store: FileStore) -> Store:
    if not device.read_only:
        try:
            atomic.recover(store, device.undo)
        except OSError:
            store.abandon()
            raise
    return store


def _open_nothing(device: VdiskDevice, filename: str | None) -> Store:
    return NullStore(device.settings.size)


def vdisk_handlers() -> list[VdiskHandler]:
    """vdisk_fileio, vdisk_blockio, vdisk_nullio and vcdrom; they share their trace level."""
    log = TraceLog("dev_vdisk", ", order", _TRACES)
    return [
        VdiskHandler(
            name="vdisk_fileio",
            type=DeviceType.DISK,
            vendor=VENDOR_FILE,
            trace=log,
            threads_num=8,
            open_store=_open_file,
            commands=_COMMANDS,
            accepts_all_parameters=True,
            needs_filename=True,
            checks_write_options=True,
            checks_range_early=True,
        ),
        VdiskHandler(
            name="vdisk_blockio",
            type=DeviceType.DISK,
            vendor=VENDOR_BLOCK,
            trace=log,
            threads_num=1,
            open_store=_open_block,
            is_block=True,
            commands=_COMMANDS,
            needs_filename=True,
            thin_by_default=True,
        ),
        VdiskHandler(
            name="vdisk_nullio",
            type=DeviceType.DISK,
            vendor=VENDOR_FILE,
            trace=log,
            threads_num=1,
            open_store=_open_nothing,
            commands=_COMMANDS,
            size=NULLIO_SIZE,
            fixed_cache=True,
            flushes=False,
            keeps_data=False,
        ),
        VdiskHandler(
            name="vcdrom",
            type=DeviceType.CD_ROM,
            vendor=VENDOR_FILE,
            trace=log,
            threads_num=8,
            open_store=_open_file,
            commands=_COMMANDS,
            block_shift=CD_BLOCK_SHIFT,
            checks_range_early=True,
            allowed_without_store=Flag.NO_MEDIUM_OK,
        ),
    ]

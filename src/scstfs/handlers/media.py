"""Opening and closing what is behind a virtual device that exists: ``active``, ``filename``.

Files are opened in a worker thread before anything changes, and no command runs while one store
takes the place of another.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from scstfs.core.waiting import quiet
from scstfs.sysfs.errors import SysfsError, removed

if TYPE_CHECKING:
    from scstfs.handlers.store import Store
    from scstfs.handlers.vdisk import VdiskDevice


async def activate(device: VdiskDevice) -> None:
    """Open the store of a device that is not active.

    Raises SysfsError with the errno of open(2), in which case the device stays closed.
    """
    store = await _open(device, device.settings.filename)
    if device.active:
        # Somebody else was faster.
        _discard(store)
        return
    device.active = True
    device.reopen(store)
    device.kind.trace.event("mgmt", "device %s is active", device.name)


async def deactivate(device: VdiskDevice) -> None:
    """Close the store; what needs it gets MEDIUM NOT PRESENT from now on.

    Raises SysfsError EBUSY if running commands do not end.
    """
    async with quiet(device):
        device.active = False
        device.close_store()
    device.kind.trace.event("mgmt", "device %s is not active", device.name)


async def change_medium(device: VdiskDevice, filename: str | None) -> None:
    """Put another image into a vcdrom, or none; the next command is told of a new one.

    Raises SysfsError: EBUSY while an initiator prevents removal or its commands do not end, or the
    errno of open(2), in which case the old medium stays.
    """
    if any(tgt_dev in device.prevented_by for tgt_dev in device.tgt_devs):
        raise SysfsError(errno.EBUSY, f"Removal from device {device.name} is prevented")
    if filename is not None and not filename.startswith("/"):
        raise SysfsError(errno.EINVAL, f'File path "{filename}" is not absolute')
    store = await _open(device, filename)
    try:
        async with quiet(device):
            store, opened = None, store
            device.settings.filename = filename
            device.medium_changed = device.medium_changed or filename is not None
            device.install(opened)
    finally:
        _discard(store)
    device.kind.trace.event("mgmt", "device %s: medium is %s", device.name, filename or "gone")


async def _open(device: VdiskDevice, filename: str | None) -> Store | None:
    try:
        store = await device.scst.runtime.run_blocking(
            lambda: device.kind.open_store(device, filename)
        )
    except OSError as error:
        raise SysfsError(error.errno or errno.EIO, f"{device.name}: {error}") from error
    if not device.alive:
        _discard(store)
        raise removed()
    return store


def _discard(store: Store | None) -> None:
    if store is not None:
        store.close()

"""Opening and closing what is behind a virtual device that exists: ``active``, ``filename``.

Files are opened in a worker thread before anything changes, and no command runs while one store
takes the place of another.
"""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING, Final, cast

import trio

from scstfs.aio import DiskRequest, RequestKind
from scstfs.core.waiting import quiet
from scstfs.handlers.medium import Reopening
from scstfs.scsi.alua import AccessState
from scstfs.scsi.mmc import MediaEvent
from scstfs.sysfs.errors import SysfsError, failed, invalid, removed

if TYPE_CHECKING:
    from scstfs.handlers.store import Store
    from scstfs.handlers.vdisk import VdiskDevice


log = logging.getLogger(__name__)

_ACCESSIBLE: Final = (AccessState.ACTIVE, AccessState.NONOPTIMIZED)


async def activate(device: VdiskDevice) -> None:
    """Open the store of a device that is not active.

    Raises SysfsError with the errno of open(2), in which case the device stays closed.
    """
    filename = device.settings.filename
    store = await _open(device, filename)
    if device.medium.active:
        # Another command was faster.
        _discard(store)
        return
    if device.settings.filename != filename:
        # It was changed meanwhile, as it may be while the device is not active.
        _discard(store)
        await activate(device)
        return
    device.medium.active = True
    device.medium.reopen(store)
    device.kind.trace.event("mgmt", "device %s is active", device)
    _note(device, "is active")


async def deactivate(device: VdiskDevice) -> None:
    """Close the store; what needs it gets MEDIUM NOT PRESENT from now on.

    Raises SysfsError EBUSY if running commands do not end.
    """
    async with quiet(device):
        device.medium.active = False
        device.medium.close()
    device.kind.trace.event("mgmt", "device %s is not active", device)
    _note(device, "is not active")


async def change_medium(device: VdiskDevice, filename: str | None) -> None:
    """Put another image into a vcdrom, or none; the next command is told of a new one.

    Raises SysfsError: EBUSY while an initiator prevents removal or its commands do not end, or the
    errno of open(2), in which case the old medium stays.
    """
    if any(tgt_dev in device.medium.prevented_by for tgt_dev in device.tgt_devs):
        raise SysfsError(errno.EBUSY, f"Removal from device {device.name} is prevented")
    if filename is not None and not filename.startswith("/"):
        raise SysfsError(errno.EINVAL, f'File path "{filename}" is not absolute')
    store = await _open(device, filename)
    try:
        async with quiet(device):
            if not device.alive:
                raise removed()
            store, opened = None, store
            device.settings.filename = filename
            device.medium.changed = device.medium.changed or filename is not None
            event = MediaEvent.REMOVAL if filename is None else MediaEvent.NEW_MEDIA
            device.medium.events = dict.fromkeys(device.tgt_devs, event)
            device.medium.install(opened)
    finally:
        _discard(store)
    device.kind.trace.event("mgmt", "device %s: medium is %s", device, filename or "gone")
    _note(device, "has another medium" if filename else "has no medium")


async def flushed(store: Store) -> int:
    """Make durable what was written; the errno, or 0."""
    over = trio.Event()
    error = 0

    def done(found: int) -> None:
        nonlocal error
        error = found
        over.set()

    store.submit(DiskRequest(RequestKind.FLUSH, done=done))
    await over.wait()
    return error


async def resync_size(device: VdiskDevice) -> None:
    """Look at the store's size again; raises SysfsError."""
    medium = device.medium
    store = medium.store
    if store is None:
        raise SysfsError(errno.EMEDIUMTYPE, f"{device.name} is not open")
    # It stays open for as long as this takes.
    hold = device.tasks.hold(in_background=True)
    try:
        size = await device.env.runtime.run_blocking(store.measure)
    except OSError as error:
        raise failed(device.name, error) from error
    finally:
        device.tasks.release(hold)
    if medium.store is store and size != medium.size:
        medium.set_size(size)
        device.report_capacity_changed()
        _note(device, f"has {size} bytes")


def set_size(device: VdiskDevice, size: int) -> None:
    """Write to ``size`` of blockio and nullio (bytes); raises SysfsError."""
    medium = device.medium
    multiple = size % (1 << device.block_shift) == 0
    if multiple:
        medium.set_size(size)
    if multiple or (medium.store is not None and device.settings.filename is not None):
        # Where there is something open, SCST reports a change even when it refuses it.
        device.report_capacity_changed()
    if not multiple:
        raise invalid(f"size {size} is not a multiple of the block size")


def follow_access_state(device: VdiskDevice, state: AccessState) -> None:
    """Keep the store closed while the ALUA state allows no access (``bind_alua_state``).

    It is opened in a worker thread; the device stays closed if that fails.
    """
    accessible = state in _ACCESSIBLE
    if not accessible and (device.medium.active or device.medium.reopening is not None):
        device.medium.active = False
        device.medium.close()
        _reopened(device)
        device.kind.trace.event("mgmt", "device %s is closed: ALUA %s", device, state.name)
        _note(device, f"is closed: ALUA {state.name}")
    elif accessible and not device.medium.active and device.medium.reopening is None:
        device.medium.reopening = Reopening()
        _reopen(device, device.medium.reopening)


def _reopen(device: VdiskDevice, reopening: Reopening) -> None:
    filename = device.settings.filename

    def done(opened: object, error: BaseException | None) -> None:
        store = cast("Store | None", opened)
        if device.medium.reopening is not reopening or device.medium.active or not device.alive:
            # The state has changed once more, or another command was faster.
            _discard(store)
        elif device.settings.filename != filename:
            # It was changed meanwhile.
            _discard(store)
            _reopen(device, reopening)
            return
        elif error is not None:
            log.warning("%s cannot be opened again: %s", device, error)
            _note(device, f"cannot be opened again: {error}")
        else:
            device.medium.active = True
            device.medium.reopen(store)
        if device.medium.reopening is reopening:
            _reopened(device)

    device.env.threads.submit(lambda: device.kind.open_store(device, filename), done)


def _reopened(device: VdiskDevice) -> None:
    reopening, device.medium.reopening = device.medium.reopening, None
    if reopening is not None:
        for call in reopening.waiting:
            call()


async def _open(device: VdiskDevice, filename: str | None) -> Store | None:
    try:
        store = await device.env.runtime.run_blocking(
            lambda: device.kind.open_store(device, filename)
        )
    except OSError as error:
        raise failed(device.name, error) from error
    if not device.alive:
        _discard(store)
        raise removed()
    return store


def _note(device: VdiskDevice, what: str) -> None:
    device.env.statistics.note("medium", f"{device.name} {what}", device=device.name)


def _discard(store: Store | None) -> None:
    if store is not None:
        store.close()

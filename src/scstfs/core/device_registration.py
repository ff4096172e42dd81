"""Registration and deletion of devices, and telling everything that depends on them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from scstfs.core import access
from scstfs.core.alua import group_of
from scstfs.core.errors import SystemRefused
from scstfs.core.session import TgtDev
from scstfs.persist.state import ReservationsFile

if TYPE_CHECKING:
    from scstfs.core.device import DevHandler, Device
    from scstfs.core.scst import Scst

log = logging.getLogger(__name__)

T = TypeVar("T")


@contextmanager
def reserved_name(scst: Scst, name: str) -> Iterator[None]:
    """Reserve a device name while the device is being made."""
    scst.reserved_names.add(name)
    try:
        yield
    finally:
        scst.reserved_names.discard(name)


async def register(
    scst: Scst, device: Device, open_it: Callable[[], T], install: Callable[[T], None]
) -> None:
    """Make ``device`` exist: reservations, mode pages and store loaded, LUN of the copy manager.

    ``open_it`` runs in a thread and ``install`` takes what it gave.  Raises SystemRefused, in which
    case there is no such device.
    """
    path = scst.env.state.reservations_path(device.name)

    def load() -> T:
        file = ReservationsFile(path)
        device.pr.load(file, file.load())
        device.load_modes()
        return open_it()

    try:
        opened = await scst.env.runtime.run_blocking(load)
    except OSError as error:
        raise SystemRefused(device.name, error) from error
    install(opened)
    appear(scst, device)


def appear(scst: Scst, device: Device) -> None:
    """Publish a complete device."""
    scst.devices[device.name] = device
    if device.handler is not None:
        scst.devices_of(device.handler)[device.name] = device
    scst.env.activity.attach(device.tasks)
    for watcher in scst.watchers:
        watcher.device_appeared(device)


def give_to_handler(scst: Scst, device: Device, handler: DevHandler | None) -> None:
    """Give a registered device to *handler*; None takes it from its handler."""
    if device.handler is not None:
        del scst.devices_of(device.handler)[device.name]
    device.handler = handler
    if handler is not None:
        scst.devices_of(handler)[device.name] = device
    device.rows.changed()


def unregister(scst: Scst, device: Device) -> list[TgtDev]:
    """Delete ``device``; return the nexuses that ended.

    The device is closed when the commands that run have ended.
    """
    group = group_of(device)
    if group is not None:
        group.remove(device)
    del scst.devices[device.name]
    if device.handler is not None:
        del scst.devices_of(device.handler)[device.name]
    for watcher in scst.watchers:
        watcher.device_disappears(device)
    gone = access.remove_device(device)
    device.retire()
    device.tasks.unblock_all()

    def close() -> None:
        scst.env.activity.detach(device.tasks)
        device.close()

    access.when_retired(gone, partial(device.tasks.when_idle, close, background_too=True))
    log.info("device %s deleted", device)
    return gone

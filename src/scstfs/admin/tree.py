"""From the tree to a configuration: SysfsRules III, "Algorithm to convert current SCST
configuration to config file".

No driver, handler or device is known by name. An object that goes away meanwhile is left out.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import stat
from collections.abc import Callable, Iterator
from typing import Final

from scstfs.admin import attributes
from scstfs.admin.attributes import SESSION_NAME, Attribute
from scstfs.admin.configuration import Item, Setting, devices, empty, luns
from scstfs.admin.files import Files, Reader
from scstfs.admin.kinds import (
    ALUA,
    DEVICE,
    DEVICE_GROUP,
    DRIVER,
    GROUP,
    GROUP_DEVICE,
    GROUP_TARGET,
    HANDLER,
    HARDWARE,
    HW_TARGET,
    INITIATOR,
    LUN,
    TARGET,
    TARGET_GROUP,
)

_NO_TARGETS: Final = frozenset({"module"})

_GONE: Final = frozenset({errno.ENOENT, errno.ENODEV})
"""Errors of the tree for an object that does not exist any more."""

_MOST_LOOKS: Final = 5
"""A SCSI device without a handler can have LUNs, too; then reading again does not help."""


@contextlib.contextmanager
def _ignoring_gone() -> Iterator[None]:
    """Ignore that what is looked at has gone."""
    try:
        yield
    except OSError as error:
        if error.errno not in _GONE:
            raise


@contextlib.contextmanager
def _unless_gone(item: Item) -> Iterator[None]:
    """Read an item; remove it from the configuration if it has gone."""
    try:
        yield
    except OSError as error:
        if error.errno not in _GONE or item.parent is None:
            raise
        item.parent.items[item.kind].pop(item.name, None)


class _Reads(enum.Enum):
    """The attributes to read."""

    NONE = "none"
    SAVED = "those that a saved configuration may need"
    ALL = "all"


class _TreeWalk:
    """One walk over the tree."""

    def __init__(self, files: Reader, reads: _Reads) -> None:
        self.files = files
        self._reads = reads

    def take(self, item: Item) -> None:
        """Read the attributes of an item."""
        if self._reads is not _Reads.NONE:
            wanted = attributes.saved(item.parameters) if self._reads is _Reads.SAVED else None
            item.take_live(attributes.read(self.files, item.kind, item.path, wanted))

    def said(self, look: Callable[[Reader, str], list[str]], mgmt: str) -> tuple[str, ...]:
        """The usage text of a mgmt file; empty if there is none, or it is not needed."""
        if self._reads is _Reads.NONE:
            return ()
        directory, _, name = mgmt.rpartition("/")
        try:
            if name not in self.files.entries(directory):
                return ()
            return tuple(look(self.files, mgmt))
        except OSError:
            return ()

    def root(self) -> Iterator[Item | None]:
        """Yield None repeatedly, so that other tasks can run, and finally the configuration."""
        root = empty()
        self.take(root)
        for name in self.files.directories("handlers"):
            yield from self.handler(root.add(HANDLER, name))
        for name in self.files.directories("targets"):
            yield from self.driver(root.add(DRIVER, name))
        self.take(root.add(ALUA, ""))
        for name in self.files.directories("device_groups"):
            group = root.add(DEVICE_GROUP, name)
            with _unless_gone(group):
                self.device_group(group)
            yield None
        yield root

    def handler(self, handler: Item) -> Iterator[None]:
        mgmt = f"{handler.path}/mgmt"
        handler.makes = self.said(attributes.parameters, mgmt)
        handler.dynamic = self.said(attributes.handler_attributes, mgmt)
        handler.gives = self.said(attributes.device_attributes, mgmt)
        self.take(handler)
        entries = self.files.entries(handler.path)
        for name in [name for name, kind in entries.items() if kind == stat.S_IFLNK]:
            link = ""
            with _ignoring_gone():
                link = self.files.link(f"{handler.path}/{name}")
            if not link.endswith(f"/devices/{name}"):
                continue
            device = handler.add(DEVICE, name)
            device.parameters, device.dynamic = handler.makes, handler.gives
            with _unless_gone(device):
                self.take(device)
            yield None

    def driver(self, driver: Item) -> Iterator[None]:
        mgmt = f"{driver.path}/mgmt"
        driver.makes = self.said(attributes.parameters, mgmt)
        driver.dynamic = self.said(attributes.driver_attributes, mgmt)
        driver.gives = self.said(attributes.target_attributes, mgmt)
        self.take(driver)
        driver.hardware = attributes.MGMT not in self.files.entries(driver.path)
        for name in self.files.directories(driver.path):
            if name not in _NO_TARGETS:
                target = driver.add(TARGET, name)
                target.parameters, target.dynamic = driver.makes, driver.gives
                target.hardware = driver.hardware
                with _unless_gone(target):
                    self.target(target)
                yield None

    def target(self, target: Item) -> None:
        self.take(target)
        take_sessions(self.files, target)
        hardware = target.live.get(HARDWARE)
        if hardware is not None and hardware.value == "1":
            target.hardware = True
            target.settings[HW_TARGET] = Setting([])
        self.luns(target)
        for name in self.files.directories(f"{target.path}/ini_groups"):
            group = target.add(GROUP, name)
            with _unless_gone(group):
                self.group(group)

    def group(self, group: Item) -> None:
        self.take(group)
        self.luns(group)
        for name in initiators(self.files, group.path):
            group.add(INITIATOR, name)

    def luns(self, item: Item) -> None:
        listing = f"{item.path}/luns"
        parameters = self.said(attributes.parameters, f"{listing}/mgmt")
        for number, device in lun_devices(self.files, listing).items():
            lun = item.add(LUN, number)
            lun.device = device
            lun.parameters = parameters
            with _unless_gone(lun):
                self.take(lun)

    def device_group(self, group: Item) -> None:
        self.take(group)
        for name in links_and_directories(self.files, f"{group.path}/devices"):
            group.add(GROUP_DEVICE, name)
        for name in self.files.directories(f"{group.path}/target_groups"):
            target_group = group.add(TARGET_GROUP, name)
            with _unless_gone(target_group):
                self.target_group(target_group)

    def target_group(self, target_group: Item) -> None:
        self.take(target_group)
        for name, kind in self.files.entries(target_group.path).items():
            if kind == stat.S_IFREG:
                continue
            target = target_group.add(GROUP_TARGET, name)
            if kind == stat.S_IFDIR:
                with _unless_gone(target):
                    self.take(target)


def walk(files: Reader, *, every_attribute: bool = False) -> Item:
    """The present configuration; with *every_attribute* including attributes that need not be
    saved.

    Raises OSError if there is no tree.
    """
    return _end(_TreeWalk(files, _Reads.ALL if every_attribute else _Reads.SAVED).root())


def settled(files: Files, *, every_attribute: bool = False) -> Item:
    """The same, read again if it was changed meanwhile.

    Raises OSError when there is no tree.
    """
    for left in reversed(range(_MOST_LOOKS)):
        files.forget()
        try:
            found = walk(files, every_attribute=every_attribute)
        except OSError as error:
            if error.errno not in _GONE or not left:
                raise
            continue
        known = devices(found)
        if all(lun.device in known for lun in luns(found)):
            break
    return found


def gradually(files: Reader) -> Iterator[Item | None]:
    """The same walk in small pieces: yields None after each, and the configuration at the end."""
    return _TreeWalk(files, _Reads.SAVED).root()


def _end(walk: Iterator[Item | None]) -> Item:
    return next(item for item in walk if item is not None)


def structure(files: Reader) -> Item:
    """All items, without attributes. Raises OSError if there is no tree."""
    return _end(_TreeWalk(files, _Reads.NONE).root())


def initiators(files: Reader, group: str) -> list[str]:
    """The names of a group's initiators. Raises OSError."""
    return [name for name in files.entries(f"{group}/initiators") if name != attributes.MGMT]


def lun_devices(files: Reader, listing: str) -> dict[str, str]:
    """The LUNs in a directory, each with the device behind it. Raises OSError."""
    devices = {}
    for number in files.directories(listing):
        path = f"{listing}/{number}"
        with _ignoring_gone():
            links = [name for name, kind in files.entries(path).items() if kind == stat.S_IFLNK]
            for name in links:
                devices[number] = files.link(f"{path}/{name}").rpartition("/")[2]
    return devices


def links_and_directories(files: Reader, listing: str) -> list[str]:
    """The names of entries that are not files. Raises OSError."""
    return [name for name, kind in files.entries(listing).items() if kind != stat.S_IFREG]


def take_sessions(files: Reader, target: Item) -> None:
    """If sessions are made by commands, their names are part of the configuration."""
    if SESSION_NAME in target.parameters:
        names = list(files.entries(f"{target.path}/sessions"))
        if names:
            keys = {str(number): name for number, name in enumerate(names)}
            target.live[SESSION_NAME] = Attribute(keys=keys)
            target.settings[SESSION_NAME] = Setting(names)

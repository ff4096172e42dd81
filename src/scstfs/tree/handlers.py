"""``handlers/``: rows of all dev handlers; each adds its own ``mgmt``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from scstfs.core.device import DevHandler, Device
from scstfs.core.scst import Scst
from scstfs.sysfs.attr import Attr
from scstfs.sysfs.directory import DirType, Each, EachLink, Include
from scstfs.tree import paths
from scstfs.tree.devices import type_text
from scstfs.tree.naming import require_free
from scstfs.tree.trace import trace_level


class Handler:
    """The object of a handler's directory: the handler and its registry."""

    __slots__ = ("_dirtype", "handler", "scst")

    def __init__(self, scst: Scst, handler: DevHandler, dirtype: DirType[Handler]) -> None:
        self.scst = scst
        self.handler = handler
        self._dirtype = dirtype

    def require_free(self, name: str) -> None:
        """Refuse (SysfsError) a new device that the directory could not show."""
        require_free(self._dirtype, self, name)

    def devices(self) -> Mapping[str, Device]:
        """Its devices by name."""
        return self.scst.devices_of(self.handler)

    def device_path(self, name: str) -> paths.Path | None:
        """The target of the link to one of its devices."""
        device = self.devices().get(name)
        return None if device is None else paths.device(device)


def handler_type(
    choose: Callable[[Handler], DirType[Any]], among: tuple[DirType[Any], ...]
) -> DirType[Handler]:
    """A handler's directory; *choose* returns its own rows, one of *among*."""
    return DirType(
        "handler",
        (
            Attr(
                name="type",
                mode=0o444,
                show=lambda directory: type_text(directory.handler.type),
                since="2.0",
                reads="SCSI type of its devices, as a number and in words",
            ),
            trace_level(lambda directory: directory.handler.trace),
            Include(choose=choose, among=among),
            EachLink(
                children=Handler.devices,
                target=Handler.device_path,
                label="DEVICE",
                about="to a device of the handler",
            ),
        ),
    )


def handlers_type(directory: DirType[Handler]) -> DirType[Handlers]:
    """``handlers/``, with a *directory* for each."""
    return DirType(
        "handlers",
        (
            Each(
                children=Handlers.names,
                get=Handlers.find,
                dirtype=directory,
                label="HANDLER",
                about="a kind of devices",
            ),
        ),
    )


class Handlers:
    """The objects of all handlers' directories; each is made once."""

    __slots__ = ("_directories", "_dirtype", "_scst")

    def __init__(self, scst: Scst, dirtype: DirType[Handler]) -> None:
        self._scst = scst
        self._dirtype = dirtype
        self._directories: dict[str, Handler] = {}

    def names(self) -> dict[str, DevHandler]:
        """The handlers by name."""
        return self._scst.handlers

    def find(self, name: str) -> Handler | None:
        """The directory of one of them."""
        handler = self._scst.handlers.get(name)
        if handler is None:
            return None
        directory = self._directories.get(name)
        if directory is None or directory.handler is not handler:
            directory = self._directories[name] = Handler(self._scst, handler, self._dirtype)
        return directory

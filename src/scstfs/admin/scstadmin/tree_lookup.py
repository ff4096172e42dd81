"""Look-ups in the tree, with scstadmin's messages for missing objects."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from scstfs.admin import attributes, kinds, tree
from scstfs.admin.attributes import Attribute, Attributes
from scstfs.admin.files import Files
from scstfs.admin.kinds import INTERNAL_DRIVER, Kind
from scstfs.admin.scstadmin.errors import Unavailable

Names = Mapping[str, str]
"""The objects of a command: names by kind: driver, target, group, lun, ..."""

_WORDS: Final[Mapping[str, str]] = {
    "handler": "Handler '{handler}' is not available",
    "device": "Device '{device}' is not open",
    "driver": "Driver '{driver}' is not available",
    "target": "Target '{target}' is not available",
    "group": "Group '{group}' does not exist",
    "lun": "LUN '{lun}' does not exist",
    "initiator": "Initiator '{initiator}' does not exist",
    "device_group": "Device group '{device_group}' does not exist",
    "target_group": "Target Group '{target_group}' does not exist",
    "group_target": "Target '{group_target}' does not exist",
}

# scstadmin has lost the system's reason when it prints it: its search for the missing object closes
# a directory as if it were a file.
_LOST_REASON: Final = os.strerror(errno.EBADF)

EXPORTED: Final = "exported"

# The length of references as Perl prints them: HASH(0x55d0c0ffee00), ARRAY(0x55d0c0ffee00).
_HASH_WIDTH: Final = 20
_ARRAY_WIDTH: Final = 21

_EXPORT: Final = re.compile(r"(?:\.\./)*targets/([^/]+)/([^/]+)/(?:ini_groups/([^/]+)/)?luns/(\d+)")
_GROUP_LUNS: Final = re.compile(r"\.\./\.\./ini_groups/(.*)/luns")


class _Place(NamedTuple):
    """Where the attributes of a kind of objects are, and which objects must exist for that."""

    function: str
    path: str
    levels: tuple[str, ...]


_TARGET: Final = "targets/{driver}/{target}"
_LUNS: Final = _TARGET + "/{luns}"
_TARGET_GROUP: Final = "device_groups/{device_group}/target_groups/{target_group}"

PLACES: Final[Mapping[Kind, _Place]] = {
    kinds.ROOT: _Place("scstAttributes", "", ()),
    kinds.ALUA: _Place("deviceGroupsAttributes", "device_groups", ()),
    kinds.HANDLER: _Place("handlerAttributes", "handlers/{handler}", ("handler",)),
    kinds.DEVICE: _Place("deviceAttributes", "devices/{device}", ("device",)),
    kinds.DRIVER: _Place("driverAttributes", "targets/{driver}", ("driver",)),
    kinds.TARGET: _Place("targetAttributes", _TARGET, ("driver", "target")),
    kinds.GROUP: _Place(
        "groupAttributes", _TARGET + "/ini_groups/{group}", ("driver", "target", "group")
    ),
    kinds.LUN: _Place("lunAttributes", _LUNS + "/{lun}", ("driver", "target", "group", "lun")),
    kinds.INITIATOR: _Place(
        "initiatorAttributes",
        _TARGET + "/ini_groups/{group}/initiators/{initiator}",
        ("driver", "target", "group", "initiator"),
    ),
    kinds.DEVICE_GROUP: _Place(
        "deviceGroupAttributes", "device_groups/{device_group}", ("device_group",)
    ),
    kinds.TARGET_GROUP: _Place(
        "targetGroupAttributes", _TARGET_GROUP, ("device_group", "target_group")
    ),
    kinds.GROUP_TARGET: _Place(
        "targetGroupTargetAttributes",
        _TARGET_GROUP + "/{group_target}",
        ("device_group", "target_group", "group_target"),
    ),
}


def locate(template: str, names: Names) -> str:
    """The path of a template: ``{luns}`` is the LUN set of a target or of one of its groups."""
    group = names.get("group", "")
    luns = f"ini_groups/{group}/luns" if group else "luns"
    path = template.format_map({**dict.fromkeys(_WORDS, ""), **names, "luns": luns})
    return re.sub("/+", "/", path).strip("/")


class TreeLookup:
    """Look-ups in one tree. Results are remembered as long as nothing is written."""

    def __init__(self, files: Files) -> None:
        self.files = files

    # --- lists ---------------------------------------------------------------------------------

    def _names(self, function: str, directory: str) -> list[str]:
        try:
            return sorted(self.files.directories(directory))
        except OSError as error:
            where = self.files.path(directory)
            words = f"{function}(): Unable to read directory '{where}': {error.strerror}"
            raise Unavailable(words) from None

    def drivers(self) -> list[str]:
        """Target drivers."""
        return self._names("drivers", "targets")

    def handlers(self) -> list[str]:
        """Device handlers."""
        return self._names("handlers", "handlers")

    def device_groups(self) -> list[str]:
        """Device groups."""
        return self._names("deviceGroups", "device_groups")

    def _quietly(self, names: Callable[[], list[str]]) -> list[str]:
        try:
            return names()
        except OSError:
            return []

    def targets(self, driver: str) -> list[str]:
        """Targets of a driver; none if there is no such driver."""
        if not driver:
            return []
        found = self._quietly(lambda: self.files.directories(f"targets/{driver}"))
        return sorted(name for name in found if name != "module")

    def groups(self, driver: str, target: str) -> list[str]:
        """Groups of a target; none if there is no such target."""
        where = f"targets/{driver}/{target}/ini_groups"
        return sorted(self._quietly(lambda: self.files.directories(where)))

    def initiators(self, names: Names) -> list[str]:
        """Initiators of a group. Raises Unavailable."""
        place = PLACES[kinds.GROUP]
        path = locate(place.path, names)
        try:
            return tree.initiators(self.files, path)
        except OSError:
            raise self._unavailable("initiators", place, names, f"{path}/initiators") from None

    def luns(self, names: Names) -> dict[str, str]:
        """LUNs and their devices; none if there is no such set of LUNs."""
        try:
            return tree.lun_devices(self.files, locate(_LUNS, names))
        except OSError:
            return {}

    def devices(self, handler: str) -> list[str]:
        """Devices of a handler, in the order of the tree."""
        where = f"handlers/{handler}"

        def names() -> list[str]:
            entries = self.files.entries(where)
            links = [name for name, kind in entries.items() if kind == stat.S_IFLNK]
            return [n for n in links if self.files.link(f"{where}/{n}").endswith(f"/devices/{n}")]

        return self._quietly(names)

    def group_devices(self, group: str) -> list[str]:
        """Devices of a device group, in the order of the tree."""
        where = f"device_groups/{group}/devices"
        return self._quietly(lambda: tree.links_and_directories(self.files, where))

    def target_groups(self, group: str) -> list[str]:
        """Target groups of a device group, in the order of the tree."""
        where = f"device_groups/{group}/target_groups"
        return self._quietly(lambda: self.files.directories(where))

    def group_targets(self, group: str, target_group: str) -> list[str]:
        """Targets of a target group."""
        where = f"device_groups/{group}/target_groups/{target_group}"
        return sorted(self._quietly(lambda: tree.links_and_directories(self.files, where)))

    # --- whether something is there --------------------------------------------------------------

    def exists(self, what: str, names: Names) -> bool:
        """Return whether an object exists; *what* is its kind: driver, target, group, ..."""
        name = names.get(what, "")
        lists: Mapping[str, Callable[[], list[str]]] = {
            "handler": self.handlers,
            "device": lambda: self._quietly(lambda: list(self.files.entries("devices"))),
            "driver": self.drivers,
            "target": lambda: self.targets(names["driver"]),
            "group": lambda: self.groups(names["driver"], names["target"]),
            "initiator": lambda: self.initiators(names),
            "device_group": self.device_groups,
            "target_group": lambda: self.target_groups(names["device_group"]),
            "group_target": lambda: self.group_targets(
                names["device_group"], names["target_group"]
            ),
        }
        if not name:
            return False
        if what == "lun":
            return any(number(name) == number(lun) for lun in self.luns(names))
        try:
            return name in lists[what]()
        except Unavailable:
            return False

    def takes_targets(self, driver: str) -> bool:
        """Return whether targets and attributes can be added to a driver."""
        return os.access(self.files.path(locate("targets/{driver}/mgmt", {"driver": driver})), 2)

    def _unavailable(self, function: str, place: _Place, names: Names, path: str) -> Unavailable:
        for level in place.levels:
            if level == "group" and not names.get("group"):
                continue
            if not self.exists(level, names):
                return Unavailable(f"{function}(): {_WORDS[level].format_map(names)}")
        where = self.files.path(path)
        words = f"{function}(): Unable to read directory '{where}': {_LOST_REASON}"
        return Unavailable(words)

    # --- attributes ------------------------------------------------------------------------------

    def attributes(self, kind: Kind, names: Names) -> Attributes:
        """The attributes of an object. Raises Unavailable."""
        place = PLACES[kind]
        path = locate(place.path, names)
        if kind is kinds.TARGET and not (names.get("driver") and names.get("target")):
            raise Unavailable("Too few arguments")
        if kind is kinds.INITIATOR:  # it is a file, which has no attributes
            raise self._unavailable(place.function, place, names, path)
        try:
            found = attributes.read(self.files, kind, path)
        except OSError:
            raise self._unavailable(place.function, place, names, path) from None
        if kind is kinds.DEVICE:
            found[EXPORTED] = self._exported(path)
        elif kind is kinds.HANDLER:
            found["devices"] = Attribute(static=True, structure=_ARRAY_WIDTH)
        elif kind is kinds.TARGET:
            self._take_sessions(found, names)
        return found

    def _exported(self, device: str) -> Attribute:
        if self.exports(device.rpartition("/")[2]):
            return Attribute(static=True, structure=_HASH_WIDTH)
        return Attribute()

    def exports(self, device: str) -> list[tuple[str, str, str, str]]:
        """Driver, target, group and LUN of each export of a device.

        Those of the copy manager, which has all devices, are left out.
        """
        where = f"devices/{device}/{EXPORTED}"
        found = {}
        for name in self._quietly(lambda: list(self.files.entries(where))):
            match = _EXPORT.fullmatch(self.files.link(f"{where}/{name}"))
            if match is not None and match[1] != INTERNAL_DRIVER:
                found[match[1], match[2], match[3] or ""] = match[4]
        return sorted((*place, lun) for place, lun in found.items())

    def _take_sessions(self, found: Attributes, names: Names) -> None:
        mgmt = locate("targets/{driver}/mgmt", names)
        if attributes.SESSION_NAME in self._quietly(
            lambda: attributes.parameters(self.files, mgmt)
        ):
            sessions = self.sessions(names)
            if sessions:
                keys = {str(number): name for number, name in enumerate(sessions)}
                found[attributes.SESSION_NAME] = Attribute(keys=keys)

    def parameters(self, kind: Kind, names: Names) -> list[str]:
        """Parameters of the command that makes an object of a kind. Raises Unavailable."""
        function, place, where, mgmt = _PARAMETERS[kind]
        try:
            return attributes.parameters(self.files, locate(mgmt, names))
        except OSError:
            raise self._no_mgmt(function, place, names, where) from None

    def dynamic(self, kind: Kind, driver: str) -> list[str]:
        """Attributes that can be added to a driver or to its targets. Raises Unavailable."""
        names = {"driver": driver}
        mgmt = locate("targets/{driver}/mgmt", names)
        of_driver = kind is kinds.DRIVER
        look = attributes.driver_attributes if of_driver else attributes.target_attributes
        try:
            return look(self.files, mgmt)
        except OSError:
            function = "driverDynamicAttributes" if of_driver else "targetDynamicAttributes"
            where = "mgmt interface for driver '{driver}'"
            raise self._no_mgmt(function, PLACES[kinds.DRIVER], names, where) from None

    def _no_mgmt(self, function: str, place: _Place, names: Names, where: str) -> Unavailable:
        for level in place.levels:
            if (level != "group" or names.get("group")) and not self.exists(level, names):
                return Unavailable(f"{function}(): {_WORDS[level].format_map(names)}")
        interface = where.format_map({"group": "", **names})
        return Unavailable(f"{function}(): Unable to open {interface}: {_LOST_REASON}")

    # --- sessions --------------------------------------------------------------------------------

    def sessions(self, names: Names) -> list[str]:
        """Names of a target's sessions."""
        where = locate(_TARGET + "/sessions", names)
        return self._quietly(lambda: list(self.files.entries(where)))

    def session(self, names: Names, session: str) -> Attributes:
        """The data of -list_sessions: attributes of a session, and its LUNs with their devices."""
        where = f"{locate(_TARGET + '/sessions', names)}/{session}"
        found: Attributes = {}
        for name, kind in self.files.entries(where).items():
            path = f"{where}/{name}"
            if kind == stat.S_IFREG:
                readable = self.files.is_readable(path)
                found[name] = Attribute(value=self.files.text(path).value if readable else None)
            elif kind == stat.S_IFLNK and name != "luns":
                if not os.path.isdir(self.files.path(path)):  # a dangling link
                    found[name] = Attribute()
            elif kind == stat.S_IFLNK:
                match = _GROUP_LUNS.search(self.files.link(path))
                luns = self.luns({**names, "group": match[1]}) if match else {}
                for lun, device in luns.items():
                    found[f"LUN {lun}"] = Attribute(value=device)
        return found


_PARAMETERS: Final[Mapping[Kind, tuple[str, _Place, str, str]]] = {
    kinds.DEVICE: (
        "deviceCreateAttributes",
        PLACES[kinds.HANDLER],
        "mgmt interface for handler '{handler}'",
        "handlers/{handler}/mgmt",
    ),
    kinds.TARGET: (
        "targetCreateAttributes",
        PLACES[kinds.DRIVER],
        "driver mgmt interface for driver '{driver}'",
        "targets/{driver}/mgmt",
    ),
    kinds.LUN: (
        "lunCreateAttributes",
        PLACES[kinds.GROUP],
        "luns mgmt interface for group '{group}'",
        _LUNS + "/mgmt",
    ),
    kinds.INITIATOR: (
        "initiatorCreateAttributes",
        PLACES[kinds.GROUP],
        "initiators mgmt interface for group '{group}'",
        _TARGET + "/ini_groups/{group}/initiators/mgmt",
    ),
}


def number(text: str) -> float:
    """The number at the start of a text, or 0, as in Perl."""
    match = re.match(r"\s*[-+]?\d+(?:\.\d+)?", text)
    return float(match[0]) if match else 0

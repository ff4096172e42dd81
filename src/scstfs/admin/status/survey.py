"""A walk over the tree that collects the status.

Only the requested parts are read. No driver or handler is known by name: an attribute that an
object does not have is None. An object that goes away meanwhile is left out.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar
from urllib.parse import unquote

from scstfs.admin import tree
from scstfs.admin.files import Files
from scstfs.admin.mistakes import no_tree
from scstfs.admin.presence import require_tree
from scstfs.admin.status import backing, problems
from scstfs.admin.status.model import (
    ALL,
    ClusterFact,
    ConnectionStatus,
    Core,
    DeviceGroupStatus,
    DeviceStatus,
    Driver,
    Group,
    GroupTargetStatus,
    Lun,
    Overview,
    Section,
    SessionStatus,
    TargetGroupStatus,
    TargetStatus,
)

T = TypeVar("T")

_LUN: Final = re.compile(r"lun(\d+)")
_LATENCY: Final = "latency"
_GROUP: Final = re.compile(r"/ini_groups/([^/]+)/luns\Z")
_VERSION: Final = re.compile(r"^SCST version: (.*)$", re.MULTILINE)
_BUILD: Final = re.compile(r"^SCST build number: (.+)$", re.MULTILINE)


class _Object:
    """One directory of the tree."""

    def __init__(self, files: Files, path: str) -> None:
        """Raises OSError if it does not exist."""
        self._files = files
        self.path = path
        self.entries = files.entries(path)

    def _at(self, name: str) -> str:
        return f"{self.path}/{name}" if self.path else name

    def value(self, name: str) -> str | None:
        """First line of an attribute; None if it does not exist, cannot be read or is empty."""
        if name not in self.entries:
            return None
        try:
            return self._files.text(self._at(name)).value or None
        except OSError:
            return None

    def number(self, name: str) -> int | None:
        """The number at the beginning of an attribute."""
        words = (self.value(name) or "").split()
        try:
            return int(words[0]) if words else None
        except ValueError:
            return None

    def flag(self, name: str) -> bool | None:
        """An attribute as a flag: whether it is not 0."""
        number = self.number(name)
        return None if number is None else number != 0

    def link(self, name: str) -> str | None:
        """The text of a symbolic link; None if it does not exist."""
        if self.entries.get(name) != stat.S_IFLNK:
            return None
        try:
            return self._files.link(self._at(name))
        except OSError:
            return None


def _each(look: Callable[[str], T | None], names: Iterable[str]) -> tuple[T, ...]:
    """The results of *look* for each name, without None and objects that go away meanwhile."""
    found = []
    for name in names:
        try:
            result = look(name)
        except OSError:
            continue
        if result is not None:
            found.append(result)
    return tuple(found)


def _last(link: str | None) -> str | None:
    return link.rpartition("/")[2] if link else None


def _file(value: str | None) -> str | None:
    """The backing file of a device; a drive without a medium has "none"."""
    return None if value == "none" else value


class _Survey:
    """One walk over the tree."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def at(self, *parts: str) -> _Object:
        return _Object(self._files, "/".join(parts))

    def directories(self, path: str) -> list[str]:
        """The directories in a directory, which may be missing."""
        try:
            return self._files.directories(path)
        except OSError:
            return []

    def core(self) -> Core:
        """Raises Mistake if the tree goes away."""
        try:
            root, text = self.at(""), self._files.text("version").raw
        except OSError as error:
            raise no_tree(self._files.root, error) from None
        version, build = _VERSION.search(text), _BUILD.search(text)
        return Core(
            version=version[1] if version else None,
            build=build[1] if build else None,
            suspended=root.number("suspend") or 0,
            measure_latency=bool(root.flag("measure_latency")),
        )

    # --- targets -------------------------------------------------------------------------------

    def drivers(self) -> tuple[Driver, ...]:
        return _each(self._driver, self.directories("targets"))

    def _driver(self, name: str) -> Driver:
        at = self.at("targets", name)
        return Driver(name, at.flag("enabled"), at.value("open_state"))

    def targets(self, drivers: Iterable[Driver]) -> tuple[TargetStatus, ...]:
        found: list[TargetStatus] = []
        for driver in drivers:
            found += _each(partial(self._target, driver.name), self.directories(driver.path))
        return tuple(found)

    def _target(self, driver: str, name: str) -> TargetStatus | None:
        at = self.at("targets", driver, name)
        if not {"sessions", "luns"} <= at.entries.keys():
            return None
        return TargetStatus(
            driver,
            name,
            enabled=at.flag("enabled"),
            rel_tgt_id=at.number("rel_tgt_id") or 0,
            sessions=len(self.directories(f"{at.path}/sessions")),
            luns=self._luns(at.path),
            groups=_each(
                lambda group: self._group(f"{at.path}/ini_groups/{group}"),
                self.directories(f"{at.path}/ini_groups"),
            ),
            black_hole=at.number("black_hole") or 0,
        )

    def _group(self, path: str) -> Group:
        at = self.at(path)
        return Group(
            path.rpartition("/")[2],
            initiators=tuple(tree.initiators(self._files, path)),
            luns=self._luns(path),
            black_hole=at.number("black_hole") or 0,
        )

    def _luns(self, path: str) -> tuple[Lun, ...]:
        def lun(number: str) -> Lun:
            at = self.at(path, "luns", number)
            return Lun(int(number), _last(at.link("device")) or "", bool(at.flag("read_only")))

        numbers = filter(str.isdecimal, self.directories(f"{path}/luns"))
        return _each(lun, sorted(numbers, key=int))

    # --- sessions ------------------------------------------------------------------------------

    def sessions(
        self, targets: Iterable[TargetStatus], most: int | None
    ) -> tuple[SessionStatus, ...]:
        """The first *most* sessions of each target."""
        found: list[SessionStatus] = []
        for target in targets:
            names = self.directories(f"{target.path}/sessions")[:most]
            found += _each(partial(self._session, target), names)
        return tuple(found)

    def _session(self, target: TargetStatus, name: str) -> SessionStatus:
        at = self.at(target.path, "sessions", name)
        group = _GROUP.search(at.link("luns") or "")
        inside = self.directories(at.path)
        luns = sorted(int(match[1]) for match in map(_LUN.fullmatch, inside) if match)
        return SessionStatus(
            target.driver,
            target.name,
            name,
            initiator=at.value("initiator_name") or name,
            group=group[1] if group else None,
            luns=tuple(luns),
            commands=at.number("commands") or 0,
            connections=tuple(
                ConnectionStatus(name, self._value(f"{at.path}/{name}/target_ip"))
                for name in inside
                if name != _LATENCY and not _LUN.fullmatch(name)
            ),
        )

    def _value(self, path: str) -> str | None:
        """An attribute that may not exist, without reading the directory."""
        try:
            return self._files.text(path).value or None
        except OSError:
            return None

    # --- devices -------------------------------------------------------------------------------

    def devices(self) -> tuple[DeviceStatus, ...]:
        found = _each(self._device, self.directories("devices"))
        files = [name for device in found for name in (device.file, device.reservations_file)]
        # A name that is not a path belongs to another store, which this machine cannot check.
        states = backing.states(name for name in files if name and name.startswith("/"))
        return tuple(
            replace(
                device,
                file_state=states.get(device.file or ""),
                reservations_saved=backing.is_present(states.get(device.reservations_file or "")),
            )
            for device in found
        )

    def _device(self, name: str) -> DeviceStatus:
        at = self.at("devices", name)
        handler = _last(at.link("handler"))
        # All devices of a handler have its type, which is read once.
        type_of = at if handler is None else self.at("handlers", handler)
        return DeviceStatus(
            name,
            handler,
            type=type_of.value("type"),
            size=at.number("size"),
            block_size=at.number("blocksize"),
            read_only=at.flag("read_only"),
            active=at.flag("active"),
            file=_file(at.value("filename")),
            file_state=None,
            blocked=at.number("block") or 0,
            reservations_file=at.value("pr_file_name"),
            reservations_saved=None,
            scsi_device=_last(at.link("scsi_device")),
        )

    # --- the cluster ---------------------------------------------------------------------------

    def cluster(self) -> tuple[ClusterFact, ...]:
        """Nothing where there is no cluster."""
        try:
            lines = self._files.text("cluster_status").raw.splitlines()
        except OSError:
            return ()
        return tuple(_fact(line) for line in lines if line)

    # --- device groups -------------------------------------------------------------------------

    def device_groups(self) -> tuple[DeviceGroupStatus, ...]:
        return _each(self._device_group, self.directories("device_groups"))

    def _device_group(self, name: str) -> DeviceGroupStatus:
        path = f"device_groups/{name}"
        return DeviceGroupStatus(
            name,
            devices=tuple(tree.links_and_directories(self._files, f"{path}/devices")),
            target_groups=_each(
                lambda group: self._target_group(f"{path}/target_groups/{group}"),
                self.directories(f"{path}/target_groups"),
            ),
        )

    def _target_group(self, path: str) -> TargetGroupStatus:
        at = self.at(path)
        return TargetGroupStatus(
            path.rpartition("/")[2],
            id=at.number("group_id") or 0,
            state=at.value("state") or "",
            preferred=bool(at.flag("preferred")),
            targets=_each(
                lambda name: self._group_target(at, name),
                tree.links_and_directories(self._files, path),
            ),
        )

    def _group_target(self, group: _Object, name: str) -> GroupTargetStatus:
        link = group.link(name)
        if link is not None:
            return GroupTargetStatus(link.split("/")[-2], name, None)
        return GroupTargetStatus(None, name, self.at(group.path, name).number("rel_tgt_id") or 0)


def _fact(line: str) -> ClusterFact:
    subject, name, *pairs = [*line.split(), ""]
    values = (pair.partition("=") for pair in pairs if pair)
    return ClusterFact(subject, unquote(name), {key: unquote(value) for key, _, value in values})


_NEEDED: Final = {
    Section.PROBLEMS: ALL - {Section.SESSIONS},
    Section.SESSIONS: {Section.TARGETS},
}
"""The other sections that a section needs."""


def survey(
    files: Files, sections: Collection[Section] = ALL, most_sessions: int | None = None
) -> Overview:
    """The status.

    Args:
        files: the tree.
        sections: the requested sections.
        most_sessions: the most sessions to read of each target; None for all.

    Raises Mistake if there is no tree, also if it goes away.
    """
    require_tree(files.root)
    walk = _Survey(files)
    needed = set(sections).union(*(_NEEDED.get(section, ()) for section in sections))
    status = Overview(files.root, walk.core())
    if Section.TARGETS in needed:
        drivers = walk.drivers()
        status = replace(status, drivers=drivers, targets=walk.targets(drivers))
    if Section.SESSIONS in needed:
        sessions = walk.sessions(status.targets or (), most_sessions)
        status = replace(status, sessions=sessions)
    if Section.DEVICES in needed:
        status = replace(status, devices=walk.devices())
    if Section.GROUPS in needed:
        status = replace(status, device_groups=walk.device_groups())
    if Section.CLUSTER in needed:
        status = replace(status, cluster=walk.cluster())
    if Section.PROBLEMS in needed:
        status = replace(status, problems=problems.find(status))
    require_tree(files.root)  # if it went away meanwhile, the result is incomplete
    return status

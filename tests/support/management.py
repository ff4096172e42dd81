"""A management utility that knows the rules of SCST's tree and no driver, handler or attribute.

SCST's SysfsRules, part III, has the algorithms for saving a tree, and for restoring it. All names
of attributes are read from the tree. In two points it follows SCST 3.10 where that differs from the
text. The help of ``mgmt`` lists the parameters for making an object: ``filename`` can be written,
and must be given; ``size`` cannot, and need not. And the LUNs of a target without ``mgmt``, the
copy manager's, are left to its driver, which makes them.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

_MARK: Final = "[key]"
_INSTANCE: Final = re.compile(r"\d+$")
_AVAILABLE: Final = re.compile(r"^The following (.*) available: (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Attribute:
    """The value of one key attribute, and whether it can be written."""

    value: str
    writable: bool


Attributes: TypeAlias = "dict[str, list[Attribute]]"
"""By name, without the digits that distinguish instances of one attribute."""


@dataclass(frozen=True)
class Lun:
    device: str
    attributes: Attributes


@dataclass(frozen=True)
class Group:
    attributes: Attributes
    luns: dict[int, Lun]
    initiators: frozenset[str]


@dataclass(frozen=True)
class Target:
    is_hardware: bool
    attributes: Attributes
    luns: dict[int, Lun]
    groups: dict[str, Group]
    enabled: str | None


@dataclass(frozen=True)
class Driver:
    attributes: Attributes
    targets: dict[str, Target]
    enabled: str | None


@dataclass(frozen=True)
class Handler:
    attributes: Attributes
    devices: dict[str, Attributes]


@dataclass(frozen=True)
class Configuration:
    attributes: Attributes = field(default_factory=dict)
    handlers: dict[str, Handler] = field(default_factory=dict)
    drivers: dict[str, Driver] = field(default_factory=dict)


# Saving


def _value_of(text: str) -> tuple[str, bool]:
    """The value in the text of an attribute, and whether it is a key attribute's."""
    *lines, last = text.rstrip("\n").split("\n")
    return ("\n".join(lines), True) if lines and last == _MARK else (text.rstrip("\n"), False)


def read_all(directory: Path) -> Iterator[tuple[str, str, bool]]:
    """Name, text and writability of all readable files of a directory."""
    with os.scandir(directory) as entries:
        names = sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
    # Relative to the directory, which saves the look-up of its path.
    place = os.open(directory, os.O_RDONLY)
    for name in names:
        try:
            descriptor = os.open(name, os.O_RDONLY, dir_fd=place)
        except PermissionError:
            # Can only be written.
            continue
        with open(descriptor, encoding="utf-8", errors="backslashreplace") as file:
            yield name, file.read(), bool(os.fstat(descriptor).st_mode & stat.S_IWUSR)
    os.close(place)


def _attributes(directory: Path) -> Attributes:
    found: Attributes = {}
    for name, text, writable in read_all(directory):
        value, is_key = _value_of(text)
        if is_key:
            instances = found.setdefault(_INSTANCE.sub("", name), [])
            instances.append(Attribute(value, writable))
    return found


def _directories(directory: Path) -> list[Path]:
    with os.scandir(directory) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    return [directory / name for name in names]


def _luns(directory: Path) -> dict[int, Lun]:
    return {
        int(lun.name): Lun(Path(os.readlink(lun / "device")).name, _attributes(lun))
        for lun in _directories(directory)
    }


def _group(directory: Path) -> Group:
    initiators = (path for path in (directory / "initiators").iterdir() if path.name != "mgmt")
    patterns = frozenset(path.read_text().rstrip("\n") for path in initiators)
    return Group(_attributes(directory), _luns(directory / "luns"), patterns)


def _enabled(directory: Path) -> str | None:
    path = directory / "enabled"
    return path.read_text()[0] if path.exists() else None


def _target(driver: Path, directory: Path) -> Target:
    return Target(
        (directory / "hw_target").exists() or not (driver / "mgmt").exists(),
        _attributes(directory),
        _luns(directory / "luns"),
        {path.name: _group(path) for path in _directories(directory / "ini_groups")},
        _enabled(directory),
    )


def _driver(directory: Path) -> Driver:
    targets = {path.name: _target(directory, path) for path in _directories(directory)}
    return Driver(_attributes(directory), targets, _enabled(directory))


def _handler(root: Path, directory: Path) -> Handler:
    devices = (root / "devices").resolve()
    links = (path for path in directory.iterdir() if path.is_symlink())
    own = {path.name: _attributes(path) for path in links if path.resolve().parent == devices}
    return Handler(_attributes(directory), own)


def save(root: Path) -> Configuration:
    """The configuration of the tree at *root*."""
    handlers = (path for path in _directories(root / "handlers") if (path / "mgmt").exists())
    return Configuration(
        _attributes(root),
        {path.name: _handler(root, path) for path in handlers},
        {path.name: _driver(path) for path in _directories(root / "targets")},
    )


# Restoring


def write(path: Path, text: str) -> None:
    """Write a value or a command as echo does it."""
    try:
        with path.open("wb", buffering=0) as file:
            data = f"{text}\n".encode()
            assert file.write(data) == len(data)
    except OSError as error:
        error.add_note(f"{text!r} was written to {path}")
        raise


def available(mgmt: Path, what: str) -> list[str]:
    """A list in the help of a ``mgmt`` file: of parameters or of attributes that can be added."""
    found = dict(_AVAILABLE.findall(mgmt.read_text())) if mgmt.exists() else {}
    return found[what].split(", ") if what in found else []


def _given(attributes: Attributes, names: Iterable[str]) -> str:
    """Attributes as the parameters of a command."""
    parameters = ((name, found.value) for name in names for found in attributes.get(name, []))
    return "; ".join(f"{name}={value}" for name, value in parameters)


@dataclass(frozen=True)
class _Owner:
    """A dev handler or target driver, and the verbs of its ``mgmt``."""

    directory: Path
    kind: str
    """"device" or "target"."""

    @property
    def mgmt(self) -> Path:
        return self.directory / "mgmt"

    def configure(self, wanted: Attributes) -> None:
        """Its own attributes."""
        optional = available(self.mgmt, f"{_OWNERS[self.kind]} attributes")
        _configure(self.directory, wanted, optional, self.mgmt, "attribute")

    def configure_object(self, path: Path, wanted: Attributes) -> None:
        """Attributes of one of its devices or targets."""
        optional = available(self.mgmt, f"{self.kind} attributes")
        _configure(path, wanted, optional, self.mgmt, f"{self.kind}_attribute {path.name}")

    def replace(self, present: Mapping[str, Path], wanted: Mapping[str, Attributes]) -> None:
        """Delete devices or targets that are unwanted or different, and make missing ones."""
        optional = available(self.mgmt, f"{self.kind} attributes")
        for name, path in present.items():
            if name not in wanted or _must_be_made_again(path, wanted[name], optional):
                write(self.mgmt, f"del_{self.kind} {name}")
        parameters = available(self.mgmt, "parameters")
        for name, attributes in wanted.items():
            if name not in present or not present[name].exists():
                command = f"add_{self.kind} {name} {_given(attributes, parameters)}"
                write(self.mgmt, command.rstrip())


_OWNERS: Final = {"device": "device driver", "target": "target driver"}


def _must_be_made_again(path: Path, wanted: Attributes, optional: Collection[str]) -> bool:
    """Whether a read-only attribute must change, or any must get its default."""
    present = _attributes(path)
    return any(
        present.get(name) != wanted.get(name) and not (name in wanted and wanted[name][0].writable)
        for name in {*present, *wanted} - {*optional}
    )


def _configure(
    path: Path, wanted: Attributes, optional: Collection[str], mgmt: Path, what: str
) -> None:
    """Write, add and delete attributes."""
    present = _attributes(path)
    for name in optional:
        kept, there = wanted.get(name, []), present.get(name, [])
        for attribute in there:
            if attribute not in kept:
                write(mgmt, f"del_{what} {name} {attribute.value}")
        for attribute in kept:
            if attribute not in there:
                write(mgmt, f"add_{what} {name} {attribute.value}")
    for name in sorted(wanted.keys() - {*optional}):
        (attribute,) = wanted[name]
        if attribute.writable and present.get(name) != [attribute]:
            write(path / name, attribute.value)


def _configure_luns(directory: Path, wanted: Mapping[int, Lun]) -> None:
    present = _luns(directory)
    for number in present.keys() - wanted.keys():
        write(directory / "mgmt", f"del {number}")
    for number, lun in wanted.items():
        if present.get(number) != lun:
            verb = "replace" if number in present else "add"
            given = _given(lun.attributes, lun.attributes)
            write(directory / "mgmt", f"{verb} {lun.device} {number} {given}".rstrip())


def _configure_groups(directory: Path, wanted: Mapping[str, Group]) -> None:
    """First initiators are deleted, then LUNs updated, then initiators added or moved."""
    present = {path.name: _group(path) for path in _directories(directory)}
    for name in wanted.keys() - present.keys():
        write(directory / "mgmt", f"create {name}")
    there = {(pattern, name) for name, group in present.items() for pattern in group.initiators}
    theirs = {(pattern, name) for name, group in wanted.items() for pattern in group.initiators}
    moving = {pattern for pattern, _ in theirs - there}
    places: dict[str, str] = {}
    for pattern, name in sorted(there - theirs):
        if pattern in moving and pattern not in places:
            places[pattern] = name
        else:
            write(directory / name / "initiators/mgmt", f"del {pattern}")
    for name, group in wanted.items():
        _configure(directory / name, group.attributes, (), directory, "")
        _configure_luns(directory / name / "luns", group.luns)
    for pattern, name in sorted(theirs - there):
        source = places.pop(pattern, None)
        if source is None:
            write(directory / name / "initiators/mgmt", f"add {pattern}")
        else:
            write(directory / source / "initiators/mgmt", f"move {pattern} {name}")
    for name in present.keys() - wanted.keys():
        write(directory / "mgmt", f"del {name}")


def _switch(path: Path, wanted: str | None, value: str) -> None:
    """Enable or disable targets and drivers as wanted."""
    if wanted == value != _enabled(path):
        write(path / "enabled", value)


def _apply_target(driver: _Owner, path: Path, wanted: Target) -> None:
    _switch(path, wanted.enabled, "0")
    driver.configure_object(path, wanted.attributes)
    if not wanted.is_hardware:
        _configure_luns(path / "luns", wanted.luns)
    _configure_groups(path / "ini_groups", wanted.groups)
    _switch(path, wanted.enabled, "1")


def apply(root: Path, wanted: Configuration) -> None:
    """Change the tree at *root*, empty or not, to *wanted*; raises OSError."""
    _configure(root, wanted.attributes, (), root, "")
    for name, handler in wanted.handlers.items():
        owner = _Owner(root / "handlers" / name, "device")
        owner.configure(handler.attributes)
        devices = _handler(root, owner.directory).devices
        owner.replace({device: owner.directory / device for device in devices}, handler.devices)
        for device, attributes in handler.devices.items():
            owner.configure_object(root / "devices" / device, attributes)
    for name, driver in wanted.drivers.items():
        owner = _Owner(root / "targets" / name, "target")
        _switch(owner.directory, driver.enabled, "0")
        owner.configure(driver.attributes)
        targets = {key: found.attributes for key, found in driver.targets.items()}
        if owner.mgmt.exists():
            owner.replace({path.name: path for path in _directories(owner.directory)}, targets)
        for target, settings in driver.targets.items():
            _apply_target(owner, owner.directory / target, settings)
        _switch(owner.directory, driver.enabled, "1")

"""The attributes of one object of the tree, by the rules of SCST's own program.

It decides for all kinds of objects which entries of a directory are attributes, which can be set,
and which instances belong together.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from scstfs.admin import kinds
from scstfs.admin.files import Reader
from scstfs.admin.kinds import Kind

MGMT: Final = "mgmt"
TRACE_LEVEL: Final = "trace_level"

SESSION_NAME: Final = "session_name"
"""Parameter of drivers whose sessions are made by management commands: the configuration of such a
target has the names of its sessions.
"""

_NUMBERED: Final = re.compile(r"([^\d]+)(\d+)")
_PARAMETERS: Final = "The following parameters available:"
_DRIVER_ATTRIBUTES: Final = "The following target driver attributes available:"
_TARGET_ATTRIBUTES: Final = "The following target attributes available:"
_HANDLER_ATTRIBUTES: Final = "The following device driver attributes available:"
_DEVICE_ATTRIBUTES: Final = "The following device attributes available:"


@dataclass(slots=True)
class Attribute:
    """An attribute, or all instances of one.

    Attributes:
        static: cannot be set.
        value: the text of one that need not be saved; None if it cannot be read.
        keys: the text of each instance that must be saved, by its number.
        files: the file of each instance, likewise.
        private: only its owner may read it.
        choices: the words that trace_level accepts; None for all other attributes.
        structure: the length that SCST's program gives a value that is not text, which it does not
            print.
    """

    static: bool = False
    value: str | None = None
    keys: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    private: bool = False
    choices: list[str] | None = None
    structure: int = 0

    @property
    def is_key(self) -> bool:
        """Whether a saved configuration must have it."""
        return bool(self.keys)

    @property
    def values(self) -> list[str]:
        """All texts."""
        if self.keys:
            return list(self.keys.values())
        return [] if self.value is None else [self.value]


Attributes = dict[str, Attribute]


@dataclass(frozen=True, slots=True)
class _Rules:
    """Which entries of a directory are attributes.

    Attributes:
        no_attributes: files that are not attributes.
        settable: can be set in spite of their mode.
        links: links whose last component is a value.
        empty_directories: directories and links to them count as attributes without a value.
    """

    no_attributes: frozenset[str] = frozenset({MGMT})
    settable: frozenset[str] = frozenset()
    links: frozenset[str] = frozenset()
    empty_directories: bool = False


_WITHOUT_UEVENT: Final = frozenset({MGMT, "uevent"})
_RULES: Final[Mapping[Kind, _Rules]] = {
    kinds.ROOT: _Rules(),
    kinds.ALUA: _Rules(_WITHOUT_UEVENT, empty_directories=True),
    kinds.HANDLER: _Rules(_WITHOUT_UEVENT | {"module"}, empty_directories=True),
    kinds.DEVICE: _Rules(
        _WITHOUT_UEVENT,
        frozenset({"cpu_mask", "filename", "threads_num", "threads_pool_type"}),
        links=frozenset({"handler", "scsi_device"}),
    ),
    kinds.DRIVER: _Rules(),
    kinds.TARGET: _Rules(
        _WITHOUT_UEVENT, frozenset({kinds.ENABLED, "cpu_mask"}), links=frozenset({"host"})
    ),
    kinds.GROUP: _Rules(settable=frozenset({"cpu_mask"})),
    kinds.LUN: _Rules(links=frozenset({"device"})),
    kinds.DEVICE_GROUP: _Rules(),
    kinds.TARGET_GROUP: _Rules(),
    kinds.GROUP_TARGET: _Rules(),
}


def read(
    files: Reader,
    kind: Kind,
    directory: str,
    wanted: Callable[[str, bool], bool] | None = None,
) -> Attributes:
    """The attributes of the object of *kind* at *directory*.

    *wanted* is called before a file is read, with its name and whether it can be set. Raises
    OSError if the directory or one of them cannot be read.
    """
    rules = _RULES[kind]
    found: Attributes = {}
    for name, file_type in files.entries(directory).items():
        path = f"{directory}/{name}" if directory else name
        if name in rules.no_attributes:
            continue
        if file_type == stat.S_IFREG:
            static = not files.is_writable(path) and name not in rules.settable
            if wanted is None or wanted(name, static):
                _read_file(files, kind, found, path, name, static)
        else:
            try:
                other = _read_other(files, rules, path, name)
            except FileNotFoundError:
                continue  # it has gone meanwhile: a link to a device, or a group
            if other is not None:
                found[name] = other
    return found


def _read_other(files: Reader, rules: _Rules, path: str, name: str) -> Attribute | None:
    """Links and directories that count as attributes."""
    if name in rules.links:
        return Attribute(static=True, value=files.link(path).rpartition("/")[2])
    if rules.empty_directories:
        return Attribute(static=not files.is_writable(path), value="")
    return None


def _read_file(
    files: Reader, kind: Kind, found: Attributes, path: str, name: str, static: bool
) -> None:
    if not files.is_readable(path):
        found[name] = Attribute()
        return
    text = files.text(path)
    if text.key:
        number = "0"
        numbered = _NUMBERED.fullmatch(name)
        if numbered is not None:
            name, number = numbered[1], numbered[2]
        attribute = found.setdefault(name, Attribute())
        attribute.static = static
        attribute.private = files.is_private(path)
        attribute.keys[number] = text.value
        attribute.files[number] = path
        return
    attribute = found[name] = Attribute(static=static, value=text.value, files={"": path})
    if name == TRACE_LEVEL:
        attribute.choices = _trace_levels(text.raw)
    elif name == "type" and kind in (kinds.DEVICE, kinds.HANDLER):
        number, _, words = text.value.partition(" - ")
        attribute.value = number
        found["type_string"] = Attribute(static=True, value=words)


def _trace_levels(text: str) -> list[str]:
    """The words in brackets at the end of a trace_level."""
    lines = text.split("\n")[2:]
    while lines and "[" in lines[0]:
        del lines[0]
    inner = "".join(lines)
    first, last = inner.find("["), inner.rfind("]")
    if first < 0 or last < first:
        return []
    return [word.strip() for word in inner[first + 1 : last].split(",")]


# --- what a mgmt file says of itself ---------------------------------------------------------


def _named(files: Reader, mgmt: str, announcement: str) -> list[str]:
    names = ""
    for line in files.text(mgmt).raw.splitlines():
        if line.startswith(announcement):
            names = line.removeprefix(announcement).removesuffix(".")
    return [name.strip() for name in names.split(",")] if names else []


def parameters(files: Reader, mgmt: str) -> list[str]:
    """Parameters of the command that makes an object. Raises OSError."""
    return _named(files, mgmt, _PARAMETERS)


def driver_attributes(files: Reader, mgmt: str) -> list[str]:
    """Attributes that can be added to the driver itself. Raises OSError."""
    return _named(files, mgmt, _DRIVER_ATTRIBUTES)


def target_attributes(files: Reader, mgmt: str) -> list[str]:
    """Attributes that can be added to a target. Raises OSError."""
    return _named(files, mgmt, _TARGET_ATTRIBUTES)


def handler_attributes(files: Reader, mgmt: str) -> list[str]:
    """Attributes that can be added to a handler itself. Raises OSError."""
    return _named(files, mgmt, _HANDLER_ATTRIBUTES)


def device_attributes(files: Reader, mgmt: str) -> list[str]:
    """Attributes that can be added to a device. Raises OSError."""
    return _named(files, mgmt, _DEVICE_ATTRIBUTES)


def saved(parameter_names: Collection[str] = ()) -> Callable[[str, bool], bool]:
    """For `read`: only attributes that a saved configuration may need.

    These can be set, or given to the command that makes the object.
    """

    def wanted(name: str, static: bool) -> bool:
        if name == TRACE_LEVEL:
            return False
        return not static or name in parameter_names or name in (kinds.ENABLED, kinds.HARDWARE)

    return wanted

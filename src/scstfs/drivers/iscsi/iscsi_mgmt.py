"""The command language of SCST's iSCSI daemon: ``mgmt`` and writes to its attributes.

The kernel takes the verb and a new target's name and hands the rest to the daemon, which has its
own rules: parameters end at ';' or a newline, empty ones and those that begin with '#' are ignored,
and words are separated by blanks and '='.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from scstfs.drivers.iscsi import parameters
from scstfs.drivers.iscsi.accounts import Accounts, EntryList
from scstfs.drivers.iscsi.config import IscsiDriver, IscsiTarget
from scstfs.sysfs.errors import SysfsError, invalid
from scstfs.sysfs.mgmt import MgmtWrite
from scstfs.sysfs.text import decode

_WORD: Final = re.compile(r"[ \t\n\v\f\r=]*([^ \t\n\v\f\r=]*)")
_ITEM: Final = re.compile(r"[^\n;]*")

_ALIAS: Final = "alias"


class Words:
    """Takes words from the front of a text."""

    __slots__ = ("_position", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0

    def take(self) -> str:
        """The next word; empty when there is none."""
        match = _WORD.match(self._text, self._position)
        if match is None:
            return ""
        # The separator behind a word belongs to it.
        self._position = min(match.end() + 1, len(self._text))
        return match.group(1)

    def take_last(self) -> str:
        """The next word; EINVAL if another one follows."""
        word = self.take()
        self.expect_end()
        return word

    def expect_end(self) -> None:
        """EINVAL if there is another word."""
        word = self.take()
        if word:
            raise invalid(f"Unexpected parameter value {word}")

    def rest(self) -> str:
        """The rest of the text."""
        return self._text[self._position :]


# Numbered attributes


def _add_incoming(accounts: Accounts, template: str, words: Words) -> None:
    accounts.add_incoming(template, words.take(), words.take())


def _add_outgoing(accounts: Accounts, template: str, words: Words) -> None:
    accounts.add_outgoing(template, words.take(), words.take())


def _add_portal(accounts: Accounts, _template: str, words: Words) -> None:
    pattern = words.take()
    if not pattern:
        raise invalid("Value expected for attribute allowed_portal")
    words.expect_end()
    accounts.add_portal(ALLOWED_PORTAL, pattern)


def _remove_incoming(accounts: Accounts, words: Words) -> None:
    _remove_user(accounts, accounts.incoming, words)


def _remove_outgoing(accounts: Accounts, words: Words) -> None:
    _remove_user(accounts, accounts.outgoing, words)


def _remove_user(accounts: Accounts, entries: EntryList, words: Words) -> None:
    name = words.take()
    entry = entries.find(name)
    if entry is None:
        raise SysfsError(errno.ENOENT, f"User {name} not found")
    accounts.remove(entries, entry)


def _remove_portal(accounts: Accounts, words: Words) -> None:
    pattern = words.take()
    entry = accounts.portals.find(pattern)
    if entry is None:
        raise invalid(f"Unknown portal {pattern}")
    accounts.remove(accounts.portals, entry)


INCOMING_USER: Final = "IncomingUser"
OUTGOING_USER: Final = "OutgoingUser"
ALLOWED_PORTAL: Final = "allowed_portal"

DRIVER_ATTRIBUTES: Final = (INCOMING_USER, OUTGOING_USER)
TARGET_ATTRIBUTES: Final = (INCOMING_USER, OUTGOING_USER, ALLOWED_PORTAL)
"""The attributes that can be added to the driver and to a target, as in usage texts."""

_ADD: Final[Mapping[str, Callable[[Accounts, str, Words], None]]] = MappingProxyType(
    {
        INCOMING_USER: _add_incoming,
        OUTGOING_USER: _add_outgoing,
        ALLOWED_PORTAL: _add_portal,
    }
)
_REMOVE: Final[Mapping[str, Callable[[Accounts, Words], None]]] = MappingProxyType(
    {
        INCOMING_USER: _remove_incoming,
        OUTGOING_USER: _remove_outgoing,
        ALLOWED_PORTAL: _remove_portal,
    }
)


def _kind_of(name: str, known: tuple[str, ...]) -> str:
    """The attribute that *name*, with or without a number, means; EINVAL for none."""
    for kind in known:
        head, number = name[: len(kind)], name[len(kind) :]
        if head.lower() == kind.lower() and (not number or _is_number(number)):
            return kind
    raise invalid(f"Syntax error at {name}")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


# Verbs


def execute(driver: IscsiDriver, command: MgmtWrite) -> None:
    """Execute a verb of ``mgmt`` other than add_target and del_target; raises SysfsError."""
    words = Words(decode(command.text))
    verb = words.take().lower()
    action = _VERBS.get(verb)
    if action is None:
        raise invalid(f"Syntax error at {command.typed}")
    action(driver, words)


def _add_attribute(driver: IscsiDriver, words: Words) -> None:
    _add_to(driver.accounts, DRIVER_ATTRIBUTES, words)


def _remove_attribute(driver: IscsiDriver, words: Words) -> None:
    _remove_from(driver.accounts, DRIVER_ATTRIBUTES, words)


def _add_target_attribute(driver: IscsiDriver, words: Words) -> None:
    _add_to(_target(driver, words).accounts, TARGET_ATTRIBUTES, words)


def _remove_target_attribute(driver: IscsiDriver, words: Words) -> None:
    _remove_from(_target(driver, words).accounts, TARGET_ATTRIBUTES, words)


def _target(driver: IscsiDriver, words: Words) -> IscsiTarget:
    name = words.take()
    target = driver.find_target(name)
    if target is None:
        raise SysfsError(errno.ENOENT, f"Target {name} not found")
    return target


def _add_to(accounts: Accounts, known: tuple[str, ...], words: Words) -> None:
    name = words.take()
    _ADD[_kind_of(name, known)](accounts, name, words)


def _remove_from(accounts: Accounts, known: tuple[str, ...], words: Words) -> None:
    _REMOVE[_kind_of(words.take(), known)](accounts, words)


_VERBS: Final[Mapping[str, Callable[[IscsiDriver, Words], None]]] = MappingProxyType(
    {
        "add_attribute": _add_attribute,
        "del_attribute": _remove_attribute,
        "add_target_attribute": _add_target_attribute,
        "del_target_attribute": _remove_target_attribute,
    }
)


# New targets


def new_target(driver: IscsiDriver, name: str, given: str) -> IscsiTarget:
    """The target of ``add_target NAME GIVEN``, complete but not yet registered.

    Raises SysfsError: EINVAL for an unknown parameter or a wrong value, EEXIST for the name of a
    present target, ignoring case.
    """
    target: IscsiTarget | None = None
    for item in _ITEM.findall(f"Target {name}; {given}"):
        words = Words(item)
        key = words.take()
        if not key or key.startswith("#"):
            continue
        if target is None and key == "Target":
            target = driver.new_target(_target_name(words))
        elif target is None:
            raise invalid("Target name required")
        else:
            _configure(target, key, words)
    if target is None:
        raise invalid("Target name required")
    if driver.find_target(target.name) is not None:
        raise SysfsError(errno.EEXIST, f"duplicated target {target.name}")
    return target


def _target_name(words: Words) -> str:
    name = words.take_last()
    if not name:
        raise invalid("Target name required")
    return name


def _configure(target: IscsiTarget, name: str, words: Words) -> None:
    """One parameter of add_target."""
    key = parameters.BY_NAME.get(name.lower())
    if key is not None:
        target.parameters[key.name] = parameters.parse(key, words.take_last())
    elif name.lower() != _ALIAS:
        kind = _kind_of(name, DRIVER_ATTRIBUTES)
        user, secret = words.take(), words.take()
        words.expect_end()
        if kind == INCOMING_USER:
            target.accounts.add_incoming(name, user, secret)
        else:
            # No file shows a first one yet, so a second one replaces it.
            target.accounts.forget_outgoing()
            target.accounts.add_outgoing(name, user, secret)

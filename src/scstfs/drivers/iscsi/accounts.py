"""Users and portals of the driver or of one target: lists, and the files that show them.

``IncomingUser``, ``OutgoingUser`` and ``allowed_portal`` are numbered: the first entry has the
plain name, further ones the lowest free number behind it. Deleting an entry frees its number; the
others keep theirs.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from scstfs.observable import ObservableDict
from scstfs.sysfs.errors import SysfsError, invalid

#: RFC 7143 9.2.1 wants secrets of 96 bits.
SHORTEST_SECRET: Final = 12
_LONGEST_NAME: Final = 49


@dataclass(slots=True)
class AccountEntry:
    """One user (``key`` is the name, ``value`` the secret) or portal (``key`` is the pattern)."""

    file: str
    key: str
    value: str = field(default="", repr=False)


class EntryList:
    """Entries of one kind, in the order in which they were added."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: list[AccountEntry] = []

    def __iter__(self) -> Iterator[AccountEntry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, template: str, key: str, value: str = "") -> AccountEntry:
        """Add an entry whose file is named after ``template``; EINVAL if the key exists."""
        if self.find(key) is not None:
            raise invalid(f"Attribute {key} already exists")
        entry = AccountEntry(self._free_name(template), key, value)
        self._entries.append(entry)
        return entry

    def _free_name(self, template: str) -> str:
        taken = {entry.file for entry in self._entries}
        name, number = template[:_LONGEST_NAME], 0
        while name in taken:
            number += 1
            name = f"{template}{number}"[:_LONGEST_NAME]
        return name

    def find(self, key: str) -> AccountEntry | None:
        """The entry with this key."""
        return next((entry for entry in self._entries if entry.key == key), None)

    def of_file(self, file: str) -> AccountEntry:
        """The entry that a file shows; EINVAL if it does not exist (any more)."""
        for entry in self._entries:
            if entry.file == file:
                return entry
        raise invalid(f"Unknown attribute {file}")

    def replace(self, file: str, key: str, value: str) -> None:
        """Change the entry of a file; EEXIST if another one has the key."""
        entry = self.of_file(file)
        if self.find(key) not in (None, entry):
            raise SysfsError(errno.EEXIST, f"Attribute {key} already exists")
        entry.key, entry.value = key, value

    def remove(self, entry: AccountEntry) -> None:
        """Forget an entry."""
        self._entries.remove(entry)

    def clear(self) -> None:
        """Forget all entries."""
        self._entries.clear()


@dataclass(frozen=True, slots=True, eq=False)
class AttributeFile:
    """A file in the tree; it may outlive its entry, and reading it then gives EINVAL."""

    name: str
    entries: EntryList

    def entry(self) -> AccountEntry:
        """Its contents."""
        return self.entries.of_file(self.name)

    def replace(self, key: str, value: str) -> None:
        """Write to it."""
        self.entries.replace(self.name, key, value)


class Accounts:
    """Users, and portals of a target, of the driver or of a target."""

    def __init__(self) -> None:
        self.incoming = EntryList()
        self.outgoing = EntryList()
        self.portals = EntryList()
        #: Everything that the tree shows, by name.
        self.files: ObservableDict[str, AttributeFile] = ObservableDict()

    def files_of(self, entries: EntryList) -> dict[str, AttributeFile]:
        """The files of one kind by name."""
        return {name: file for name, file in self.files.items() if file.entries is entries}

    def of_kind(self, attribute: str) -> EntryList:
        """The entries whose files are named ``attribute``, with a number or without."""
        return {
            "IncomingUser": self.incoming,
            "OutgoingUser": self.outgoing,
            "allowed_portal": self.portals,
        }[attribute]

    def add_incoming(self, template: str, name: str, secret: str) -> None:
        """Add a user that may log in; EINVAL for a missing word or too short a secret."""
        _check_user(name, secret)
        self._show(self.incoming, self.incoming.add(template, name, secret))

    def add_outgoing(self, template: str, name: str, secret: str) -> None:
        """Set the user that we authenticate as (mutual CHAP).

        There is only one, so a second one replaces it. Its file would have the name of the first
        one's file, which still exists: SCST then refuses it with EEXIST and has lost both.
        """
        _check_user(name, secret)
        self.outgoing.clear()
        self._show(self.outgoing, self.outgoing.add(template, name, secret))

    def forget_outgoing(self) -> None:
        """Remove the user that we authenticate as."""
        for entry in list(self.outgoing):
            self.files.pop(entry.file, None)
        self.outgoing.clear()

    def add_portal(self, template: str, pattern: str) -> None:
        """Add a pattern of addresses at which the target is served."""
        self._show(self.portals, self.portals.add(template, pattern))

    def _show(self, entries: EntryList, entry: AccountEntry) -> None:
        if entry.file in self.files:
            entries.remove(entry)
            raise SysfsError(errno.EEXIST, f"Attribute {entry.file} already exists")
        self.files[entry.file] = AttributeFile(entry.file, entries)

    def remove(self, entries: EntryList, entry: AccountEntry) -> None:
        """Remove an entry and its file."""
        if self.files.pop(entry.file, None) is None:
            raise SysfsError(errno.ENOENT, f"Attribute {entry.file} not found")
        entries.remove(entry)


def _check_user(name: str, secret: str) -> None:
    if not name or not secret:
        raise invalid("Name or password is missing")
    if len(secret.encode("utf-8", "surrogateescape")) < SHORTEST_SECRET:
        raise invalid(f"Secret for user {name} is too short (min {SHORTEST_SECRET} bytes)")

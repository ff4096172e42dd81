"""What this node knows of the keys in etcd: all of them, in the order in which they changed.

All nodes see the same changes in the same order, so they come to the same conclusions.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from scstfs.cluster import record
from scstfs.cluster.etcd_keys import KINDS, ItemName, Keys
from scstfs.cluster.record import OtherFormat, Record


class KeyValue(NamedTuple):
    """A key as etcd has it; without a value it was deleted."""

    key: str
    value: str | None
    revision: int
    lease: int = 0


class Serving(NamedTuple):
    """A node that serves an item: the change that it has taken over, and its lease."""

    change: str
    lease: int


@dataclass(slots=True)
class ItemView:
    """A shared item.

    Attributes:
        revision: of its key; 0 if it does not exist.
        record: None if it does not exist or cannot be understood.
        problem: why it cannot be understood.
    """

    revision: int = 0
    record: Record | None = None
    problem: str = ""
    users: dict[str, Serving] = field(default_factory=dict)
    served: set[str] = field(default_factory=set)

    @property
    def is_settled(self) -> bool:
        """Every node that serves it has taken over the last change."""
        current = self.record
        return current is not None and all(
            user.change == current.change for user in self.users.values()
        )


@dataclass(frozen=True, slots=True)
class LivingNode:
    """A node that lives.

    Attributes:
        incarnation: identifies the process.
        release: of scstfs.
        formats: of records that it understands.
    """

    incarnation: str
    lease: int
    release: str
    formats: tuple[int, ...]


class ClusterPort(NamedTuple):
    """A target port."""

    node: str
    target: str
    protocol: int


class Replica:
    """See the module's text."""

    def __init__(self, keys: Keys) -> None:
        self._keys: Final = keys
        #: The last change that is known.
        self.revision = 0
        self.is_complete = False
        self.items: dict[ItemName, ItemView] = {}
        self.members: dict[str, LivingNode] = {}
        self.ports: dict[int, ClusterPort] = {}
        #: Revisions of all keys.
        self.present: dict[str, int] = {}

    def load(self, entries: Iterable[KeyValue], revision: int) -> None:
        """Take over all keys at once, as they were at ``revision``."""
        entries = list(entries)
        for key in self.present.keys() - {entry.key for entry in entries}:
            self.apply(KeyValue(key, None, revision))
        for entry in entries:
            if self.present.get(entry.key) != entry.revision:
                self.apply(entry)
        self.revision = max(self.revision, revision)
        self.is_complete = True

    def item(self, name: ItemName) -> ItemView:
        """An item, which need not exist in etcd."""
        return self.items.setdefault(name, ItemView())

    def apply(self, entry: KeyValue) -> None:
        """A key has changed."""
        self.revision = max(self.revision, entry.revision)
        if entry.value is None:
            self.present.pop(entry.key, None)
        else:
            self.present[entry.key] = entry.revision
        match self._keys.split(entry.key):
            case ("member", node):
                self._member(node, entry)
            case ("port", number) if number.isdecimal():
                self._port(int(number), entry)
            case ("user", kind, name, node):
                self._user(self.item(ItemName(kind, name)), node, entry)
            case ("served", kind, name, node):
                served = self.item(ItemName(kind, name)).served
                (served.discard if entry.value is None else served.add)(node)
            case (kind, name) if kind in KINDS:
                _set_record(self.item(ItemName(kind, name)), entry)

    def _member(self, node: str, entry: KeyValue) -> None:
        data = _object(entry.value)
        if data is None:
            self.members.pop(node, None)
            return
        formats = data.get("formats")
        self.members[node] = LivingNode(
            str(data.get("incarnation")),
            entry.lease,
            str(data.get("release")),
            tuple(formats) if isinstance(formats, list) else (),
        )

    def _port(self, number: int, entry: KeyValue) -> None:
        data = _object(entry.value)
        if data is None:
            self.ports.pop(number, None)
            return
        protocol = data.get("protocol")
        self.ports[number] = ClusterPort(
            str(data.get("node")),
            str(data.get("target")),
            protocol if isinstance(protocol, int) else -1,
        )

    def _user(self, item: ItemView, node: str, entry: KeyValue) -> None:
        if entry.value is None:
            item.users.pop(node, None)
        else:
            item.users[node] = Serving(entry.value, entry.lease)


def member_text(incarnation: str, release: str) -> str:
    """The value of a member's key."""
    formats = [record.FORMAT]
    return json.dumps({"incarnation": incarnation, "release": release, "formats": formats})


def port_text(port: ClusterPort) -> str:
    """The value of a target port's key."""
    return json.dumps(port._asdict())


def _set_record(item: ItemView, entry: KeyValue) -> None:
    item.record, item.problem, item.revision = None, "", entry.revision
    if entry.value is None:
        item.revision = 0
        return
    try:
        item.record = record.decode(entry.value)
    except OtherFormat as error:
        item.problem = f"{error}, which this release does not understand"
    except ValueError as error:
        item.problem = str(error)


def _object(text: str | None) -> dict[str, object] | None:
    if text is None:
        return None
    try:
        data = json.loads(text)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}

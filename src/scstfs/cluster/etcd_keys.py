"""Where things are in etcd.

=============================  ====================================================  =====
below ``/scstfs/CLUSTER/``     value                                                 lease
=============================  ====================================================  =====
``member/NODE``                a node that lives (JSON)                               yes
``port/NUMBER``                the target port of this relative identifier (JSON)    yes
``KIND/NAME``                  a shared item (`record.Record`)                       no
``user/KIND/NAME/NODE``        the change of the item that a node has taken over     yes
``served/KIND/NAME/NODE``      a node that has not left the item in an orderly way   no
=============================  ====================================================  =====

KIND is ``lu`` (a logical unit, NAME is its t10_dev_id) or ``alua`` (a device group).
"""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import quote, unquote

UNIT: Final = "lu"
GROUP: Final = "alua"
KINDS: Final = (UNIT, GROUP)


class ItemName(NamedTuple):
    """A shared item."""

    kind: str
    name: str

    def __str__(self) -> str:
        """As the log has it."""
        return f"{self.kind}/{self.name}"


class Keys:
    """The keys of one cluster."""

    def __init__(self, cluster: str) -> None:
        self.prefix: Final = f"/scstfs/{_quoted(cluster)}/"

    def member(self, node: str) -> str:
        """A node's own key."""
        return f"{self.prefix}member/{_quoted(node)}"

    def port(self, rel_tgt_id: int) -> str:
        """A target port's key."""
        return f"{self.prefix}port/{rel_tgt_id}"

    def item(self, item: ItemName) -> str:
        """An item's key."""
        return f"{self.prefix}{item.kind}/{_quoted(item.name)}"

    def user(self, item: ItemName, node: str) -> str:
        """The key that says which change of an item a node has taken over."""
        return f"{self.prefix}user/{item.kind}/{_quoted(item.name)}/{_quoted(node)}"

    def served(self, item: ItemName, node: str) -> str:
        """The key of a node that has not left an item."""
        return f"{self.prefix}served/{item.kind}/{_quoted(item.name)}/{_quoted(node)}"

    def split(self, key: str) -> tuple[str, ...]:
        """The parts of a key behind the prefix."""
        return tuple(unquote(part) for part in key.removeprefix(self.prefix).split("/"))

    def item_of(self, key: str) -> ItemName | None:
        """The item that a key is about."""
        match self.split(key):
            case ("user" | "served", kind, name, _):
                return ItemName(kind, name)
            case (kind, name) if kind in KINDS:
                return ItemName(kind, name)
        return None


def _quoted(name: str) -> str:
    return quote(name, safe="", errors="surrogateescape")

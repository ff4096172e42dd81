"""The value of a shared item: its state, and which change led to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

#: Of records that this release writes; a node says with it which ones it understands.
FORMAT: Final = 1

#: How many earlier changes a record remembers.  No node that has a lease is more than one behind.
_REMEMBERED: Final = 32


class OtherFormat(Exception):  # noqa: N818 - it describes the record
    """A newer release has written the record."""


@dataclass(frozen=True, slots=True)
class Record:
    """A state.

    Attributes:
        change: identifies the change that led to it.
        history: the changes before, the latest first.
        node: that has made the change.
        content: the state; what it has depends on the kind of the item.
    """

    change: str
    node: str
    content: Mapping[str, Any]
    history: tuple[str, ...] = ()

    def followed_by(self, change: str, node: str, content: Mapping[str, Any]) -> Record:
        """The record of the next change."""
        return Record(change, node, content, (self.change, *self.history)[:_REMEMBERED])

    def is_next_to(self, change: str | None) -> bool:
        """Only one change lies between ``change`` and this record."""
        return self.history[:1] == (change,)


def encode(record: Record) -> str:
    """The text of a record."""
    return json.dumps(
        {
            "format": FORMAT,
            "change": record.change,
            "node": record.node,
            "history": record.history,
            "content": record.content,
        }
    )


def decode(text: str) -> Record:
    """Decode what `encode` made; raises OtherFormat, ValueError."""
    data = json.loads(text)
    try:
        if data["format"] != FORMAT:
            raise OtherFormat(f"format {data['format']}")
        return Record(
            str(data["change"]),
            str(data["node"]),
            dict(data["content"]),
            tuple(map(str, data["history"])),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"no record: {error!r}") from error

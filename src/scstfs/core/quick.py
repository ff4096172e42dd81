"""The quick way of READ and WRITE: what moves their blocks at once, past the gates.

Whether a READ or WRITE of a nexus may take it is decided in advance, as long as nothing changes of
what the decision looks at (``core.gated``): ``TgtDev.quick``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

#: ``(lba, blocks, buffer) -> done``: moves the blocks, or declines and has changed nothing.
FastPath: TypeAlias = Callable[[int, int, memoryview], bool]


class Quick(NamedTuple):
    """What READ and WRITE of one nexus may use; None where a gate would look at the command.

    Whoever calls them sees that the nexus ``has_room``, and counts.
    """

    read: FastPath | None = None
    write: FastPath | None = None


CLOSED: Final = Quick()
"""Gates look at every command."""

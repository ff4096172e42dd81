"""How the core changes what all nodes of a cluster share; ``scstfs.cluster`` implements it.

A node is one scstfs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias, TypeVar

from scstfs.scsi import sense
from scstfs.scsi.sense import CheckCondition
from scstfs.scsi.status import busy

S_contra = TypeVar("S_contra", contravariant=True)


class Unresolved(Exception):  # noqa: N818 - it says what is known, not what is wrong
    """It cannot be known now whether a change that was sent has been made."""


class NoAgreement(Exception):  # noqa: N818 - likewise
    """The change was not made: the other nodes cannot be asked."""


Agreed: TypeAlias = Callable[[Exception | None], None]
"""What is called when a change has been made everywhere, or with the reason why it was not."""


class Agreement(Protocol[S_contra]):
    """The way to change a state of some type that all nodes share."""

    def change(self, compute: Callable[[], S_contra], done: Agreed) -> None:
        """Make a change that all nodes see.

        ``compute`` gives the state that is wanted, from the one that is valid then; it is called
        again if another node was faster.  What it raises goes to ``done``.
        """


def outcome(error: Exception | None) -> bytes:
    """How a command ends that wanted a change: GOOD, or what this raises."""
    if error is None:
        return b""
    if isinstance(error, NoAgreement):
        raise busy() from error
    if isinstance(error, Unresolved):
        raise CheckCondition(sense.COMMAND_TIMEOUT) from error
    raise error

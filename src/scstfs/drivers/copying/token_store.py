"""ROD tokens: the data that they represent, and their lifetime (SPC-4 5.17.6, SBC-4 4.28).

A token represents blocks of a device as they were when it was made. Nothing is copied: a token
whose blocks are about to change is *revoked* (its type says so: point in time copy, change
vulnerable), and one that was not used for its inactivity timeout *expires*.  It also ends with its
device, with a change of the device's medium or size, and with the daemon.  Any session that
presents the 512 bytes may read the blocks; the bytes cannot be guessed.
"""

from __future__ import annotations

import enum
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from scstfs.core.taskset import Claim
from scstfs.drivers.copying.sweeper import Sweeper
from scstfs.scsi import tokens
from scstfs.scsi.sense import (
    TOKEN_CORRUPT,
    TOKEN_EXPIRED,
    TOKEN_REVOKED,
    TOKEN_UNKNOWN,
    CheckCondition,
    Sense,
)

if TYPE_CHECKING:
    from scstfs.core.device import Device
    from scstfs.core.runtime import Runtime
    from scstfs.scsi.provisioning import LbaRange
    from scstfs.scsi.unit import LogicalUnit

#: Most tokens that are valid at a time; the oldest is revoked for one more.
MOST_TOKENS: Final = 1024
#: Most former tokens that are remembered as once valid.
MOST_REMEMBERED: Final = 1024


class End(enum.Enum):
    """Why a token is no longer valid, with the sense for its user."""

    REVOKED = TOKEN_REVOKED
    EXPIRED = TOKEN_EXPIRED
    DELETED = TOKEN_UNKNOWN

    @property
    def sense(self) -> Sense:
        """The sense data for a command that presents the token."""
        return self.value


@dataclass(slots=True, eq=False)
class Token:
    """A valid token.  ``timeout`` is in seconds."""

    data: bytes
    device: Device
    extents: tuple[LbaRange, ...]
    timeout: float
    last_used: float
    #: Copies that read from it now.
    users: int = 0

    @property
    def expires(self) -> float:
        """When it expires unless it is used, by the runtime's clock."""
        return self.last_used + self.timeout

    @property
    def blocks(self) -> int:
        """The number of blocks that it represents."""
        return sum(extent.blocks for extent in self.extents)

    def covers(self, claim: Claim) -> bool:
        """Return whether ``claim`` covers some of its blocks."""
        return any(
            extent.lba < claim.end and claim.start < extent.lba + extent.blocks
            for extent in self.extents
        )


class TokenStore:
    """All tokens of one copy manager."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._sweeper = Sweeper(runtime, self._sweep)
        self._tokens: dict[int, Token] = {}
        self._watchers: dict[Device, Callable[[Claim], None]] = {}
        #: Why tokens ended, with their bytes; the oldest first.
        self._ended: dict[int, tuple[bytes, End]] = {}

    def __len__(self) -> int:
        return len(self._tokens)

    def create(
        self,
        device: Device,
        extents: tuple[LbaRange, ...],
        timeout: float,
        unit: LogicalUnit,
        designator: bytes,
    ) -> Token:
        """Make a token for blocks of ``device``, which ``unit`` describes."""
        if len(self._tokens) == MOST_TOKENS:
            self._finish(next(iter(self._tokens)), End.REVOKED)
        identifier = secrets.randbits(64)
        size = sum(extent.blocks for extent in extents) << device.block_shift
        random = secrets.token_bytes(tokens.RANDOM_LENGTH)
        data = tokens.make_token(identifier, size, unit, designator, random)
        token = Token(data, device, extents, timeout, self._runtime.now())
        self._tokens[identifier] = token
        self._watch(device)
        self._sweeper.expect(token.expires)
        return token

    def find(self, data: bytes) -> Token:
        """The valid token with these bytes; raises CheckCondition."""
        identifier = tokens.token_identifier(data)
        token = self._tokens.get(identifier)
        if token is not None:
            _require_same(token.data, data)
            return token
        if identifier not in self._ended:
            raise CheckCondition(TOKEN_UNKNOWN)
        known, end = self._ended[identifier]
        _require_same(known, data)
        raise CheckCondition(end.sense)

    def use(self, token: Token) -> None:
        """A copy begins to read from ``token``: it does not expire meanwhile."""
        token.users += 1

    def used(self, token: Token, *, delete: bool) -> None:
        """The copy is over; ``delete`` the token if it is not needed any more."""
        token.users -= 1
        token.last_used = self._runtime.now()
        if delete:
            self._finish(tokens.token_identifier(token.data), End.DELETED)

    def drop_device(self, device: Device) -> None:
        """``device`` is being deleted."""
        self._revoke(device, lambda token: True)

    # Ends

    def _revoke(self, device: Device, chosen: Callable[[Token], bool]) -> None:
        for identifier, token in list(self._tokens.items()):
            if token.device is device and chosen(token):
                self._finish(identifier, End.REVOKED)

    def _written(self, device: Device, claim: Claim) -> None:
        self._revoke(device, lambda token: token.covers(claim))

    def _sweep(self, now: float) -> float | None:
        for identifier, token in list(self._tokens.items()):
            if token.users:
                token.last_used = now
            if token.expires <= now:
                self._finish(identifier, End.EXPIRED)
        return min((token.expires for token in self._tokens.values()), default=None)

    def _finish(self, identifier: int, end: End) -> None:
        token = self._tokens.pop(identifier, None)
        if token is None:
            return
        self._ended[identifier] = token.data, end
        if len(self._ended) > MOST_REMEMBERED:
            del self._ended[next(iter(self._ended))]
        if not any(other.device is token.device for other in self._tokens.values()):
            self._unwatch(token.device)

    # Watching

    def _watch(self, device: Device) -> None:
        """Watch every write to ``device``; this closes the fast path, which reports no writes."""
        if device not in self._watchers:
            watcher = self._watchers[device] = partial(self._written, device)
            device.tasks.watchers.add(watcher)

    def _unwatch(self, device: Device) -> None:
        device.tasks.watchers.remove(self._watchers.pop(device))


def _require_same(known: bytes, presented: bytes) -> None:
    if not secrets.compare_digest(known, presented):
        raise CheckCondition(TOKEN_CORRUPT)

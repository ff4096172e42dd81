"""The registration with an iSNS server over one connection, kept equal to the configuration."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeAlias

from scstfs.drivers.iscsi.isns.link import IsnsLink, LinkLostError
from scstfs.iscsi import isns
from scstfs.iscsi.isns import IsnsStatus, Message, PortalEntry, ScnEvent, Tag
from scstfs.log import RateLimited

log = logging.getLogger(__name__)
_incidents: Final = RateLimited(log)

#: Targets to register, with their aliases.
Wanted: TypeAlias = Mapping[str, str | None]

#: Seconds between entity status inquiries that we request, and between our own checks of the
#: server's data, unless it wants to hear of us more often.
ESI_SECONDS: Final = 60
REFRESH_SECONDS: Final = 600.0
#: The same for a server that does not tell of changes.
POLL_SECONDS: Final = 30.0
#: We request notifications about initiators that share a discovery domain with a target.
_EVENTS: Final = (
    ScnEvent.INITIATOR_AND_SELF_ONLY
    | ScnEvent.DD_ADDED
    | ScnEvent.DD_REMOVED
    | ScnEvent.OBJECT_ADDED
    | ScnEvent.OBJECT_REMOVED
    | ScnEvent.OBJECT_UPDATED
)
#: The server does not know us (any more).
_FORGOTTEN: Final = frozenset({IsnsStatus.SOURCE_UNKNOWN, IsnsStatus.SOURCE_ABSENT})

_STATUS_NAMES: Final = {int(status): status.name.lower().replace("_", " ") for status in IsnsStatus}


class Registration:
    """The entity, its portals and targets at one server, and the initiators that it lists."""

    def __init__(
        self,
        link: IsnsLink,
        entity: str,
        portals: Iterable[PortalEntry],
        listed: Callable[[str, frozenset[str]], None] | None,
    ) -> None:
        """``listed`` is called with a target's initiators; None if access is not controlled."""
        self._link = link
        self._entity = entity
        self._portals = list(portals)
        self._listed = listed
        #: Registered targets with their aliases, and targets that the server refused.
        self._registered: dict[str, str | None] = {}
        self._refused: dict[str, str | None] = {}
        #: Seconds after which the server wants to hear of us again.
        self.refresh_seconds = REFRESH_SECONDS

    async def reconcile(self, wanted: Wanted) -> None:
        """Register what has changed, and ask for the initiators of each target.

        Raises LinkLostError if that fails; the caller then starts from the beginning.
        """
        for name in [name for name in self._registered if name not in wanted]:
            await self._remove(name)
        self._refused = {n: alias for n, alias in self._refused.items() if wanted.get(n) == alias}
        for name, alias in wanted.items():
            if self._knows(name, alias):
                continue
            await self._add(name, alias)
        for name in self._registered:
            await self._ask(name)

    def _knows(self, name: str, alias: str | None) -> bool:
        """Return whether the server has the present state of a target."""
        told = self._registered if name in self._registered else self._refused
        return name in told and told[name] == alias

    async def _add(self, name: str, alias: str | None) -> None:
        answer = await self._register(name, alias)
        if answer.status == IsnsStatus.ESI_NOT_AVAILABLE:
            self._portals = [
                portal._replace(esi_port=None, esi_interval=0) for portal in self._portals
            ]
            answer = await self._register(name, alias)
        if not _agreed(answer, f"to register {name}"):
            self._refused[name] = alias
            return
        is_new = name not in self._registered
        self._registered[name] = alias
        period = answer.find(Tag.REGISTRATION_PERIOD)
        if period is not None and period.number:
            # One request may get lost.
            self.refresh_seconds = min(self.refresh_seconds, period.number / 3)
        if is_new and not await self._ask_for_notifications(name):
            self.refresh_seconds = min(self.refresh_seconds, POLL_SECONDS)

    async def _register(self, name: str, alias: str | None) -> Message:
        source = next(iter(self._registered), name)
        # The first registration replaces all that is left there from an earlier run.
        portals = () if self._registered else self._portals
        return await self._link.request(
            lambda number: isns.registration(
                number,
                source=source,
                entity=self._entity,
                target=name,
                alias=alias,
                portals=portals,
            )
        )

    async def _ask_for_notifications(self, name: str) -> bool:
        """Whether the server will notify us of changes."""
        if not self._portals:
            return False
        answer = await self._link.request(
            lambda number: isns.scn_registration(number, source=name, events=_EVENTS)
        )
        return _agreed(answer, f"to tell of changes for {name}")

    async def _remove(self, name: str) -> None:
        is_last = len(self._registered) == 1
        what = (
            isns.text(Tag.ENTITY_IDENTIFIER, self._entity)
            if is_last
            else isns.text(Tag.ISCSI_NAME, name)
        )
        if not is_last:
            answer = await self._link.request(
                lambda number: isns.scn_deregistration(number, source=name)
            )
            _agreed(answer, f"not to tell of changes for {name}")
        answer = await self._link.request(
            lambda number: isns.deregistration(number, source=name, what=what)
        )
        _agreed(answer, f"to deregister {name}")
        del self._registered[name]

    async def remove_all(self) -> None:
        """Deregister everything; raises LinkLostError."""
        if self._registered:
            source = next(iter(self._registered))
            what = isns.text(Tag.ENTITY_IDENTIFIER, self._entity)
            await self._link.request(
                lambda number: isns.deregistration(number, source=source, what=what)
            )
            self._registered.clear()

    async def _ask(self, name: str) -> None:
        """Ask for the initiators of a target; this also shows the server that we are alive."""
        answer = await self._link.request(lambda number: isns.initiators_query(number, source=name))
        if answer.status in _FORGOTTEN:
            raise LinkLostError(f"the server has forgotten {name}")
        if answer.status == IsnsStatus.NO_SUCH_ENTRY:
            names: list[str] = []
        elif _agreed(answer, f"to list initiators of {name}"):
            names = isns.initiators(answer)
        else:
            return
        if self._listed is not None:
            self._listed(name, frozenset(initiator.lower() for initiator in names))


def _agreed(answer: Message, what: str) -> bool:
    if answer.status == IsnsStatus.SUCCESS:
        return True
    status = answer.status
    name = _STATUS_NAMES.get(status, "unknown status")
    _incidents.warning("the iSNS server refuses %s: %s (%d)", what, name, status)
    return False


def entity_name(configured: str, address: str) -> str:
    """The name of this machine (RFC 4171 6.2.1): as configured, or its host name or address."""
    return configured or socket.gethostname() or address

"""Discovery sessions: connections over which initiators look for targets (RFC 7143 4.3)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from scstfs.iscsi.discovery import NetworkPortal, answer_text
from scstfs.iscsi.errors import ProtocolError
from scstfs.iscsi.negotiate import Negotiation, SessionParameters
from scstfs.iscsi.task import IscsiTask, ManagementFunction
from scstfs.iscsi.transfer import TaskFault
from scstfs.iscsi.watchdog import Limits
from scstfs.log import initiator_fields

if TYPE_CHECKING:
    from scstfs.drivers.iscsi.config import IscsiTarget
    from scstfs.drivers.iscsi.portal_access import PortalAccess
    from scstfs.drivers.iscsi.wire import Wire
    from scstfs.iscsi.admission import LoginResult
    from scstfs.iscsi.connection import Connection


#: Initiator name, ISID, and the target's name in lower case or the portal.
DiscoveryKey: TypeAlias = tuple[str, bytes, str | NetworkPortal]

#: Seconds that an initiator may be silent; it can connect again.
_SILENCE: Final = 60
_LIMITS: Final = Limits(nop_in_interval=0, nop_in_timeout=0, rsp_timeout=30, silence=_SILENCE)


class DiscoverySession:
    """The host (``scstfs.iscsi.host.Host``) of a discovery session: text and nothing else."""

    #: Commands that may be under way; there are none.
    queue_depth: Final = 32
    limits: Final = _LIMITS

    def __init__(
        self,
        access: PortalAccess,
        wire: Wire,
        login: LoginResult[IscsiTarget],
        ended: Callable[[DiscoverySession], None],
    ) -> None:
        """``ended`` is called at the end of the session."""
        self._wire = wire
        self._ended = ended
        self.exp_cmd_sn = login.exp_cmd_sn
        #: A session reinstates another one of the same key: one that names a target is a session
        #: with that target (RFC 7143 7.4.2.2), one that does not is a session with a portal.
        with_whom = login.named.lower() if login.named else wire.local
        self.key: DiscoveryKey = (login.initiator.lower(), login.isid, with_whom)
        self.parameters: SessionParameters = login.parameters
        self.connection: Connection | None = None
        self.discover = partial(access.discover, wire, login.initiator)

    def __str__(self) -> str:
        """Its name in the log."""
        return f"discovery session of {self.key[0]}"

    @property
    def host(self) -> DiscoverySession:
        """Its name and fields in the log."""
        return self

    @property
    def log_fields(self) -> dict[str, str]:
        """See ``scstfs.log.Subject``."""
        return initiator_fields(self.key[0])

    def start(self, connection: Connection) -> None:
        """Full-feature phase begins."""
        self.connection = connection

    def connection_ended(self, _wire: Wire) -> None:
        """The connection is gone."""
        self._ended(self)

    def disconnect(self, why: str) -> None:
        """Close the connection; there are no Asynchronous Messages here (RFC 7143 7.4.3)."""
        self._wire.close(why)

    def negotiate(self) -> _DiscoveryText:
        """Begin an exchange of text, mainly SendTargets."""
        return _DiscoveryText(self)

    def agree(self, parameters: SessionParameters) -> None:
        """Parameters were negotiated in full-feature phase."""
        self.parameters = parameters
        if self.connection is not None:
            self.connection.agree(parameters)

    def logout(self, done: Callable[[], None]) -> None:
        """Nothing is under way."""
        done()

    # The connection takes no commands in a discovery session.

    def fast(self, connection: Connection) -> None:
        """Discovery sessions have no fast path."""

    def command(self, task: IscsiTask) -> int:
        """Not called: discovery sessions have no commands."""
        raise ProtocolError("a command in a discovery session")

    def data_complete(self, task: IscsiTask) -> None:
        """Not called: discovery sessions have no commands."""

    def refuse(self, task: IscsiTask, fault: TaskFault) -> None:
        """Not called: discovery sessions have no commands."""

    def allocate(self, size: int) -> tuple[memoryview, Callable[[], None]]:
        """Not called: discovery sessions have no commands."""
        raise ProtocolError("write data in a discovery session")

    def task_management(self, function: ManagementFunction) -> None:
        """Not called: discovery sessions have no commands."""


class _DiscoveryText:
    """See ``scstfs.iscsi.host.TextNegotiation``."""

    def __init__(self, session: DiscoverySession) -> None:
        self._session = session
        self._negotiation = Negotiation({}, discovery=True, agreed=session.parameters)

    def answer(self, text: bytes) -> bytes:
        """See TextNegotiation."""
        return answer_text(text, self._negotiation, None, self._session.discover)

    def conclude(self) -> None:
        """See TextNegotiation."""
        self._session.agree(self._negotiation.result())

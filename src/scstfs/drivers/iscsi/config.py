"""The configuration of the iSCSI driver and its targets: no sockets, no sessions.

The server reads these objects when an initiator logs in, and is told through `Live` of changes that
concern present sessions.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from scstfs.core.session import Session, Transport
from scstfs.core.target import Acg, Target
from scstfs.core.trace import TraceLog
from scstfs.drivers.iscsi.accounts import Accounts
from scstfs.iscsi import keys
from scstfs.iscsi.chap import Credentials, User
from scstfs.observable import ObservableDict
from scstfs.scsi.lun import AddressMethod
from scstfs.scsi.transport_id import Protocol as ProtocolIdentifier
from scstfs.scsi.unit import ISCSI_TRANSPORT
from scstfs.sysfs.text import decode, encode

if TYPE_CHECKING:
    from scstfs.core.scst import Scst
    from scstfs.iscsi.admission import Redirect
    from scstfs.iscsi.negotiate import SessionParameters

#: Most bytes of a target's name; SCST cuts the rest.
LONGEST_NAME: Final = 255

#: Trace categories of the driver, besides the common ones.
_TRACES: Final[Mapping[str, int]] = MappingProxyType(
    {
        "d_write": 0x80000000,
        "conn": 0x40000000,
        "conn_dbg": 0x4000000,
        "iov": 0x20000000,
        "pdu": 0x10000000,
        "net_page": 0x8000000,
    }
)


class Live(Protocol):
    """What serves initiators. It is told of changes after they were made."""

    def parameter_changed(self, target: IscsiTarget, name: str) -> None:
        """A target attribute was written; QueuedCommands and timeouts take effect at once."""

    def enabled_changed(self, driver: IscsiDriver) -> None:
        """The driver as a whole was enabled or disabled."""

    def target_enabled_changed(self, target: IscsiTarget) -> None:
        """A target was enabled or disabled."""

    def alias_changed(self, target: IscsiTarget) -> None:
        """A target has another alias."""

    def target_removed(self, target: IscsiTarget) -> None:
        """A target, which has no session, was deleted."""

    def trace_changed(self, driver: IscsiDriver) -> None:
        """Other trace categories are enabled now."""

    async def isns_changed(
        self, driver: IscsiDriver, host: str | None, access_control: bool
    ) -> None:
        """Register with the iSNS server ``host``, None for nowhere, instead of the present one.

        Raises SysfsError with the errno of the failure; no server is used then.
        """


class NotLive:
    """A `Live` without a server."""

    def parameter_changed(self, target: IscsiTarget, name: str) -> None:
        """See Live."""

    def enabled_changed(self, driver: IscsiDriver) -> None:
        """See Live."""

    def target_enabled_changed(self, target: IscsiTarget) -> None:
        """See Live."""

    def alias_changed(self, target: IscsiTarget) -> None:
        """See Live."""

    def target_removed(self, target: IscsiTarget) -> None:
        """See Live."""

    def trace_changed(self, driver: IscsiDriver) -> None:
        """See Live."""

    async def isns_changed(
        self, driver: IscsiDriver, host: str | None, access_control: bool
    ) -> None:
        """See Live."""


class IscsiDriver:
    """The driver: settings for all targets, and for discovery sessions."""

    name: Final = "iscsi"
    addr_method: Final = AddressMethod.PERIPHERAL
    protocol: Final = int(ProtocolIdentifier.ISCSI)
    scsi_transport_version: Final = ISCSI_TRANSPORT

    def __init__(self, scst: Scst, live: Live | None = None) -> None:
        """Register with ``scst``; ``live`` can also be set later."""
        self.scst: Final = scst
        self.env: Final = scst.env
        self.live: Live = NotLive() if live is None else live
        self.targets: ObservableDict[str, IscsiTarget] = ObservableDict()
        self._by_folded_name: dict[bytes, IscsiTarget] = {}
        self._last_tid = 0
        self.trace = TraceLog("iscsi", "".join(f", {token}" for token in _TRACES), _TRACES)
        #: ``closed``, ``open`` or ``closing``: the state of the daemon.
        self.open_state = "open"
        self.enabled = False
        #: Users of discovery sessions.
        self.accounts = Accounts()
        #: SendTargets includes link-local IPv6 addresses.
        self.link_local = True
        #: Numeric addresses, separated by blanks, at which initiators need not authenticate.
        self.internal_portal = ""
        self.isns_server: str | None = None
        self.isns_access_control = False
        self.isns_entity_name = ""
        scst.drivers[self.name] = self

    @property
    def credentials(self) -> Credentials:
        """The users for discovery sessions."""
        return credentials_of(self.accounts)

    @property
    def internal_portals(self) -> tuple[str, ...]:
        """The addresses in ``internal_portal``."""
        return tuple(self.internal_portal.split())

    def find_target(self, name: str) -> IscsiTarget | None:
        """The target of this name; the case of ASCII letters is ignored."""
        return self._by_folded_name.get(_fold(name))

    def new_target(self, name: str) -> IscsiTarget:
        """A new target, not yet registered."""
        return IscsiTarget(self, decode(encode(name)[:LONGEST_NAME]))

    def take_tid(self) -> int:
        """The number of the next target; never used again."""
        self._last_tid += 1
        return self._last_tid

    def add(self, target: IscsiTarget) -> None:
        """Register ``target``; its name must be free."""
        self.targets[target.name] = self._by_folded_name[_fold(target.name)] = target

    def remove(self, target: IscsiTarget) -> None:
        """Forget ``target``, which has no session."""
        del self.targets[target.name], self._by_folded_name[_fold(target.name)]
        self.live.target_removed(target)


class IscsiTarget(Target):
    """A target; it is also the login's view of one (``scstfs.iscsi.admission.LoginTarget``)."""

    def __init__(self, driver: IscsiDriver, name: str) -> None:
        super().__init__(driver, name, driver.env.cpus)
        self.iscsi_driver = driver
        self.tid = 0
        #: ``enabled`` of the target itself.
        self.switched_on = False
        self.alias: str | None = None
        self.redirect: Redirect | None = None
        #: Groups are chosen by ``INITIATOR#PORTAL``.
        self.per_portal_acl = False
        self.accounts = Accounts()
        #: Values of the attributes in ``scstfs.iscsi.keys``, by name.
        self.parameters: dict[str, int] = keys.defaults()

    def access_name(self, initiator: str, address: str) -> str:
        """The name that access control uses for an initiator that connected to ``address``."""
        return f"{initiator}#{address}" if self.per_portal_acl else initiator

    @property
    def is_active(self) -> bool:
        """The target itself is enabled, even if the driver is not."""
        return self.switched_on

    @property
    def enabled(self) -> bool:
        """The target and its driver accept logins."""
        return self.switched_on and self.iscsi_driver.enabled

    @property
    def credentials(self) -> Credentials:
        """The users that may log in, and the user that the target authenticates as."""
        return credentials_of(self.accounts)

    def cpu_mask_changed(self, acg: Acg) -> None:
        """See Target; initiators must log in again, because SCST does not move threads of
        connections.
        """
        for session in list(acg.sessions):
            session.transport.close()

    @property
    def allowed_portals(self) -> list[str]:
        """Patterns of the addresses at which the target is available."""
        return [entry.key for entry in self.accounts.portals]


def credentials_of(accounts: Accounts) -> Credentials:
    """The users of a list, for authentication."""
    incoming = {entry.key: encode(entry.value) for entry in accounts.incoming}
    outgoing = next((User(e.key, encode(e.value)) for e in accounts.outgoing), None)
    return Credentials(incoming, outgoing)


def _fold(name: str) -> bytes:
    return encode(name).lower()


# Sessions, as the tree shows them


class ConnectionView(Protocol):
    """A connection of a session (``sessions/S/ADDRESS``)."""

    @property
    def cid(self) -> int:
        """Its identifier."""

    @property
    def ip(self) -> str:
        """The initiator's address, IPv6 in brackets."""

    @property
    def target_ip(self) -> str:
        """The portal's address, IPv6 in brackets."""

    @property
    def state(self) -> str:
        """Its state, in SCST's words: ``established idle ``."""

    @property
    def transport(self) -> str:
        """``iSCSI-TCP``."""


@runtime_checkable
class SessionView(Transport, Protocol):
    """An iSCSI session; it is the transport of its core session."""

    @property
    def sid(self) -> int:
        """ISID and TSIH as one number."""

    @property
    def parameters(self) -> SessionParameters:
        """The negotiated parameters."""

    @property
    def thread_ids(self) -> str:
        """Identifiers of the threads that serve its connections, separated by blanks."""

    @property
    def connections(self) -> Mapping[str, ConnectionView]:
        """Its connections by the names of their directories."""


def view(session: Session) -> SessionView | None:
    """The iSCSI side of a core session."""
    transport = session.transport
    return transport if isinstance(transport, SessionView) else None

"""scst_local: targets for programs in this process.

The kernel's driver makes a SCSI host for each session, so that the machine itself can use the
devices. Here there is no such host; commands come from ``scstfs.local``.
"""

from __future__ import annotations

import errno
import itertools
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from scstfs.core import session_lifecycle, target_registration
from scstfs.core.session import Session
from scstfs.core.target import Target
from scstfs.core.trace import TraceLog
from scstfs.observable import ObservableDict
from scstfs.scsi.lun import AddressMethod
from scstfs.scsi.transport_id import Protocol, TransportId
from scstfs.scsi.unit import SAS_TRANSPORT
from scstfs.sysfs.errors import SysfsError, invalid

if TYPE_CHECKING:
    from scstfs.core.scst import Scst

#: Most asynchronous events that a session keeps until they are fetched.
MOST_EVENTS: Final = 256

_SCSI_HOSTS: Final = Path("/sys/class/scsi_host")

#: If the machine has no SCSI hosts; a machine with disks usually has two.
_FIRST_HOST: Final = 2


class Event(NamedTuple):
    """An asynchronous event (SAM-5 6.4): eight bytes of LUN, and sense data."""

    lun: bytes
    sense: bytes


class LocalTransport:
    """The local end of a session."""

    def __init__(self, driver: LocalDriver, number: int, host: int) -> None:
        """``number`` counts all sessions ever made; ``host`` is the number of its would-be SCSI
        host.
        """
        self._driver = driver
        self.number = number
        self.host = host
        self.events: deque[Event] = deque(maxlen=MOST_EVENTS)
        #: Set right after the session is made.
        self.session: Session
        #: As written; None for one derived from the number.
        self.written_id: bytes | None = None

    @property
    def identifier(self) -> bytes:
        """TransportID of the initiator port (SPC-4 7.6.4)."""
        return TransportId.sas(self.number).data if self.written_id is None else self.written_id

    def report_aen(self, lun: bytes, sense_data: bytes) -> bool:
        """See Transport."""
        self.events.append(Event(lun, sense_data))
        return True

    def close(self) -> None:
        """See Transport."""
        close_session(self.session)

    def release(self) -> None:
        """The session is gone."""
        self._driver.ended(self)


class LocalTarget(Target):
    """A target; it cannot be disabled."""

    def __init__(self, driver: LocalDriver, name: str) -> None:
        super().__init__(driver, name, driver.env.cpus)
        self.local_driver = driver
        #: Version descriptors as they were set, 0 for the default.
        self.own_scsi_transport_version = 0

    def set_scsi_transport_version(self, version: int) -> None:
        """Change the version descriptor of the transport; 0 is that of SAS."""
        self.own_scsi_transport_version = version
        self.scsi_transport_version = version or SAS_TRANSPORT

    def find_session(self, name: str) -> Session | None:
        """The oldest session of the initiator ``name`` that is not being closed."""
        found = (s for s in self.sessions.values() if s.initiator_name == name and s.is_open)
        return next(found, None)

    def open_session(self, name: str) -> Session:
        """A new session; another one of this name makes it ``NAME_1``."""
        driver = self.local_driver
        transport = driver.new_transport()
        session = session_lifecycle.open_session(
            self, name, transport, TransportId(transport.identifier)
        )
        transport.session = session
        driver.trace.event("mgmt", "%s is open", session)
        return session


class LocalStatistics:
    """What ``stats`` counts."""

    def __init__(self) -> None:
        self.aborts = 0
        self.device_resets = 0
        self.target_resets = 0


class LocalDriver:
    """The driver."""

    name: Final = "scst_local"
    addr_method: Final = AddressMethod.PERIPHERAL
    protocol: Final = int(Protocol.SAS)
    scsi_transport_version: Final = SAS_TRANSPORT

    def __init__(self, scst: Scst, first_host: int | None = None) -> None:
        """Register with ``scst``.

        ``first_host`` is the number of the first SCSI host; None: behind the machine's.
        """
        self.scst: Final = scst
        self.env: Final = scst.env
        self.targets: ObservableDict[str, LocalTarget] = ObservableDict()
        self.trace = TraceLog("scst_local", "")
        self.statistics = LocalStatistics()
        self._sessions = 0
        self._first_host = _first_free_host() if first_host is None else first_host
        self._transports: set[LocalTransport] = set()
        scst.drivers[self.name] = self

    def new_transport(self) -> LocalTransport:
        """The local end of the next session."""
        self._sessions += 1
        transport = LocalTransport(self, self._sessions, self._free_host())
        self._transports.add(transport)
        return transport

    def _free_host(self) -> int:
        """The lowest free host number (ida_alloc() in the kernel)."""
        taken = {transport.host for transport in self._transports}
        return next(host for host in itertools.count(self._first_host) if host not in taken)

    def ended(self, transport: LocalTransport) -> None:
        """A session is gone; its host number is free."""
        self._transports.discard(transport)

    def add_target(self, name: str) -> LocalTarget:
        """Make a target; its name must be free."""
        target = self.targets[name] = LocalTarget(self, name)
        return target

    def remove_target(self, name: str) -> None:
        """Delete a target and close its sessions; ENOENT for an unknown one."""
        target = self.targets.get(name)
        if target is None:
            raise SysfsError(errno.ENOENT, f"Target {name} not found")
        for session in list(target.sessions.values()):
            close_session(session)
        target_registration.unregister(self.scst, target)
        del self.targets[name]

    def execute(self, verb: str, target_name: str, session_name: str) -> None:
        """The verbs of ``mgmt`` about sessions; EINVAL for an unknown target or session.

        Unknown verbs with a known target are ignored, as in SCST.
        """
        target = self.targets.get(target_name)
        if target is None:
            raise invalid(f"Target {target_name} not found")
        if not session_name:
            raise invalid("Session name required")
        action = _VERBS.get(verb)
        if action is not None:
            action(target, session_name)


def _delete_session(target: LocalTarget, name: str) -> None:
    session = target.find_session(name)
    if session is None:
        raise invalid(f"Session {name} not found (target {target.name})")
    close_session(session)


def _add_session(target: LocalTarget, name: str) -> None:
    target.open_session(name)


_VERBS: Final[Mapping[str, Callable[[LocalTarget, str], None]]] = MappingProxyType(
    {"add_session": _add_session, "del_session": _delete_session}
)


def close_session(session: Session) -> None:
    """End a session: none of its commands starts any more; running ones get no answer."""
    target, transport = session.target, session.transport
    if session.is_open and isinstance(target, LocalTarget):
        log = target.local_driver.trace
        log.event("mgmt", "%s is being closed", session)
    assert isinstance(transport, LocalTransport)
    session_lifecycle.close_session(session, transport.release)


def _first_free_host() -> int:
    """The number behind the last SCSI host of this machine."""
    try:
        names = [entry.name.removeprefix("host") for entry in _SCSI_HOSTS.iterdir()]
    except OSError:
        names = []
    return max((int(name) + 1 for name in names if name.isdigit()), default=_FIRST_HOST)

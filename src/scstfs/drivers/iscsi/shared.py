"""State shared by all connections of the driver."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from scstfs.drivers.iscsi.connection_watch import ConnectionWatch
from scstfs.drivers.iscsi.session_table import SessionTable
from scstfs.iscsi.chunks import Chunks
from scstfs.log import RateLimited

if TYPE_CHECKING:
    from scstfs.core.scst import Scst
    from scstfs.drivers.iscsi.config import IscsiDriver
    from scstfs.drivers.iscsi.portal_access import PortalAccess
    from scstfs.drivers.iscsi.wire import Wire

log = logging.getLogger(__name__)
#: For incidents that may repeat.
_incidents: Final = RateLimited(log)

#: Most logins at a time; the oldest is dropped for one more.
MAX_LOGINS: Final = 1024


class Shared:
    """The driver, access control, the sessions, and memory."""

    def __init__(self, scst: Scst, driver: IscsiDriver, access: PortalAccess) -> None:
        self.scst = scst
        self.driver = driver
        self.access = access
        self.sessions = SessionTable()
        self.watch = ConnectionWatch(driver.trace)
        #: Memory in which connections receive and send.
        self.chunks = Chunks()
        #: Logins are answered with Service Unavailable (SIGUSR1).
        self.is_suspended = False
        #: Connections that have not logged in yet, oldest first.
        self.lobby: dict[Wire, None] = {}

    @contextmanager
    def in_lobby(self, wire: Wire) -> Iterator[None]:
        """Register a login; if there are too many, drop the oldest."""
        self.lobby[wire] = None
        if len(self.lobby) > MAX_LOGINS:
            oldest = next(iter(self.lobby))
            del self.lobby[oldest]
            _incidents.warning("%s: login dropped: too many at a time", oldest.peer)
            oldest.close("too many logins at a time")
        try:
            yield
        finally:
            self.lobby.pop(wire, None)

"""The target side of a login (``scstfs.iscsi.admission.LoginHost``), for one connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scstfs.drivers.iscsi.nexus import Nexus
from scstfs.iscsi.acl import same_address
from scstfs.iscsi.admission import ExistingSession, LoginResult, Redirect
from scstfs.iscsi.chap import Credentials
from scstfs.iscsi.codes import LoginStatus
from scstfs.iscsi.errors import LoginRefused

if TYPE_CHECKING:
    from scstfs.drivers.iscsi.config import IscsiTarget
    from scstfs.drivers.iscsi.shared import Shared
    from scstfs.drivers.iscsi.wire import Wire


class DriverLoginHost:
    """The target side of one login."""

    def __init__(self, shared: Shared, wire: Wire) -> None:
        self._shared = shared
        self._wire = wire
        #: The session, once the login has succeeded.
        self.nexus: Nexus | None = None

    @property
    def is_suspended(self) -> bool:
        """See LoginHost."""
        return self._shared.is_suspended

    @property
    def discovery_credentials(self) -> Credentials:
        """See LoginHost."""
        return self._shared.driver.credentials

    @property
    def is_internal(self) -> bool:
        """See LoginHost."""
        here = self._wire.local.address
        return any(same_address(here, portal) for portal in self._shared.driver.internal_portals)

    def find_target(self, name: str) -> IscsiTarget | None:
        """See LoginHost."""
        return self._shared.driver.find_target(name)

    def refusal(self, target: IscsiTarget, initiator: str) -> str | None:
        """See LoginHost."""
        return self._shared.access.refusal(target, initiator, self._wire)

    def redirect(self, target: IscsiTarget) -> Redirect | None:
        """See LoginHost; an initiator that connected to the right address is not redirected."""
        redirect = target.redirect
        if redirect is None or same_address(redirect.address.strip("[]"), self._wire.local.address):
            return None
        return redirect

    def find_session(
        self, target: IscsiTarget, initiator: str, isid: bytes
    ) -> ExistingSession | None:
        """See LoginHost."""
        nexus = self._shared.sessions.find(target, initiator, isid)
        if nexus is None:
            return None
        return ExistingSession(nexus.tsih, nexus.cid, nexus.exp_cmd_sn, nexus.parameters)

    def has_room(self, target: IscsiTarget) -> bool:
        """See LoginHost."""
        limit = target.parameters["MaxSessions"]
        return not limit or len(self._shared.sessions.of(target)) < limit

    def open_session(self, login: LoginResult[IscsiTarget]) -> int:
        """See LoginHost."""
        sessions, target = self._shared.sessions, login.target
        if target is None:
            return sessions.take_tsih()
        if not target.enabled:
            raise LoginRefused(LoginStatus.TARGET_REMOVED, "the target was disabled meanwhile")
        existing = sessions.find(target, login.initiator, login.isid)
        if login.tsih:
            if existing is None or existing.tsih != login.tsih or not existing.is_open:
                raise LoginRefused(LoginStatus.SESSION_DOES_NOT_EXIST, "the session has ended")
            if login.user != existing.user:
                # All connections of a session authenticate as the same user (RFC 7143 9.2).
                raise LoginRefused(
                    LoginStatus.AUTHENTICATION_FAILURE, "the session belongs to another user"
                )
            existing.reconnect(login, self._wire)
            self.nexus = existing
            return existing.tsih
        if existing is None and not self.has_room(target):
            raise LoginRefused(LoginStatus.OUT_OF_RESOURCES, "MaxSessions is reached")
        self.nexus = nexus = Nexus(
            self._shared.access, login, sessions.take_tsih(), self._wire, sessions.forget
        )
        if existing is not None:
            existing.replace_with(nexus)
        sessions.add(nexus)
        return nexus.tsih

"""The interface between the login machine and the target side, and its records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from scstfs.iscsi.chap import Credentials
from scstfs.iscsi.negotiate import SessionParameters


class LoginTarget(Protocol):
    """A target as a login sees it."""

    @property
    def name(self) -> str:
        """The iSCSI name."""

    @property
    def alias(self) -> str | None:
        """TargetAlias, if there is one."""

    @property
    def enabled(self) -> bool:
        """The target and its driver accept logins."""

    @property
    def parameters(self) -> Mapping[str, int]:
        """Values of the attributes that are keys, by name (see `keys.ATTRIBUTES`)."""

    @property
    def credentials(self) -> Credentials:
        """The target's users."""


LoginTargetT = TypeVar("LoginTargetT", bound=LoginTarget)


@dataclass(frozen=True, slots=True)
class Redirect:
    """Where a target sends initiators instead."""

    address: str
    """Host name or numeric address, IPv6 in brackets."""
    port: int
    permanent: bool

    @property
    def text(self) -> str:
        """The value of TargetAddress (RFC 7143 13.8)."""
        return f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class ExistingSession:
    """A live session of the same initiator port (InitiatorName and ISID) with the same target."""

    tsih: int
    cid: int
    """CID of its one connection."""
    exp_cmd_sn: int
    parameters: SessionParameters


@dataclass(frozen=True, slots=True)
class LoginResult(Generic[LoginTargetT]):
    """A login that succeeded, at the start of full feature phase."""

    target: LoginTargetT | None
    """None in a discovery session."""
    initiator: str
    user: str | None
    """The CHAP user that authenticated."""
    isid: bytes
    """Six bytes."""
    tsih: int
    cid: int
    replaces: ExistingSession | None
    """The session that this login reinstates (RFC 7143 6.3.5), or, if its `tsih` is ours, whose
    connection it reinstates (6.3.4).
    """
    parameters: SessionParameters
    stat_sn: int
    """StatSN of the next response on this connection."""
    exp_cmd_sn: int
    """CmdSN of the next command that is not immediate."""
    max_cmd_sn: int
    """The last CmdSN that the initiator was told it may send."""
    named: str | None = None
    """TargetName as the initiator sent it; a discovery session may be without."""


class LoginHost(Protocol[LoginTargetT]):
    """The target side of one connection; it knows the connection's addresses.

    Every method is synchronous: a login sees one consistent state of the configuration per PDU.
    """

    @property
    def is_suspended(self) -> bool:
        """Logins are suspended."""

    @property
    def discovery_credentials(self) -> Credentials:
        """Users of discovery sessions."""

    @property
    def is_internal(self) -> bool:
        """The connection arrived at an `internal_portal` address."""

    def find_target(self, name: str) -> LoginTargetT | None:
        """Look a target up by its name, ASCII case-insensitively."""

    def refusal(self, target: LoginTargetT, initiator: str) -> str | None:
        """Tell why the initiator may not use the target at this portal, or None if it may.

        Checks /etc/initiators.deny and .allow, `allowed_portal`, the LUN set and iSNS.
        """

    def redirect(self, target: LoginTargetT) -> Redirect | None:
        """Tell where to send the initiator, if not here."""

    def find_session(
        self, target: LoginTargetT, initiator: str, isid: bytes
    ) -> ExistingSession | None:
        """Find the live session of an initiator port."""

    def has_room(self, target: LoginTargetT) -> bool:
        """Tell whether MaxSessions allows another session."""

    def open_session(self, login: LoginResult[LoginTargetT]) -> int:
        """Accept a login, whose `tsih` is 0 for a new session; return the session's TSIH.

        Called once, just before the last Login Response; from here on the session exists. The
        configuration may have changed since the start of the login: look up `replaces` again.

        Raises:
            LoginRefused: it cannot be accepted after all.
        """

"""Opening and closing sessions: one way for all drivers.

session = open_session(target, "iqn.x", transport, transport_id)
...
close_session(session, gone)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from scstfs.core import access, task_management
from scstfs.core.session import Session, SessionState, Transport

if TYPE_CHECKING:
    from scstfs.core.target import Target
    from scstfs.scsi.transport_id import TransportId


def open_session(
    target: Target,
    initiator_name: str,
    transport: Transport,
    transport_id: TransportId | None,
    *,
    is_ready: bool = True,
) -> Session:
    """Begin a session of an initiator with ``target``: it has the LUNs that its name selects.

    ``transport_id`` is its port's, None where the transport has none.  A session that is not ready
    is told of no changes; its driver sets ``Session.state`` when it is.
    """
    session = Session(
        target,
        target.find_acg(initiator_name),
        initiator_name=initiator_name,
        name=target.free_session_name(initiator_name),
        transport=transport,
        transport_id=transport_id,
    )
    access.enter(session)
    _note(session, "login", "logged in to")
    if is_ready:
        session.state = SessionState.READY
    return session


def close_session(session: Session, gone: Callable[[], None] = lambda: None) -> None:
    """End a session with all that it has under way; does nothing more for one that is ending.

    Its commands are aborted; ``gone`` is called when they have ended and nothing is left of it.
    """
    if not session.is_open:
        return
    session.state = SessionState.CLOSING

    def ended() -> None:
        access.leave(session)
        _note(session, "logout", "has left")
        gone()

    task_management.nexus_loss(session, ended)


def _note(session: Session, kind: str, what: str) -> None:
    target, initiator = session.target, session.initiator_name
    target.env.statistics.note(
        kind,
        f"{initiator} {what} {target.name}",
        target=target.name,
        initiator=initiator,
        driver=target.driver.name,
    )

"""``targets/iscsi/TARGET/sessions/``: what was negotiated, and the connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from scstfs.core.session import Session
from scstfs.drivers.iscsi.config import ConnectionView, SessionView, view
from scstfs.iscsi.keys import SESSION_ATTRIBUTES, Key
from scstfs.sysfs.attr import Attr, raw
from scstfs.sysfs.directory import DirType, Each
from scstfs.sysfs.errors import removed
from scstfs.sysfs.values import flag
from scstfs.tree.sessions import FORCE_CLOSE, session_type


def _of_view(show: Callable[[SessionView], str]) -> Callable[[Session], str]:
    def show_session(session: Session) -> str:
        seen = view(session)
        if seen is None:
            raise removed()
        return show(seen)

    return show_session


def _negotiated(key: Key) -> Attr[Session, None]:
    def show(session: SessionView) -> str:
        value: int = getattr(session.parameters, key.field)
        # The kernel module separates the digests of a session by ", ".
        return key.show(value).replace(",", ", ")

    return Attr(
        name=key.name,
        mode=0o444,
        show=_of_view(show),
        since="2.0",
        reads="what was negotiated",
    )


_CONNECTION: Final[DirType[ConnectionView]] = DirType(
    "connection",
    (
        Attr(
            name="cid",
            mode=0o444,
            show=lambda connection: str(connection.cid),
            render=raw,
            since="2.0",
            reads="the connection identifier (no newline)",
        ),
        Attr(
            name="ip",
            mode=0o444,
            show=lambda connection: connection.ip,
            render=raw,
            since="2.0",
            reads="the initiator's address (no newline)",
        ),
        Attr(
            name="target_ip",
            mode=0o444,
            show=lambda connection: connection.target_ip,
            render=raw,
            since="3.3",
            reads="the portal's address (no newline)",
        ),
        Attr(
            name="state",
            mode=0o444,
            show=lambda connection: connection.state,
            render=raw,
            since="2.0",
            reads="the state of the connection (no newline)",
        ),
        Attr(
            name="transport",
            mode=0o444,
            show=lambda connection: connection.transport,
            since="3.10",
            reads="iSCSI-TCP",
        ),
    ),
)


def _connections(session: Session) -> list[str]:
    seen = view(session)
    return [] if seen is None else list(seen.connections)


def _addresses(session: Session) -> list[tuple[str, str]]:
    seen = view(session)
    return [] if seen is None else [(c.ip, c.target_ip) for c in seen.connections.values()]


def _connection(session: Session, name: str) -> ConnectionView | None:
    seen = view(session)
    return None if seen is None else seen.connections.get(name)


SESSION: Final = session_type(
    "iSCSI session",
    (
        FORCE_CLOSE,
        *(_negotiated(key) for key in SESSION_ATTRIBUTES),
        Attr(
            name="sid",
            mode=0o444,
            show=_of_view(lambda session: f"{session.sid:x}"),
            since="2.0",
            reads="ISID and TSIH as a hexadecimal number",
        ),
        Attr(
            name="reinstating",
            mode=0o444,
            show=lambda session: flag(session.reinstating),
            since="2.0",
            reads="1 while the session waits for the end of the one that it reinstates",
        ),
        Attr(
            name="thread_pid",
            mode=0o444,
            show=_of_view(lambda session: session.thread_ids),
            since="3.1",
            reads="threads that serve the session's connections",
        ),
        Each(
            children=_connections,
            volatile=True,
            get=_connection,
            dirtype=_CONNECTION,
            label="ADDRESS",
            about="a connection, named after the initiator's address",
        ),
    ),
    _addresses,
)

"""The life of one connection: login, then full-feature phase until it ends (RFC 7143 7)."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final, TypeAlias

import trio

from scstfs.core.statistics import LOGINS_REFUSED
from scstfs.drivers.iscsi import pdu_trace
from scstfs.drivers.iscsi.discovery_session import DiscoverySession
from scstfs.drivers.iscsi.login_host import DriverLoginHost
from scstfs.drivers.iscsi.nexus import Nexus
from scstfs.drivers.iscsi.wire import CLOSED_BY_PEER, Wire, lost
from scstfs.iscsi import pdu
from scstfs.iscsi.admission import LoginResult
from scstfs.iscsi.codes import LoginStatus
from scstfs.iscsi.connection import Connection
from scstfs.iscsi.errors import ProtocolError
from scstfs.iscsi.login import Login, LoginStep
from scstfs.iscsi.receive import Receiver
from scstfs.iscsi.text_format import MAX_SEGMENT, shown
from scstfs.iscsi.traced import RECEIVED, SENT
from scstfs.log import RateLimited, Subject, initiator_fields

if TYPE_CHECKING:
    from scstfs.drivers.iscsi.config import IscsiTarget
    from scstfs.drivers.iscsi.shared import Shared

log = logging.getLogger(__name__)
#: For incidents that any peer can cause as often as it likes.
_incidents: Final = RateLimited(log)

#: Redirected logins: they are configured, not incidents.
_REDIRECTIONS: Final = frozenset(
    {LoginStatus.TARGET_MOVED_TEMPORARILY, LoginStatus.TARGET_MOVED_PERMANENTLY}
)

_STATUS_NAMES: Final = {status.value: status.name.lower() for status in LoginStatus}

_Result: TypeAlias = "LoginResult[IscsiTarget]"


async def serve(shared: Shared, wire: Wire) -> None:
    """Serve one connection until it ends; raises nothing but Cancelled from outside."""
    admission = DriverLoginHost(shared, wire)
    try:
        with wire.scope:
            result, rest = None, b""
            with _guarded(wire):
                result, rest = await _log_in(shared, wire, admission)
            # Another login may have reinstated the session while the answer was being sent.
            if result is not None and not wire.scope.cancel_called:
                await _full_feature(shared, wire, admission.nexus, result, rest)
        if wire.lingers:
            await wire.linger()
    finally:
        if admission.nexus is not None:
            # Even if the connection never reached full-feature phase.
            with _guarded(wire):
                admission.nexus.connection_ended(wire)


@contextmanager
def _guarded(wire: Wire, whose: object = "login") -> Iterator[None]:
    """An error in a connection ends only that connection."""
    try:
        yield
    except ProtocolError as fault:
        wire.reason = wire.reason or fault.why
        _incidents.warning("%s: %s: connection dropped: %s", wire.peer, whose, fault.why)
    except OSError as error:
        wire.reason = wire.reason or lost(error)
    except Exception:
        wire.fail()


async def _log_in(
    shared: Shared, wire: Wire, admission: DriverLoginHost
) -> tuple[_Result | None, bytes]:
    """The login phase; returns its result and the bytes that arrived behind it."""
    rx, trace = Receiver(MAX_SEGMENT, shared.chunks), shared.driver.trace
    login = Login(admission, random=secrets.token_bytes, now=trio.current_time())
    with shared.in_lobby(wire), ExitStack() as stack:
        stack.callback(rx.release)
        step = None
        with trio.move_on_at(login.deadline):
            while step is None or not step.close:
                at = rx.next()
                if at < 0:
                    if await wire.receive(rx) == 0:
                        return None, b""
                    continue
                header = bytes(rx.header[at : at + pdu.BHS_LENGTH])
                pdu_trace.tell(trace, wire.peer, RECEIVED, header)
                step = login.receive(header, rx.data, trio.current_time())
                if step.close:
                    # Before the answer, so that the reason is in the log when the initiator gets
                    # it.
                    _log_refusal(shared, wire, login, step)
                if step.send:
                    pdu_trace.tell(trace, wire.peer, SENT, step.send)
                    await wire.send_all(step.send)
                if step.result is not None:
                    return step.result, rx.take_rest()
        if step is None or not step.close:
            _incidents.warning("%s: login of %s took too long", wire.peer, _name(login))
        elif step.send:
            await wire.linger()
        return None, b""


def _name(login: Login[IscsiTarget]) -> Subject:
    if not login.initiator:
        return Subject("an unknown initiator")
    return Subject(shown(login.initiator), initiator_fields(login.initiator))


def _log_refusal(
    shared: Shared, wire: Wire, login: Login[IscsiTarget], step: LoginStep[IscsiTarget]
) -> None:
    if step.status in _REDIRECTIONS:
        _incidents.info("%s: login of %s %s", wire.peer, _name(login), step.why)
        return
    why = f"{step.why} (status {step.status:04x})" if step.status else step.why
    statistics = shared.scst.env.statistics
    statistics.counts[LOGINS_REFUSED][_STATUS_NAMES.get(step.status, "protocol_error")] += 1
    statistics.note("login_refused", f"login of {_name(login)} from {wire.peer} refused: {why}")
    _incidents.warning("%s: login of %s refused: %s", wire.peer, _name(login), why)


async def _full_feature(
    shared: Shared, wire: Wire, nexus: Nexus | None, result: _Result, rest: bytes
) -> None:
    parameters = result.parameters
    session: Nexus | DiscoverySession
    if nexus is None:
        session = DiscoverySession(shared.access, wire, result, shared.sessions.forget_discovery)
        shared.sessions.add_discovery(session)
    else:
        session = nexus
    rx = Receiver(parameters.max_recv_data_segment_length, shared.chunks)
    rx.tell_spoilt = shared.scst.env.statistics.digest_error
    for side in (rx, wire.tx):
        side.header_digest = parameters.has_header_digest
        side.data_digest = parameters.has_data_digest
    connection = Connection(
        session.host,
        parameters,
        cmd_sn=session.exp_cmd_sn,
        stat_sn=result.stat_sn,
        queue_depth=session.queue_depth,
        rx=rx,
        tx=wire.tx,
        max_cmd_sn=result.max_cmd_sn,
        cid=result.cid,
        discovery=nexus is None,
    )
    if rest:
        rx.feed(rest)
    session.start(connection)
    log.info("%s: logged in: %s", wire.peer, session)
    try:
        with _guarded(wire, session):
            shared.watch.add(wire, connection, session)
            await _pump(shared, wire, connection, session)
    finally:
        shared.watch.remove(wire)
        log.info("%s: connection of %s ended: %s", wire.peer, session, wire.reason)
        session.connection_ended(wire)
        # Do not wait for the garbage collector: connections may come faster than it runs.
        rx.release()
        wire.stop_writing()
        wire.tx.clear()


async def _pump(
    shared: Shared, wire: Wire, connection: Connection, session: Nexus | DiscoverySession
) -> None:
    """Receive, process, send; until the connection ends."""
    rx, flusher, scst = connection.rx, wire.flusher, shared.scst

    def poll_seconds() -> float:
        return scst.poll_us * 1e-6

    # Closing cancels the scope, but not every iteration awaits something.
    while not wire.scope.cancel_called:
        flusher.hold()
        try:
            all_done = connection.process()
        finally:
            flusher.release()
        if connection.window.under_way:
            # Disks may have done on the spot what they were just given to do.
            flusher.disks.drain()
        wire.flush()
        if connection.closing:
            wire.reason = wire.reason or "logout"
            await wire.drain()
            wire.lingers = True
            # At once: an initiator with the answer to its logout may log in again before another
            # task runs, and must not find the old session.
            session.connection_ended(wire)
            return
        if not all_done:
            await wire.wait_for_room(connection.replies.has_room)
            continue
        is_idle = not connection.window.under_way
        received = await wire.receive(rx, poll_seconds, is_idle=is_idle)
        if received == 0 and connection.leaving:
            await wire.wait_until(lambda: connection.closing)
        elif received == 0:
            wire.reason = wire.reason or CLOSED_BY_PEER
            return

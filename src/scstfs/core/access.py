"""LUN masking: which session sees which device, and the unit attentions when that changes.

The functions here change LUN sets and update the sessions that use them. They are synchronous: an
initiator sees either the old or the new set, never a mixture.

When a nexus disappears, commands that the device already executes finish; ``when_retired`` reports
when. Commands that have not started, because they wait for data or for their turn, end with BUSY:
the initiator retries them and finds the new LUN set.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from scstfs.core import completion
from scstfs.core.command import Phase
from scstfs.core.errors import AlreadyExists
from scstfs.core.session import Session, TgtDev
from scstfs.core.target import Acg, AcgDev
from scstfs.scsi import sense

if TYPE_CHECKING:
    from scstfs.core.device import Device
    from scstfs.core.scst import Scst

log = logging.getLogger(__name__)


# A nexus's beginning and end


def connect(session: Session, acg_dev: AcgDev) -> TgtDev | None:
    """Make the tgt_dev of ``session`` for a LUN; its first unit attention is a power on.

    None if the device has persistent reservations and the session's transport cannot take part in
    them. Such a session does not see the device.
    """
    device = acg_dev.device
    if session.transport_id is None and device.pr.registrants:
        log.warning(
            "%s cannot reach %s, which has persistent reservation registrants: "
            "the transport has no initiator port identifiers",
            session,
            device,
        )
        return None
    tgt_dev = TgtDev(session, acg_dev)
    device.threads.assign(tgt_dev)
    tgt_dev.queue_unit_attention(sense.RESET)
    device.tgt_devs.append(tgt_dev)
    device.pr.bind(tgt_dev)
    session.attach(tgt_dev)
    return tgt_dev


def disconnect(tgt_dev: TgtDev) -> None:
    """Remove a nexus from its session and release its reservations."""
    device, session = tgt_dev.device, tgt_dev.session
    session.detach(tgt_dev)
    device.tgt_devs.remove(tgt_dev)
    tgt_dev.is_gone = True
    _send_back(tgt_dev)
    if tgt_dev.commands:
        session.former[tgt_dev] = device.former[tgt_dev] = None
        completion.when_ended(list(tgt_dev.commands), partial(_forget, tgt_dev))
    if device.reserved_by is session:
        if device.shared is not None:
            device.shared.release(session)
        else:
            device.reserved_by = None
    device.former_times.merge(tgt_dev.times)
    device.pr.unbind(tgt_dev)
    device.nexus_ended(tgt_dev)
    device.threads.release(tgt_dev)


def _forget(tgt_dev: TgtDev) -> None:
    del tgt_dev.session.former[tgt_dev], tgt_dev.device.former[tgt_dev]


def _send_back(tgt_dev: TgtDev) -> None:
    """End the commands of a nexus that wait for their turn; those that wait for data end when it
    has arrived.
    """
    with tgt_dev.device.tasks.frozen():
        for cmd in list(tgt_dev.commands):
            if cmd.phase in (Phase.BLOCKED, Phase.DEFERRED):
                completion.send_back(cmd)
    if tgt_dev.aca.faulted is tgt_dev:
        tgt_dev.aca.clear()


def when_retired(tgt_devs: Iterable[TgtDev], call: Callable[[], None]) -> None:
    """Call ``call`` when no command of these nexuses is executed any more; that may be at once."""
    busy = [
        cmd
        for tgt_dev in tgt_devs
        for cmd in tgt_dev.commands
        if cmd.phase in (Phase.EXECUTING, Phase.HELD)
    ]
    completion.when_ended(busy, call)


# LUN sets


def add_lun(
    acg: Acg, device: Device, lun: int, *, read_only: bool, tell: bool = True, ask: bool = True
) -> list[TgtDev]:
    """Add a LUN to a group and to the sessions that use it; returns their new nexuses.

    The target is asked and told (``check_lun``, ``lun_added``) unless ``ask`` is False, for LUNs
    that the target adds itself. Raises AlreadyExists if the LUN exists, Refused if the target
    refuses it.
    """
    if lun in acg.luns:
        raise AlreadyExists(f"virt_lun {lun} already exists in {acg.name}")
    if ask:
        acg.target.check_lun(device, read_only=read_only)
    new = _add_lun(acg, device, lun, read_only=read_only)
    if tell:
        report_luns_changed(acg)
    if ask:
        acg.target.lun_added(acg.luns[lun])
    return new


def _add_lun(acg: Acg, device: Device, lun: int, *, read_only: bool) -> list[TgtDev]:
    acg_dev = AcgDev(acg, device, lun, read_only=read_only)
    acg.luns[lun] = acg_dev
    device.exports[acg_dev.export] = acg_dev
    connected = [connect(session, acg_dev) for session in acg.sessions]
    new = [tgt_dev for tgt_dev in connected if tgt_dev is not None]
    log.info("%s: LUN %d is %s%s", acg, lun, device, " (read-only)" if read_only else "")
    return new


def remove_lun(acg_dev: AcgDev) -> list[TgtDev]:
    """Remove a LUN from its group; return the nexuses that ended."""
    gone = [tgt_dev for tgt_dev in acg_dev.device.tgt_devs if tgt_dev.acg_dev is acg_dev]
    for tgt_dev in gone:
        disconnect(tgt_dev)
    del acg_dev.acg.luns[acg_dev.lun]
    del acg_dev.device.exports[acg_dev.export]
    log.info("%s: LUN %d is gone", acg_dev.acg, acg_dev.lun)
    return gone


def replace_lun(acg: Acg, device: Device, lun: int, *, read_only: bool, tell: bool) -> list[TgtDev]:
    """Map a LUN to ``device``; return the nexuses that ended.

    If the LUN exists and ``tell`` is set, its sessions are told that INQUIRY data changed; if it
    does not exist, it is added. Raises what the target's ``check_lun`` raises.
    """
    old = acg.luns.get(lun)
    if old is None:
        add_lun(acg, device, lun, read_only=read_only)
        return []
    acg.target.check_lun(device, read_only=read_only)
    gone = remove_lun(old)
    for tgt_dev in _add_lun(acg, device, lun, read_only=read_only):
        if tell:
            tgt_dev.session.report(tgt_dev, sense.INQUIRY_DATA_CHANGED)
    acg.target.lun_added(acg.luns[lun])
    return gone


def report_luns_changed(acg: Acg) -> None:
    """Tell every session of a group that its LUNs changed."""
    for session in acg.sessions:
        session.report_luns_changed()


def remove_device(device: Device) -> list[TgtDev]:
    """Remove a device from every LUN set; return the nexuses that ended."""
    gone: list[TgtDev] = []
    for acg_dev in list(device.exports.values()):
        gone += remove_lun(acg_dev)
        report_luns_changed(acg_dev.acg)
    return gone


# Sessions


def enter(session: Session) -> None:
    """Give a new session the LUNs of its group."""
    session.acg.sessions[session] = None
    session.target.sessions[session.name] = session
    for acg_dev in session.acg.luns.values():
        connect(session, acg_dev)


def leave(session: Session) -> None:
    """Remove all nexuses of an ending session that has no command left."""
    for tgt_dev in list(session.tgt_devs.values()):
        disconnect(tgt_dev)
    session.acg.sessions.pop(session, None)
    if session.target.sessions.get(session.name) is session:
        del session.target.sessions[session.name]


def reassign_sessions(scst: Scst) -> list[TgtDev]:
    """Move every session to the group that its initiator's name now selects.

    Returns the nexuses that ended.
    """
    gone: list[TgtDev] = []
    for session in list(scst.sessions()):
        acg = session.target.find_acg(session.initiator_name)
        if acg is not session.acg and session.is_open:
            gone += _reassign(session, acg)
    return gone


def _reassign(session: Session, acg: Acg) -> list[TgtDev]:
    log.info("%s moves from %s to %s", session, session.acg, acg)
    del session.acg.sessions[session]
    session.acg = acg
    acg.sessions[session] = None
    old = dict(session.tgt_devs)
    kept = {lun: t for lun, t in old.items() if _same_unit(t, acg.luns.get(lun))}
    gone = [tgt_dev for lun, tgt_dev in old.items() if lun not in kept]
    for tgt_dev in gone:
        disconnect(tgt_dev)
    for lun, tgt_dev in kept.items():
        tgt_dev.acg_dev = acg.luns[lun]
    new = [connect(session, acg_dev) for lun, acg_dev in acg.luns.items() if lun not in kept]
    if gone or new:
        session.report_luns_changed()
    for appeared in new:
        if appeared is not None and appeared.lun in old:
            session.report(appeared, sense.INQUIRY_DATA_CHANGED)
    return gone


def _same_unit(tgt_dev: TgtDev, acg_dev: AcgDev | None) -> bool:
    return (
        acg_dev is not None
        and tgt_dev.device is acg_dev.device
        and tgt_dev.acg_dev.read_only == acg_dev.read_only
    )

"""The fast path of iSCSI: its answers are those of the general way.

Each input is run on two targets, one of which has no fast path: the bytes sent, the final contents
of the disk and the end of the connection must be the same.
"""

from __future__ import annotations

import inspect
import tempfile
from pathlib import Path
from typing import Final

import trio

from fuzz.fast_events import DIRECTORY as TARGET_DIRECTORY
from fuzz.fast_events import EVENTS, TARGET, Rig
from fuzz.fast_script import Script
from fuzz.memory import DIRECTORY
from fuzz.source import Source
from scstfs.core.gated import EPOCH
from scstfs.iscsi.connection import Connection
from scstfs.iscsi.errors import ProtocolError
from scstfs.sysfs.errors import SysfsError
from tests.support import verdicts
from tests.support.whole import Whole, whole

_STEPS: Final = 64

#: Thresholds of a first byte: waiting bytes are sent, only a part of them is sent, an event
#: follows.
_SEND, _CUT, _HAPPEN = 128, 176, 192


def run(data: bytes) -> None:
    """Run ``data`` with the fast path and without."""
    with tempfile.TemporaryDirectory(prefix="scstfs-fuzz.", dir=DIRECTORY) as directory:
        quick = trio.run(_outcome, data, Path(directory, "quick"), True)
        slow = trio.run(_outcome, data, Path(directory, "slow"), False)
    assert quick == slow, "the fast path makes a difference"


async def _outcome(data: bytes, directory: Path, fast: bool) -> tuple[object, ...]:
    """The bytes sent for each piece, the end, and the final state."""
    source = Source(data)
    script = Script(source)
    directory.mkdir()
    async with whole(directory) as everything:
        await _configure(everything, script)
        rig = Rig(everything, script)
        sent: list[bytes] = []
        reason = ""
        if not fast:
            _close_fast_path(rig)
        try:
            await _play(rig, source, sent)
        except ProtocolError as fault:
            reason = fault.why
        rig.resume()
        await rig.settle()
        rig.keep_counters()
        rig.nexus.connection_ended(rig.nexus.wire)
        pending = [list(tgt_dev.unit_attentions) for tgt_dev in rig.device.tgt_devs]
        return sent, reason, rig.counters, bytes(rig.store.content), pending


async def _configure(everything: Whole, script: Script) -> None:
    if script.is_cd_rom:
        await everything.write("handlers/vcdrom/mgmt", "add_device disk\n")
    else:
        await everything.add_file(everything.directory / "disk")
    await everything.add_file(everything.directory / "second")
    for path, text in (
        ("targets/iscsi/mgmt", f"add_target {TARGET}"),
        (f"{TARGET_DIRECTORY}/luns/mgmt", f"add disk 0 read_only={script.read_only:d}"),
        (f"{TARGET_DIRECTORY}/luns/mgmt", "add second 1"),
        # One thread for each nexus, so its work is done in order.
        ("devices/disk/threads_num", "1"),
        ("devices/second/threads_num", "1"),
        ("device_groups/mgmt", "create g"),
        ("device_groups/g/devices/mgmt", "add disk"),
        ("device_groups/g/target_groups/mgmt", "create t"),
        ("device_groups/g/target_groups/t/mgmt", f"add {TARGET}"),
    ):
        await everything.write(path, f"{text}\n")


def _close_fast_path(rig: Rig) -> None:
    """Make READs and WRITEs of every nexus pass the gates."""
    decide = rig.device.decide
    vars(rig.device)["decide"] = lambda tgt_dev: decide(tgt_dev)._replace(
        read=None, write=None, submit_read=None, submit_write=None
    )
    EPOCH.advance()


async def _play(rig: Rig, source: Source, sent: list[bytes]) -> None:
    """Send the stream, cut anywhere, with events between its pieces."""
    waiting = b""
    for _ in range(_STEPS):
        if not source.more:
            break
        waiting += rig.script.next()
        kind = source.byte()
        if kind < _SEND:
            continue
        cut = source.number(len(waiting)) if _CUT <= kind < _HAPPEN else len(waiting)
        piece, waiting = waiting[:cut], waiting[cut:]
        sent.append(await _arrive(rig, piece))
        if kind >= _HAPPEN:
            connection = rig.connection
            await _happen(rig, source)
            if rig.connection is not connection:
                waiting = b""
            sent.append(await _arrive(rig, b""))
    sent.append(await _arrive(rig, waiting))


async def _happen(rig: Rig, source: Source) -> None:
    event = EVENTS[source.byte() % len(EVENTS)]
    try:
        happens = event(rig)
        if inspect.isawaitable(happens):
            await happens
    except SysfsError:
        # The event is impossible now.
        pass
    await rig.settle()
    verdicts.check(rig.everything.scst)


async def _arrive(rig: Rig, piece: bytes) -> bytes:
    """Let bytes arrive; return the bytes sent for them when nothing runs any more."""
    connection = rig.connection
    # Threads have no visible effect before all bytes are processed.
    with rig.writing_later():
        out = _process(rig)
        while piece and not connection.closing:
            piece = _receive(connection, piece)
            out += _process(rig)
    await rig.settle()
    out += _process(rig)
    await rig.settle()
    out += _sent(connection)
    rig.script.hear(out)
    rig.end_dropped()
    return out


def _process(rig: Rig) -> bytes:
    """Process the bytes; return those sent at once."""
    out = b""
    while True:
        done = rig.connection.process()
        verdicts.check(rig.everything.scst)
        sent = _sent(rig.connection)
        out += sent
        if done or not sent:
            return out


def _sent(connection: Connection) -> bytes:
    tx, out = connection.tx, b""
    while tx.pending:
        data = b"".join(tx.buffers())
        tx.sent(len(data))
        out += data
    return out


def _receive(connection: Connection, piece: bytes) -> bytes:
    """Receive as much as fits; return the rest."""
    count = 0
    for buffer in connection.rx.buffers():
        part = piece[count : count + len(buffer)]
        buffer[: len(part)] = part
        count += len(part)
    connection.rx.received(count)
    return piece[count:]

"""The fast path of iSCSI: it answers what the general way would have answered.

Each input is run twice, on two targets of which one has no fast path: what is sent, what is on the
disk in the end and how the connection ends must be the same.
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

#: First bytes from which on what waits is sent, from which on only a part of it is, and from which
#: on something happens when it has been.
_SEND, _CUT, _HAPPEN = 128, 176, 192


def run(data: bytes) -> None:
    """Run ``data`` with the fast path and without."""
    with tempfile.TemporaryDirectory(prefix="scstfs-fuzz.", dir=DIRECTORY) as directory:
        quick = trio.run(_outcome, data, Path(directory, "quick"), True)
        slow = trio.run(_outcome, data, Path(directory, "slow"), False)
    assert quick == slow, "the fast path makes a difference"


async def _outcome(data: bytes, directory: Path, fast: bool) -> tuple[object, ...]:
    """What is sent for each piece, how it ends, and what there is then."""
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
        # One thread for each nexus: what is done there is done in order.
        ("devices/disk/threads_num", "1"),
        ("devices/second/threads_num", "1"),
        ("device_groups/mgmt", "create g"),
        ("device_groups/g/devices/mgmt", "add disk"),
        ("device_groups/g/target_groups/mgmt", "create t"),
        ("device_groups/g/target_groups/t/mgmt", f"add {TARGET}"),
    ):
        await everything.write(path, f"{text}\n")


def _close_fast_path(rig: Rig) -> None:
    """Every nexus is told that its READs and WRITEs have to pass the gates."""
    decide = rig.device.decide
    vars(rig.device)["decide"] = lambda tgt_dev: decide(tgt_dev)._replace(read=None, write=None)
    EPOCH.advance()


async def _play(rig: Rig, source: Source, sent: list[bytes]) -> None:
    """Send the stream, cut anywhere, and let things happen between its pieces."""
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
        # It cannot happen now.
        pass
    await rig.settle()
    verdicts.check(rig.everything.scst)


async def _arrive(rig: Rig, piece: bytes) -> bytes:
    """Let bytes arrive; returns what is sent for them, when nothing goes on any more."""
    connection = rig.connection
    # Threads do nothing that can be seen before all has been taken in.
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
    """Work off what has arrived; returns what is sent at once."""
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
    """Receive as much as there is room for; returns the rest."""
    count = 0
    for buffer in connection.rx.buffers():
        part = piece[count : count + len(buffer)]
        buffer[: len(part)] = part
        count += len(part)
    connection.rx.received(count)
    return piece[count:]

"""iSCSI sessions: connection reinstatement and session reinstatement."""

from __future__ import annotations

import threading

import pytest

from scstfs.core.session import SessionState
from scstfs.drivers.iscsi.nexus import Nexus
from scstfs.drivers.iscsi.server import Server
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.iscsi.codes import AsyncEvent
from scstfs.iscsi.connection import Connection
from scstfs.iscsi.negotiate import SessionParameters
from scstfs.scsi import sense
from scstfs.scsi.transport_id import TransportId
from tests.support import iscsi_wire as wire
from tests.support import verdicts
from tests.support.fake_store import FakeStore
from tests.support.iscsi_wire import FINAL, READ, Pdu
from tests.support.still_wire import ISID, Port, sent, still_wire
from tests.support.whole import Whole

FLUSH = bytes.fromhex("35000000000000000000")


async def _two_luns(everything: Whole) -> tuple[Port, FakeStore]:
    """An initiator port, and the store behind LUN 1, whose flushes are held up."""
    directory = await everything.add_target()
    for number, name in enumerate(("one", "two")):
        await everything.add_file(everything.directory / name)
        await everything.write(f"{directory}/luns/mgmt", f"add {name} {number}\n")
    store = FakeStore()
    store.pause("flush")
    device = everything.scst.devices["two"]
    assert isinstance(device, VdiskDevice)
    device.medium.install(store)
    server = Server(everything.scst, everything.iscsi)
    return Port(server, everything.iscsi.targets["iqn.t"], SessionParameters(), 32), store


def _start_flush(nexus: Nexus, connection: Connection) -> None:
    """Have LUN 1 busy, without unit attentions on any of the LUNs."""
    for tgt_dev in nexus.core.tgt_devs.values():
        while tgt_dev.unit_attentions:
            tgt_dev.take_unit_attention()
    command = Pdu.make(wire.SCSI_COMMAND, flags=FINAL | 1, lun=b"\0\1", itt=1, cmd_sn=1, cdb=FLUSH)
    connection.rx.feed(command.raw)
    connection.process()
    assert len(nexus.core.tgt_devs[1].commands) == 1


async def test_nothing_passes_the_gates_before_the_old_connection_s_commands_have_ended(
    everything: Whole,
) -> None:
    port, store = await _two_luns(everything)
    nexus, connection = port.log_in(1)
    _start_flush(nexus, connection)
    port.reconnect(nexus)
    other = nexus.core.tgt_devs[0]
    assert not nexus.core.executes
    assert not other.unit_attentions
    assert (other.quick.read, other.quick.write) == (None, None)
    verdicts.check(everything.scst)
    store.resume("flush")
    while not nexus.core.executes:
        await everything.scst.env.runtime.run_blocking(lambda: None)
    assert other.quick.read is not None


async def test_a_session_begins_when_the_one_whose_place_it_takes_has_ended(
    everything: Whole,
) -> None:
    port, store = await _two_luns(everything)
    nexus, connection = port.log_in(1)
    _start_flush(nexus, connection)
    successor, _ = port.log_in(1, replaced=nexus)
    assert (nexus.core.is_open, successor.core.executes) == (False, False)
    verdicts.check(everything.scst)
    store.resume("flush")
    while not successor.core.executes:
        await everything.scst.env.runtime.run_blocking(lambda: None)
    assert nexus.core not in everything.scst.sessions()


# What a session is


async def _one(everything: Whole, parameters: SessionParameters | None = None) -> Port:
    """An initiator port of a target with a LUN."""
    directory = await everything.add_target()
    await everything.add_null("disk")
    await everything.write(f"{directory}/luns/mgmt", "add disk 0\n")
    server = Server(everything.scst, everything.iscsi)
    target = everything.iscsi.targets["iqn.t"]
    return Port(server, target, parameters or SessionParameters(), 32)


async def test_what_a_session_is_called(everything: Whole) -> None:
    port = await _one(everything)
    nexus, _ = port.log_in(1)
    assert str(nexus) == "session iqn.i of iqn.t"
    # ISID and TSIH in the kernel's byte order.
    assert nexus.sid == 0x0001_000000000080
    assert nexus.core.transport_id == TransportId.iscsi("iqn.i", ISID)
    assert nexus.thread_ids == str(threading.get_native_id())
    assert nexus.core.state is SessionState.READY


async def test_a_target_may_name_sessions_by_portal(everything: Whole) -> None:
    port = await _one(everything)
    everything.iscsi.targets["iqn.t"].per_portal_acl = True
    nexus, _ = port.log_in(1)
    assert nexus.core.initiator_name == "iqn.i#127.0.0.1"


async def test_attributes_of_the_target_hold_for_a_session(everything: Whole) -> None:
    port = await _one(everything)
    parameters = everything.iscsi.targets["iqn.t"].parameters
    parameters.update(QueuedCommands=7, NopInInterval=11, NopInTimeout=12, RspTimeout=13)
    nexus, _ = port.log_in(1)
    assert nexus.queue_depth == 7
    limits = nexus.limits
    assert (limits.nop_in_interval, limits.nop_in_timeout, limits.rsp_timeout) == (11, 12, 13)


@pytest.mark.parametrize("level", [0, 1, 2])
async def test_inquiry_tells_the_level_that_was_agreed_on(everything: Whole, level: int) -> None:
    port = await _one(everything, SessionParameters(protocol_level=level))
    nexus, _ = port.log_in(1)
    assert nexus.core.transport_level == level


async def test_the_connection_is_shown_while_there_is_one(everything: Whole) -> None:
    port = await _one(everything)
    nexus, connection = port.log_in(1)
    assert list(nexus.connections) == ["127.0.0.1"]
    shown = nexus.connections["127.0.0.1"]
    assert (shown.cid, shown.ip, shown.state) == (0, "127.0.0.1", "established idle ")
    nexus.core.reinstating = True
    assert shown.state == "reinstating "
    nexus.core.reinstating = False
    connection.rx.feed(b"\0")
    assert shown.state == "read_processing "
    nexus.end()
    assert nexus.connections == {}
    assert shown.state == "closing"


# Its end


async def test_a_session_ends_once_and_leaves_nothing(everything: Whole) -> None:
    gone: list[Nexus] = []
    port = await _one(everything)
    nexus, _ = port.log_in(1, gone=gone.append)
    # A connection that is no longer its own.
    nexus.connection_ended(still_wire(port.server))
    assert nexus.is_open
    nexus.connection_ended(nexus.wire)
    nexus.end()
    assert gone == [nexus]
    assert not nexus.core.target.sessions
    # There is no connection left for an event.
    assert not nexus.core.transport.report_aen(bytes(8), b"")
    assert not nexus.report_aen(bytes(8), b"")
    nexus.core.transport.close()


async def test_the_command_number_stays_when_the_connection_goes(everything: Whole) -> None:
    port = await _one(everything)
    nexus, connection = port.log_in(5)
    ready = Pdu.make(wire.SCSI_COMMAND, flags=FINAL | 1, itt=1, cmd_sn=5)
    connection.rx.feed(ready.raw)
    connection.process()
    assert nexus.exp_cmd_sn == 6
    again = port.reconnect(nexus)
    assert nexus.exp_cmd_sn == again.window.exp_cmd_sn == 6
    nexus.end()
    assert nexus.exp_cmd_sn == 6


async def test_only_units_that_lost_commands_tell_of_a_lost_connection(everything: Whole) -> None:
    port, store = await _two_luns(everything)
    nexus, connection = port.log_in(1)
    _start_flush(nexus, connection)
    port.reconnect(nexus)
    pending = [[ua.sense for ua in nexus.core.tgt_devs[lun].unit_attentions] for lun in (0, 1)]
    assert pending == [[], [sense.CLEARED_BY_TRANSPORT]]
    store.resume("flush")


async def test_sessions_that_take_each_other_s_place_begin_in_order(everything: Whole) -> None:
    """A session does not wait for one that never began, but for the one before that."""
    port, store = await _two_luns(everything)
    first, connection = port.log_in(1)
    _start_flush(first, connection)
    second, _ = port.log_in(1, replaced=first)
    third, _ = port.log_in(1, replaced=second)
    assert (first.is_open, second.is_open, third.is_open) == (False, False, True)
    assert not third.core.executes
    assert list(everything.scst.sessions()).count(second.core) == 0
    store.resume("flush")
    while not third.core.executes:
        await everything.scst.env.runtime.run_blocking(lambda: None)
    assert first.core not in everything.scst.sessions()


async def test_a_session_that_takes_another_s_place_says_so(everything: Whole) -> None:
    port = await _one(everything)
    first, _ = port.log_in(1)
    second, _ = port.log_in(1, replaced=first)
    pending = [ua.sense for ua in second.core.tgt_devs[0].unit_attentions]
    assert pending == [sense.NEXUS_LOSS]
    assert second.core.executes


async def test_commands_wait_until_a_session_may_begin(everything: Whole) -> None:
    port, store = await _two_luns(everything)
    first, connection = port.log_in(1)
    _start_flush(first, connection)
    second, connection = port.log_in(1, replaced=first)
    ready = Pdu.make(wire.SCSI_COMMAND, flags=FINAL | 1, itt=1, cmd_sn=1)
    connection.rx.feed(ready.raw)
    connection.process()
    assert len(second.core.postponed) == 1
    assert sent(second.wire) == []
    # Nor does another connection let it continue.
    connection = port.reconnect(second)
    assert not second.core.executes
    store.resume("flush")
    while not second.core.executes:
        await everything.scst.env.runtime.run_blocking(lambda: None)
    assert second.core.postponed == []


# What is reported to the initiator


async def test_events_reach_the_initiator_while_it_is_there(everything: Whole) -> None:
    port = await _one(everything)
    nexus, connection = port.log_in(1)
    assert nexus.report_aen(b"\0\1" + bytes(6), b"sense")
    (event,) = sent(nexus.wire)
    assert (event.opcode, event["event"]) == (wire.ASYNC, 0)
    assert event.blob("lun") == b"\0\1" + bytes(6)
    assert event.data == b"\0\5sense"
    connection.rx.feed(Pdu.make(wire.LOGOUT_REQUEST, flags=FINAL, itt=1, cmd_sn=1).raw)
    connection.process()
    assert not nexus.report_aen(bytes(8), b"sense")
    assert [pdu.opcode for pdu in sent(nexus.wire)] == [wire.LOGOUT_RESPONSE]


async def test_the_end_is_announced(everything: Whole) -> None:
    port = await _one(everything)
    nexus, _ = port.log_in(1)
    nexus.announce(AsyncEvent.LOGOUT_REQUESTED, 3)
    (event,) = sent(nexus.wire)
    assert (event["event"], event["parameter3"]) == (AsyncEvent.LOGOUT_REQUESTED, 3)
    nexus.end()
    nexus.announce(AsyncEvent.LOGOUT_REQUESTED, 3)
    assert sent(nexus.wire) == []


async def test_force_close_closes_the_connection(everything: Whole) -> None:
    port = await _one(everything)
    nexus, _ = port.log_in(1)
    nexus.close()
    assert (nexus.wire.reason, sent(nexus.wire)) == ("force_close", [])


async def test_what_is_negotiated_later_holds_for_session_and_connection(
    everything: Whole,
) -> None:
    port = await _one(everything)
    nexus, connection = port.log_in(1)
    agreed = SessionParameters(max_xmit_data_segment_length=512)
    nexus.agree(agreed)
    assert nexus.parameters is agreed
    read = Pdu.make(
        wire.SCSI_COMMAND,
        flags=FINAL | READ | 1,
        itt=1,
        cmd_sn=1,
        expected_length=1024,
        cdb=bytes.fromhex("28000000000000000200"),
    )
    for tgt_dev in nexus.core.tgt_devs.values():
        tgt_dev.take_unit_attention()
    connection.rx.feed(read.raw)
    connection.process()
    assert [len(pdu.data) for pdu in sent(nexus.wire)] == [512, 512]


async def test_whoever_comes_next_waits_for_the_first_of_all(everything: Whole) -> None:
    """A session that was to follow one that is still ending, and went before it began."""
    port, store = await _two_luns(everything)
    sessions = port.server.sessions
    first, connection = port.log_in(1)
    sessions.add(first)
    _start_flush(first, connection)
    second, _ = port.log_in(1, replaced=first)
    sessions.add(second)
    second.connection_ended(second.wire)
    found = sessions.find(first.target, first.initiator, first.isid)
    assert found is first
    third, _ = port.log_in(1, replaced=found)
    sessions.add(third)
    assert not third.core.executes
    store.resume("flush")
    while not third.core.executes:
        await everything.scst.env.runtime.run_blocking(lambda: None)
    assert sessions.find(first.target, first.initiator, first.isid) is third
    assert sessions.of(first.target) == [third]

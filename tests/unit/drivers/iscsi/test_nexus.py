"""iSCSI sessions: connection reinstatement and session reinstatement."""

from __future__ import annotations

from scstfs.drivers.iscsi.nexus import Nexus
from scstfs.drivers.iscsi.server import Server
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.iscsi.connection import Connection
from scstfs.iscsi.negotiate import SessionParameters
from tests.support import iscsi_wire as wire
from tests.support import verdicts
from tests.support.fake_store import FakeStore
from tests.support.iscsi_wire import FINAL, Pdu
from tests.support.still_wire import Port
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

"""Events at the target of the fuzz target ``fast`` between two pieces of the stream.

They change all that decides whether a READ or WRITE may pass: by another initiator, by the tree, by
the medium and by the session itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

from fuzz.fast_script import BLOCKS, KEY, Script
from scstfs.core import execute, task_management
from scstfs.core.command import Phase
from scstfs.core.session import Session
from scstfs.core.taskset import Claim
from scstfs.drivers.iscsi.server import Server
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.scsi import sense
from scstfs.scsi.opcodes import Direction
from tests.support import reservations
from tests.support.fake_store import FakeStore, Turns
from tests.support.reservations import pr_out
from tests.support.sessions import open_session
from tests.support.still_wire import Port
from tests.support.target import TestCommand
from tests.support.whole import Whole

TARGET: Final = "iqn.t"
DIRECTORY: Final = f"targets/iscsi/{TARGET}"
STATE: Final = "device_groups/g/target_groups/t/state"
_READ_10: Final = 0x28
_OTHERS_KEY: Final = KEY + 1


class Rig:
    """The target, the initiator's connection, and another initiator."""

    def __init__(self, everything: Whole, script: Script) -> None:
        """Takes an existing disk, target and LUN."""
        self.everything = everything
        self.script = script
        device = everything.scst.devices["disk"]
        assert isinstance(device, VdiskDevice)
        self.device = device
        #: Behind LUN 1.
        self._second = everything.scst.devices["second"]
        assert isinstance(self._second, VdiskDevice)
        self._turns = Turns()
        self._second_store = self._new_store()
        self._second.medium.install(self._second_store)
        self.store = self._new_store()
        device.medium.install(self.store)
        target = everything.iscsi.targets[TARGET]
        server = Server(everything.scst, everything.iscsi)
        self._port = Port(server, target, script.parameters, script.depth)
        self.other: Session = open_session(target, "iqn.j")[0]
        self._watchers: list[Callable[[Claim], None]] = []
        self.counters: list[tuple[int, int, int]] = []
        self.log_in()
        for tgt_dev in (*device.tgt_devs, *self._second.tgt_devs):
            while tgt_dev.unit_attentions:
                tgt_dev.take_unit_attention()

    def _new_store(self) -> FakeStore:
        return FakeStore(BLOCKS * self.script.block, quick=True, turns=self._turns)

    # The session

    def log_in(self) -> None:
        """Begin a session."""
        self.nexus, self.connection = self._port.log_in(self.script.first_cmd_sn)
        self.script.start_again(self.nexus.exp_cmd_sn)

    def reconnect(self) -> None:
        """Connection reinstatement."""
        self.connection = self._port.reconnect(self.nexus)
        self.script.start_again(self.nexus.exp_cmd_sn)

    def reinstate(self) -> None:
        """Session reinstatement."""
        self.keep_counters()
        cmd_sn = self.script.first_cmd_sn
        self.nexus, self.connection = self._port.log_in(cmd_sn, replaced=self.nexus)
        self.script.start_again(cmd_sn)

    def end_dropped(self) -> None:
        """Log in again if the target has closed the connection."""
        if self.nexus.wire.reason:
            self.keep_counters()
            self.nexus.connection_ended(self.nexus.wire)
            self.log_in()

    def keep_counters(self) -> None:
        """Record the counters of the session that ends."""
        counters = self.nexus.core.counters
        self.counters += [
            (c.cmds, c.io_bytes, c.unaligned)
            for c in (counters.read, counters.write, counters.none)
        ]

    async def settle(self) -> None:
        """Wait until nothing runs except what is held up in the store, or behind that."""
        drained = trio.Event()
        completions = self.everything.scst.env.completions
        while self._is_busy():
            await trio.sleep(0.0001)
        # Work that ended before the thread got stuck has been reported by then.
        completions.post(lambda value, error: drained.set(), None, None)
        await drained.wait()

    def _is_busy(self) -> bool:
        stores = self.store, self._second_store
        held_up = {thread for store in stores for thread in store.held_up}
        requests = {
            request
            for store in stores
            for request, thread in store.thread_of.copy().items()
            if thread in held_up
        }
        return any(
            cmd.phase is Phase.EXECUTING
            and cmd.request not in requests
            and held_up.isdisjoint(tgt_dev.pool.thread_ids)
            for session in self.everything.scst.sessions()
            for tgt_dev in session.all_tgt_devs()
            for cmd in tgt_dev.commands
        )

    # Parts of events

    async def write(self, path: str, text: str) -> None:
        """Write to the tree."""
        await self.everything.write(path, text + "\n")

    async def change_luns(self, text: str) -> None:
        """Change the LUN set, which waits for commands."""
        self.resume()
        await self.write(f"{DIRECTORY}/luns/mgmt", text)

    def send_other(self, cdb: bytes, data: bytes = b"") -> None:
        """A command of the other initiator; its answer does not matter."""
        expected = self.script.block if cdb[0] == _READ_10 else 0
        direction = Direction.OUT if data else Direction.IN if expected else Direction.NONE
        cmd = TestCommand(
            self.other,
            bytes(8),
            cdb,
            expected_direction=direction,
            expected_length=len(data) or expected,
        )
        execute.prepare(cmd)
        cmd.data = data[: cmd.data_out_length]
        execute.run(cmd)

    def change_medium(self, *, tell: bool) -> None:
        """Put in another medium."""
        self.resume()
        self.store = self._new_store()
        self.device.medium.changed = self.device.medium.changed or tell
        self.device.medium.install(self.store)

    def close_medium(self) -> None:
        """Take the medium out."""
        self.resume()
        self.device.medium.close()

    @contextmanager
    def writing_later(self) -> Iterator[None]:
        """Inside, writes of threads are not visible."""
        stores = self.store, self._second_store
        for store in stores:
            store.pause("write")
        try:
            yield
        finally:
            for store in stores:
                store.resume("write")

    def hold_up(self, lun: int) -> None:
        """Hold up flushes, and let the initiator send one."""
        self.store.pause("flush")
        self._second_store.pause("flush")
        self.script.flush = lun

    def resume(self) -> None:
        """Let flushes end."""
        self.store.resume("flush")
        self._second_store.resume("flush")

    def watch(self) -> None:
        """Watch writes."""
        watcher: Callable[[Claim], None] = lambda claim: None  # noqa: E731
        self._watchers.append(watcher)
        self.device.tasks.watchers.add(watcher)

    def unwatch(self) -> None:
        """Stop watching writes."""
        for watcher in self._watchers:
            self.device.tasks.watchers.remove(watcher)
        self._watchers.clear()

    def reset_unit(self) -> None:
        """LOGICAL UNIT RESET by the other initiator."""
        tgt_dev = self.other.tgt_devs.get(0)
        if tgt_dev is not None:
            task_management.logical_unit_reset(tgt_dev, lambda: None)

    def clear_task_set(self) -> None:
        """CLEAR TASK SET by the other initiator."""
        tgt_dev = self.other.tgt_devs.get(0)
        if tgt_dev is not None:
            task_management.clear_task_set(tgt_dev, lambda: None)


Event = Callable[[Rig], Awaitable[None] | None]


def _write(path: str, text: str) -> Event:
    return lambda rig: rig.write(path, text)


def _other(cdb: bytes, data: bytes = b"") -> Event:
    return lambda rig: rig.send_other(cdb, data)


EVENTS: Final[tuple[Event, ...]] = (
    _other(bytes.fromhex("160000000000")),
    _other(bytes.fromhex("170000000000")),
    _other(*pr_out(reservations.IGNORE, new=_OTHERS_KEY)),
    _other(*pr_out(reservations.RESERVE, reservations.WE, key=_OTHERS_KEY)),
    _other(*pr_out(reservations.RESERVE, reservations.EA_AR, key=_OTHERS_KEY)),
    _other(*pr_out(reservations.PREEMPT_AND_ABORT, reservations.WE, key=_OTHERS_KEY, new=KEY)),
    _other(*pr_out(reservations.IGNORE, new=0)),
    _other(*pr_out(reservations.CLEAR, key=_OTHERS_KEY)),
    _other(bytes.fromhex("28000000000000000100")),
    _write(STATE, "active"),
    _write(STATE, "nonoptimized"),
    _write(STATE, "standby"),
    _write(STATE, "offline"),
    _write("device_groups/g/devices/mgmt", "del disk"),
    lambda rig: rig.device.report_to_all(sense.CAPACITY_CHANGED),
    lambda rig: rig.nexus.core.report_luns_changed(),
    Rig.reset_unit,
    Rig.clear_task_set,
    lambda rig: rig.change_medium(tell=True),
    lambda rig: rig.change_medium(tell=False),
    Rig.close_medium,
    lambda rig: rig.hold_up(0),
    lambda rig: rig.hold_up(1),
    Rig.resume,
    Rig.reconnect,
    Rig.reconnect,
    Rig.reconnect,
    Rig.reinstate,
    Rig.watch,
    Rig.unwatch,
    lambda rig: rig.device.tasks.block(),
    lambda rig: rig.device.tasks.unblock(),
    lambda rig: rig.change_luns("replace disk 0"),
    lambda rig: rig.change_luns("replace disk 0 read_only=1"),
    lambda rig: rig.change_luns("del 0"),
    _write(f"{DIRECTORY}/aen_disabled", "1"),
    _write(f"{DIRECTORY}/forward_dst", "1"),
    _write(f"{DIRECTORY}/forward_dst", "0"),
    _write(f"{DIRECTORY}/luns/black_hole", "1"),
    _write(f"{DIRECTORY}/luns/black_hole", "0"),
    _write("measure_latency", "1"),
    _write("measure_latency", "0"),
    _write("trace_level", "add scsi"),
    _write("trace_level", "del scsi"),
    _write("devices/disk/max_tgt_dev_commands", "1"),
    _write("devices/disk/max_tgt_dev_commands", "0"),
    _write("devices/disk/max_tgt_dev_commands", "64"),
)

"""A whole core in this process, without a transport: devices, a target, initiators.

    async with target(tmp_path) as system:
        disk = await system.add_disk("disk1", size=1 << 20)
        alice = system.initiator("iqn.a")
        result = await alice.execute(b"\\x00" * 6)

Commands take the same path as those of real drivers; ``Initiator.events`` collects asynchronous
events.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from scstfs.core import access, device_registration, execute, session_lifecycle
from scstfs.core.command import Command
from scstfs.core.environment import Environment
from scstfs.core.runtime import TrioRuntime
from scstfs.core.scst import Scst
from scstfs.core.session import Session
from scstfs.core.target import Acg, Target
from scstfs.core.taskset import TaskAttribute
from scstfs.drivers import copying
from scstfs.drivers.copying.copies import Copies
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.handlers.vdisk_handler import delete_device
from scstfs.handlers.vdisk_handlers import vdisk_handlers
from scstfs.persist.state import StateDirectory
from scstfs.scsi import lun as scsi_lun
from scstfs.scsi.lun import AddressMethod
from scstfs.scsi.opcodes import Direction
from scstfs.scsi.sense import Sense, decode
from scstfs.scsi.status import Status
from scstfs.scsi.transport_id import Protocol, TransportId
from scstfs.scsi.unit import SAS_TRANSPORT
from scstfs.sysfs.mgmt import Parameter
from tests.support import verdicts

DISK_SIZE = 1 << 20


@dataclass(frozen=True)
class Result:
    """An answer to an initiator; ``status`` is None if there is no answer."""

    status: Status | None
    sense: bytes = b""
    data: bytes = b""

    @property
    def condition(self) -> Sense | None:
        """The sense data decoded."""
        return decode(self.sense)

    @property
    def triple(self) -> tuple[int, int, int] | None:
        """Sense key, ASC and ASCQ."""
        condition = self.condition
        return None if condition is None else condition.triple


GOOD = Result(Status.GOOD)


class TestCommand(Command):
    """A command whose answer is kept."""

    __test__ = False
    __slots__ = ("answered", "replies")

    def __init__(
        self,
        session: Session,
        lun: bytes,
        cdb: bytes,
        *,
        attribute: TaskAttribute = TaskAttribute.SIMPLE,
        expected_direction: Direction = Direction.NONE,
        expected_length: int = 0,
    ) -> None:
        super().__init__(
            session,
            lun,
            cdb,
            attribute=attribute,
            expected_direction=expected_direction,
            expected_length=expected_length,
        )
        self.answered = trio.Event()
        self.replies = 0

    def reply(self) -> None:
        self.replies += 1
        self.answered.set()

    def cancel_transfer(self) -> None:
        pass

    @property
    def result(self) -> Result:
        return Result(self.status, self.sense, bytes(self.data_in))

    async def wait(self) -> Result:
        """The answer, once there is one."""
        await self.answered.wait()
        assert self.replies == 1
        return self.result


@dataclass
class FakeDriver:
    """The target driver of the tests."""

    scst: Scst
    name: str = "fake"
    addr_method: AddressMethod = AddressMethod.PERIPHERAL
    protocol: int = Protocol.SAS
    scsi_transport_version: int = SAS_TRANSPORT
    targets: dict[str, Target] = field(default_factory=dict)

    @property
    def env(self) -> Environment:
        return self.scst.env

    #: As of the copy manager's driver.
    allow_not_connected_copy: bool = False


class Initiator:
    """A session, seen from the initiator's side."""

    def __init__(self, system: System, name: str, acg: Acg, port: int | None) -> None:
        transport_id = None
        if port is not None:
            address = bytes([port]) * 8
            transport_id = TransportId(bytes((Protocol.SAS, 0, 0, 0)) + address + bytes(12))
        target = acg.target
        #: Sense data of asynchronous events, which arrive only while ``takes_events``.
        self.events: list[Sense | None] = []
        self.takes_events = False
        if target.find_acg(name) is not acg:
            acg.initiators[name] = None
        self.session = session_lifecycle.open_session(target, name, self, transport_id)

    # The transport of the core session.

    def report_aen(self, lun: bytes, sense_data: bytes) -> bool:
        if self.takes_events:
            self.events.append(decode(sense_data))
        return self.takes_events

    def close(self) -> None:
        pass

    # Actions of an initiator.

    def prepare(
        self,
        cdb: bytes,
        data_out: int = 0,
        data_in: int | None = None,
        *,
        lun: int | bytes = 0,
        attribute: TaskAttribute = TaskAttribute.SIMPLE,
    ) -> TestCommand:
        """Send a command without its ``data_out`` bytes of data."""
        direction, length = Direction.NONE, 0
        if data_out:
            direction, length = Direction.OUT, data_out
        elif data_in is not None:
            direction, length = Direction.IN, data_in
        cmd = TestCommand(
            self.session,
            scsi_lun.pack_lun(lun, AddressMethod.PERIPHERAL) if isinstance(lun, int) else lun,
            cdb,
            attribute=attribute,
            expected_direction=direction,
            expected_length=length,
        )
        execute.prepare(cmd)
        return cmd

    def start(
        self,
        cdb: bytes,
        data_out: bytes = b"",
        data_in: int | None = None,
        *,
        lun: int | bytes = 0,
        attribute: TaskAttribute = TaskAttribute.SIMPLE,
    ) -> TestCommand:
        """Send a command with all its data and do not wait for the answer."""
        cmd = self.prepare(cdb, len(data_out), data_in, lun=lun, attribute=attribute)
        cmd.data = memoryview(bytearray(data_out[: cmd.data_out_length]))
        execute.run(cmd)
        return cmd

    async def execute(
        self,
        cdb: bytes,
        data_out: bytes = b"",
        data_in: int | None = None,
        *,
        lun: int | bytes = 0,
    ) -> Result:
        """Send a command and wait for its answer; not more than ``data_in`` bytes arrive."""
        result = await self.start(cdb, data_out, data_in, lun=lun).wait()
        return Result(result.status, result.sense, result.data[: data_in or 0])

    def clear_unit_attentions(self) -> None:
        """Drop pending unit attentions."""
        for tgt_dev in self.session.tgt_devs.values():
            while tgt_dev.unit_attentions:
                tgt_dev.take_unit_attention()

    async def end(self) -> None:
        """Log out."""
        ended = trio.Event()
        session_lifecycle.close_session(self.session, ended.set)
        await ended.wait()


class System:
    """The core and one target; tests make everything else."""

    def __init__(self, scst: Scst, directory: Path, copies: Copies) -> None:
        self.scst = scst
        self.copies = copies
        self.directory = directory
        self.driver = FakeDriver(scst)
        self.target = Target(self.driver, "target", cpus=1)
        self.driver.targets[self.target.name] = self.target
        scst.drivers[self.driver.name] = self.driver
        self.handlers = {handler.name: handler for handler in vdisk_handlers()}
        scst.handlers.update(self.handlers)
        self._ports = 0

    async def add(self, handler: str, name: str, **parameters: object) -> VdiskDevice:
        """Create a virtual device and map it to the next LUN of the default group."""
        given = [Parameter(key, (str(value),)) for key, value in parameters.items()]
        await self.handlers[handler].add_device(self.scst, name, given)
        device = self.scst.devices[name]
        assert isinstance(device, VdiskDevice)
        acg = self.target.default_acg
        access.add_lun(acg, device, len(acg.luns), read_only=False)
        return device

    async def add_disk(
        self, name: str = "disk", *, size: int = DISK_SIZE, **parameters: object
    ) -> VdiskDevice:
        """Create a vdisk_fileio of ``size`` bytes over a new sparse file."""
        path = self.directory / name
        with path.open("wb") as file:
            file.truncate(size)
        return await self.add("vdisk_fileio", name, filename=path, **parameters)

    def initiator(
        self,
        name: str = "initiator",
        acg: Acg | None = None,
        *,
        port: int | None = 0,
        clear: bool = True,
    ) -> Initiator:
        """Log in; pending unit attentions (the one of every new nexus) are cleared if ``clear``.

        ``port`` is that of the initiator: 0 for a new one, None for a transport without ports.
        """
        self._ports += 1
        if port == 0:
            port = 100 + self._ports
        initiator = Initiator(self, name, acg or self.target.find_acg(name), port)
        if clear:
            initiator.clear_unit_attentions()
        return initiator

    def group(self, name: str, *initiators: str) -> Acg:
        """Make an access control group."""
        acg = self.target.acgs[name] = Acg(self.target, name, cpus=1)
        acg.initiators.update(dict.fromkeys(initiators))
        return acg

    def delete(self, name: str) -> None:
        """Delete a device."""
        delete_device(self.scst, name)


@asynccontextmanager
async def target(
    directory: Path, *, prepare: Callable[[Scst], None] = lambda scst: None
) -> AsyncIterator[System]:
    """Run a core whose state and files are below ``directory``."""
    state = StateDirectory(directory / "state")
    state.prepare()
    async with trio.open_nursery() as nursery:
        scst = Scst(Environment(TrioRuntime(nursery), state, execute.start))
        copies = copying.install(scst)
        prepare(scst)
        system = System(scst, directory, copies)
        try:
            yield system
            verdicts.check(scst)
        finally:
            for name in list(scst.devices):
                device_registration.unregister(scst, scst.devices[name])
            scst.env.threads.close()
            nursery.cancel_scope.cancel()

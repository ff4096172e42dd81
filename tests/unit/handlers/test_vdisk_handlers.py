from __future__ import annotations

from scstfs.core import core_commands
from scstfs.handlers.vdisk import VdiskDevice
from scstfs.handlers.vdisk_handlers import vdisk_handlers
from scstfs.scsi.commands import COMMANDS, EXTENSIONS
from scstfs.scsi.foreign_commands import FOREIGN_COMMANDS
from scstfs.scsi.opcodes import DeviceType, Flag
from tests.support.target import System

NAMES = {row.execute for row in (*COMMANDS, *EXTENSIONS, *FOREIGN_COMMANDS)}


async def test_every_name_of_the_table_has_a_function(system: System) -> None:
    elsewhere = {*core_commands.COMMANDS, *system.scst.env.commands}
    for handler in system.handlers.values():
        assert NAMES - elsewhere <= set(handler.commands), handler.name


async def test_no_function_is_out_of_reach(system: System) -> None:
    functions = {
        *core_commands.COMMANDS,
        *system.scst.env.commands,
        *(name for handler in system.handlers.values() for name in handler.commands),
    }
    assert functions == NAMES


async def test_no_command_is_executed_in_two_places(system: System) -> None:
    core, copies = set(core_commands.COMMANDS), set(system.scst.env.commands)
    handlers = {name for handler in system.handlers.values() for name in handler.commands}
    # REQUEST SENSE is the core's until nothing is pending.
    assert core & handlers == {"request_sense"}
    assert not copies & (core | handlers)


async def test_parameter_lists_that_come_first_are_understood_by_somebody(system: System) -> None:
    marked = {row.execute for row in (*COMMANDS, *EXTENSIONS) if row.flags & Flag.DESCRIPTORS}
    assert marked == {*core_commands.DESCRIPTORS, *system.scst.env.descriptors}


async def test_every_command_of_every_device_has_a_function(system: System) -> None:
    for name in system.handlers:
        handler = system.handlers[name]
        parameters = {"filename": "/none", "active": 0} if handler.needs_filename else {}
        device = await system.add(name, name, **parameters)
        assert isinstance(device, VdiskDevice)
        for row in device.opcodes.commands():
            found = (
                core_commands.COMMANDS.get(row.execute)
                or system.scst.env.commands.get(row.execute)
                or handler.commands.get(row.execute)
            )
            assert found is not None, row.name


def test_the_four_handlers() -> None:
    handlers = {handler.name: handler for handler in vdisk_handlers()}
    assert list(handlers) == ["vdisk_fileio", "vdisk_blockio", "vdisk_nullio", "vcdrom"]
    assert handlers["vcdrom"].type is DeviceType.CD_ROM
    # One trace level for all of them.
    assert len({id(handler.trace) for handler in handlers.values()}) == 1

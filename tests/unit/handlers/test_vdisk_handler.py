from __future__ import annotations

import errno

import pytest

from scstfs.core.errors import SystemRefused
from scstfs.sysfs.errors import SysfsError
from scstfs.sysfs.mgmt import Parameter
from scstfs.tree.core_errors import translate
from tests.support.target import System


async def refused(system: System, handler: str, name: str, **parameters: object) -> int:
    given = [Parameter(key, (str(value),)) for key, value in parameters.items()]
    with pytest.raises((SysfsError, SystemRefused)) as failure:
        await system.handlers[handler].add_device(system.scst, name, given)
    assert name not in system.scst.devices
    assert not system.scst.reserved_names
    refusal = translate(failure.value) or failure.value
    assert isinstance(refusal, SysfsError)
    return refusal.errno


@pytest.mark.parametrize(
    ("handler", "name", "parameters", "number"),
    [
        ("vdisk_fileio", "a", {}, errno.EINVAL),
        ("vdisk_fileio", "a", {"filename": "/none"}, errno.ENOENT),
        ("vdisk_fileio", "a", {"filename": "/"}, errno.EINVAL),
        ("vdisk_blockio", "a", {"filename": "/etc/passwd"}, errno.ENOTBLK),
        ("vdisk_fileio", "a", {"filename": "/x", "o_direct": 1}, errno.EINVAL),
        ("vdisk_fileio", "a", {"filename": "/x", "read_only": 1, "nv_cache": 1}, errno.EINVAL),
        ("vdisk_nullio", "with.dot", {}, errno.EINVAL),
        ("vdisk_nullio", "with/slash", {}, errno.EINVAL),
        ("vdisk_nullio", "x" * 65, {}, errno.EINVAL),
        ("vdisk_nullio", "a", {"filename": "/x"}, errno.EINVAL),
        ("vcdrom", "a", {"read_only": 1}, errno.EINVAL),
    ],
)
async def test_devices_that_can_not_be_made(
    system: System, handler: str, name: str, parameters: dict[str, object], number: int
) -> None:
    assert await refused(system, handler, name, **parameters) == number


async def test_a_name_of_64_bytes_is_taken(system: System) -> None:
    device = await system.add("vdisk_nullio", "x" * 64)
    assert system.scst.devices["x" * 64] is device
    assert await refused(system, "vdisk_nullio", "ö" * 33) == errno.EINVAL


async def test_names_and_serial_numbers_are_unique(system: System) -> None:
    disk = await system.add("vdisk_nullio", "disk")
    assert await refused_existing(system, "disk") == errno.EEXIST
    other = await system.add("vdisk_nullio", "other")
    usn = other.identity.get("usn")
    system.delete("other")
    disk.identity.set("usn", usn)
    assert await refused(system, "vdisk_nullio", "other") == errno.EEXIST


async def refused_existing(system: System, name: str) -> int:
    with pytest.raises(SysfsError) as failure:
        await system.handlers["vcdrom"].add_device(system.scst, name, [])
    return failure.value.errno


async def test_deleting_what_is_not_there(system: System) -> None:
    with pytest.raises(SysfsError) as failure:
        system.delete("none")
    assert failure.value.errno == errno.EINVAL


async def test_a_device_that_is_not_active_needs_no_file(system: System) -> None:
    device = await system.add("vdisk_fileio", "disk", filename="/none", active=0)
    assert device.medium.store is None
    assert device.medium.size == 0

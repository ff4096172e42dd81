"""Block devices that follow the ALUA states of their target groups."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scstfs.handlers.vdisk_handler import VdiskHandler
from scstfs.local import open_session
from tests.support.whole import Whole

DEVICE = "devices/disk"
GROUPS = "device_groups/dg/target_groups"


@pytest.fixture
async def disk(everything: Whole, tmp_path: Path) -> Whole:
    """A device in a device group whose target group tg1 has no target yet."""
    handler = everything.scst.handlers["vdisk_fileio"]
    assert isinstance(handler, VdiskHandler)
    # Files do for all that is tested here, and need no loop devices.
    everything.scst.handlers["vdisk_blockio"] = replace(
        handler, name="vdisk_blockio", is_block=True
    )
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    await everything.write(
        "handlers/vdisk_blockio/mgmt", f"add_device disk filename={tmp_path}/disk\n"
    )
    await everything.write("device_groups/mgmt", "create dg\n")
    await everything.write("device_groups/dg/devices/mgmt", "add disk\n")
    await everything.write(f"{GROUPS}/mgmt", "create tg1\n")
    return everything


@pytest.mark.parametrize("state", ["standby", "unavailable", "offline", "transitioning"])
@pytest.mark.parametrize("back", ["active", "nonoptimized"])
async def test_it_is_closed_while_it_is_not_accessible(disk: Whole, state: str, back: str) -> None:
    await disk.write(f"{GROUPS}/tg1/state", f"{state}\n")
    assert disk.read(f"{DEVICE}/active") == "0\n[key]\n"
    assert await disk.refusal(f"{DEVICE}/resync_size", "1\n") == "EMEDIUMTYPE"
    await disk.write(f"{GROUPS}/tg1/state", f"{back}\n")
    assert disk.read(f"{DEVICE}/active") == "1\n"
    await disk.write(f"{DEVICE}/resync_size", "1\n")


async def test_it_is_opened_when_its_group_is_deleted(disk: Whole) -> None:
    await disk.write(f"{GROUPS}/tg1/state", "offline\n")
    await disk.write("device_groups/mgmt", "del dg\n")
    assert disk.read(f"{DEVICE}/active") == "1\n"


@pytest.mark.logs("cannot be opened again")
async def test_it_stays_closed_if_it_can_not_be_opened(disk: Whole, tmp_path: Path) -> None:
    await disk.write(f"{GROUPS}/tg1/state", "standby\n")
    (tmp_path / "disk").rename(tmp_path / "elsewhere")
    await disk.write(f"{GROUPS}/tg1/state", "active\n")
    assert disk.read(f"{DEVICE}/active") == "0\n[key]\n"


async def test_it_need_not_follow(disk: Whole) -> None:
    await disk.write(f"{DEVICE}/bind_alua_state", "0\n")
    await disk.write(f"{GROUPS}/tg1/state", "standby\n")
    assert disk.read(f"{DEVICE}/active") == "1\n"


async def test_states_of_other_nodes_are_not_its_own(disk: Whole) -> None:
    await disk.write(f"{GROUPS}/tg1/mgmt", "add elsewhere\n")
    await disk.write(f"{GROUPS}/tg1/state", "standby\n")
    assert disk.read(f"{DEVICE}/active") == "1\n"


async def test_sessions_here_count_among_targets_elsewhere(disk: Whole) -> None:
    await disk.write("targets/scst_local/mgmt", "add_target t\n")
    await disk.write("targets/scst_local/t/luns/mgmt", "add disk 0\n")
    for name in ("elsewhere", "t"):
        await disk.write(f"{GROUPS}/tg1/mgmt", f"add {name}\n")
    open_session(disk.local.targets["t"], "me")
    await disk.write(f"{GROUPS}/tg1/state", "standby\n")
    assert disk.read(f"{DEVICE}/active") == "0\n[key]\n"


async def test_initiators_can_have_it_opened(disk: Whole) -> None:
    await disk.write("targets/scst_local/mgmt", "add_target t\n")
    await disk.write("targets/scst_local/t/luns/mgmt", "add disk 0\n")
    await disk.write(f"{GROUPS}/tg1/mgmt", "add t\n")
    await disk.write(f"{GROUPS}/tg1/group_id", "7\n")
    await disk.write(f"{DEVICE}/expl_alua", "1\n")
    session = open_session(disk.local.targets["t"], "me")
    await session.execute(0, bytes(6))
    await disk.write(f"{GROUPS}/tg1/state", "standby\n")
    # SET TARGET PORT GROUPS: group 7 becomes active/optimized.
    cdb = bytes.fromhex("a40a00000000000000080000")
    result = await session.execute(0, cdb, bytes.fromhex("0000000000000007"))
    assert result.status == 0
    assert disk.read(f"{DEVICE}/active") == "1\n"

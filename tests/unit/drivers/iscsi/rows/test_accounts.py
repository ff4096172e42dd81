from __future__ import annotations

import errno

import pytest

from scstfs.sysfs.errors import SysfsError
from tests.support.whole import Whole

DRIVER = "targets/iscsi"
TARGET = f"{DRIVER}/iqn.t"
SECRET = "123456789012"


@pytest.fixture
async def target(everything: Whole) -> Whole:
    """A target and a driver that both know bob; the target has a portal."""
    await everything.add_target()
    await everything.write(f"{DRIVER}/mgmt", f"add_attribute IncomingUser bob {SECRET}\n")
    command = f"add_target_attribute iqn.t IncomingUser bob {SECRET}\n"
    await everything.write(f"{DRIVER}/mgmt", command)
    await everything.write(f"{DRIVER}/mgmt", "add_target_attribute iqn.t allowed_portal 10.*\n")
    return everything


@pytest.mark.parametrize("directory", [DRIVER, TARGET], ids=["driver", "target"])
async def test_a_user_shows_and_can_be_changed(target: Whole, directory: str) -> None:
    user = f"{directory}/IncomingUser"
    assert target.tree.resolve(user).mode == 0o600
    assert target.read(user) == f"bob {SECRET}\n[key]\n\n"
    await target.write(user, f"alice {SECRET}x\n")
    assert target.read(user) == f"alice {SECRET}x\n[key]\n\n"


async def test_numbers_are_reused(target: Whole) -> None:
    for name in ("carol", "dave"):
        command = f"add_target_attribute iqn.t IncomingUser {name} {SECRET}\n"
        await target.write(f"{DRIVER}/mgmt", command)
    users = [name for name in target.names(TARGET) if name.startswith("IncomingUser")]
    assert users == ["IncomingUser", "IncomingUser1", "IncomingUser2"]
    await target.write(f"{DRIVER}/mgmt", "del_target_attribute iqn.t IncomingUser bob\n")
    assert "IncomingUser" not in target.names(TARGET)
    assert target.read(f"{TARGET}/IncomingUser1") == f"carol {SECRET}\n[key]\n\n"
    command = f"add_target_attribute iqn.t IncomingUser erin {SECRET}\n"
    await target.write(f"{DRIVER}/mgmt", command)
    assert target.read(f"{TARGET}/IncomingUser") == f"erin {SECRET}\n[key]\n\n"


async def test_two_users_have_two_names(target: Whole) -> None:
    command = f"add_attribute IncomingUser carol {SECRET}\n"
    await target.write(f"{DRIVER}/mgmt", command)
    user = f"{DRIVER}/IncomingUser1"
    assert await target.refusal(user, f"bob {SECRET}\n") == "EEXIST"
    assert target.read(user) == f"carol {SECRET}\n[key]\n\n"


async def test_a_second_outgoing_user_is_refused_and_leaves_none(target: Whole) -> None:
    add = "add_target_attribute iqn.t OutgoingUser"
    await target.write(f"{DRIVER}/mgmt", f"{add} me {SECRET}\n")
    assert target.read(f"{TARGET}/OutgoingUser") == f"me {SECRET}\n[key]\n\n"
    assert await target.refusal(f"{DRIVER}/mgmt", f"{add} you {SECRET}\n") == "EEXIST"
    node = target.tree.resolve(f"{TARGET}/OutgoingUser")
    with pytest.raises(SysfsError) as caught:
        node.read()
    assert caught.value.errno == errno.EINVAL


async def test_portals(target: Whole) -> None:
    portal = f"{TARGET}/allowed_portal"
    assert target.tree.resolve(portal).mode == 0o644
    assert target.read(portal) == "10.*\n[key]\n\n"
    await target.write(f"{DRIVER}/mgmt", "add_target_attribute iqn.t allowed_portal ::1\n")
    assert target.read(f"{portal}1") == "::1\n[key]\n\n"
    await target.write(portal, "192.*\n")
    assert target.iscsi.targets["iqn.t"].allowed_portals == ["192.*", "::1"]

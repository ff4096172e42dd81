from __future__ import annotations

import pytest

from scstfs.scsi.sense import decode
from tests.support.sessions import open_session
from tests.support.whole import Whole

GROUP = "device_groups/D"
TARGET_GROUP = f"{GROUP}/target_groups/T"


@pytest.fixture
async def groups(everything: Whole) -> Whole:
    """Devices null1 and null2, target iqn.t; group D of null1 with target groups T and U."""
    await everything.add_null("null1", "null2")
    await everything.add_target()
    await everything.write("device_groups/mgmt", "create D\n")
    await everything.write(f"{GROUP}/devices/mgmt", "add null1\n")
    for name in ("T", "U"):
        await everything.write(f"{GROUP}/target_groups/mgmt", f"create {name}\n")
    return everything


@pytest.mark.parametrize(
    ("path", "command", "names"),
    [
        ("device_groups", "create E", ["D", "E"]),
        ("device_groups", "ADD E", ["D", "E"]),
        ("device_groups", "create E\nmore", ["D", "E"]),
        ("device_groups", "del D", []),
        (f"{GROUP}/devices", "add null2", ["null1", "null2"]),
        (f"{GROUP}/devices", "del null1", []),
        (f"{GROUP}/target_groups", "create V", ["T", "U", "V"]),
        (f"{GROUP}/target_groups", "del T", ["U"]),
        (TARGET_GROUP, "add iqn.t", ["iqn.t"]),
        (TARGET_GROUP, "add elsewhere", ["elsewhere"]),
    ],
)
async def test_commands(groups: Whole, path: str, command: str, names: list[str]) -> None:
    fixed = {"mgmt", "group_id", "preferred", "state"}
    await groups.write(f"{path}/mgmt", f"{command}\n")
    assert [name for name in groups.names(path) if name not in fixed] == names


@pytest.mark.parametrize(
    ("path", "command", "refusal"),
    [
        ("device_groups", "", "EINVAL"),
        ("device_groups", "nonsense E", "EINVAL"),
        ("device_groups", "create", "EINVAL"),
        ("device_groups", "create D", "EEXIST"),
        ("device_groups", "create mgmt", "EEXIST"),
        ("device_groups", "create ..", "EINVAL"),
        ("device_groups", "del E", "EINVAL"),
        (f"{GROUP}/devices", "add", "EINVAL"),
        (f"{GROUP}/devices", "add nothing", "EINVAL"),
        (f"{GROUP}/devices", "add null1", "EEXIST"),
        (f"{GROUP}/devices", "del null2", "EINVAL"),
        (f"{GROUP}/target_groups", "create T", "EEXIST"),
        (f"{GROUP}/target_groups", "create mgmt", "EEXIST"),
        (f"{GROUP}/target_groups", "del V", "EINVAL"),
        (TARGET_GROUP, "add state", "EEXIST"),
        (TARGET_GROUP, "add .", "EINVAL"),
        (TARGET_GROUP, "del iqn.t", "EINVAL"),
        (TARGET_GROUP, "nonsense iqn.t", "EINVAL"),
    ],
)
async def test_what_is_refused_changes_nothing(
    groups: Whole, path: str, command: str, refusal: str
) -> None:
    before = [node.path for node in groups.tree.walk()]
    assert await groups.refusal(f"{path}/mgmt", f"{command}\n") == refusal
    assert [node.path for node in groups.tree.walk()] == before


async def test_links_lead_to_devices_and_targets(groups: Whole) -> None:
    await groups.write(f"{TARGET_GROUP}/mgmt", "add iqn.t\n")
    assert groups.link(f"{GROUP}/devices/null1") == "../../../devices/null1"
    assert groups.link(f"{TARGET_GROUP}/iqn.t") == "../../../../targets/iscsi/iqn.t"


async def test_a_device_is_in_one_group_only(groups: Whole) -> None:
    await groups.write("device_groups/mgmt", "create E\n")
    assert await groups.refusal("device_groups/E/devices/mgmt", "add null1\n") == "EEXIST"
    await groups.write("handlers/vdisk_nullio/mgmt", "del_device null1\n")
    assert groups.names(f"{GROUP}/devices") == ["mgmt"]


async def test_a_target_is_in_one_target_group_of_a_device_group(groups: Whole) -> None:
    await groups.write(f"{TARGET_GROUP}/mgmt", "add iqn.t\n")
    other = f"{GROUP}/target_groups/U/mgmt"
    assert await groups.refusal(other, "add iqn.t\n") == "EEXIST"
    # Removal searches all groups.
    await groups.write(other, "del iqn.t\n")
    assert "iqn.t" not in groups.names(TARGET_GROUP)


async def test_targets_elsewhere_have_an_identifier(groups: Whole) -> None:
    await groups.write(f"{TARGET_GROUP}/mgmt", "add elsewhere\n")
    name = f"{TARGET_GROUP}/elsewhere/rel_tgt_id"
    assert groups.read(name) == "0\n[key]\n"
    await groups.write(name, "9\n")
    assert groups.read(name) == "9\n[key]\n"
    for text in ("0\n", "65536\n", "x\n"):
        assert await groups.refusal(name, text) == "EINVAL"
    assert groups.read(name) == "9\n[key]\n"


async def test_a_link_stays_a_link_until_the_target_goes(groups: Whole) -> None:
    await groups.write(f"{TARGET_GROUP}/mgmt", "add iqn.later\n")
    await groups.add_target("iqn.later")
    assert groups.names(f"{TARGET_GROUP}/iqn.later") == ["rel_tgt_id"]
    await groups.write(f"{TARGET_GROUP}/mgmt", "add iqn.t\n")
    await groups.write("targets/iscsi/mgmt", "del_target iqn.t\n")
    assert "iqn.t" not in groups.names(TARGET_GROUP)


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("group_id", "7\n", "7\n[key]\n"),
        # SCST copies seven bytes before it parses.
        ("group_id", "00000079999", "7\n[key]\n"),
        ("preferred", "1\n", "1\n[key]\n"),
        ("preferred", "0\n", "0\n"),
        ("state", "standby\nmore", "standby\n[key]\n"),
        ("state", "nonoptimized", "nonoptimized\n[key]\n"),
        ("state", "offline\n", "offline\n[key]\n"),
        ("state", "transitioning\n", "transitioning\n[key]\n"),
    ],
)
async def test_what_is_written_is_read(groups: Whole, name: str, text: str, shown: str) -> None:
    await groups.check_rows(TARGET_GROUP, [(name, text, shown)])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("group_id", "0\n"),
        ("group_id", "65536\n"),
        ("preferred", "2\n"),
        ("state", "Active\n"),
        ("state", "lba-dependent\n"),
        ("state", "\n"),
    ],
)
async def test_what_can_not_be_written(groups: Whole, name: str, text: str) -> None:
    await groups.check_rows(TARGET_GROUP, [(name, text, "EINVAL")])


async def test_initiators_are_told_of_another_state(groups: Whole) -> None:
    await groups.write(f"{TARGET_GROUP}/mgmt", "add iqn.t\n")
    await groups.write("targets/iscsi/iqn.t/luns/mgmt", "add null1 0\n")
    _, nexus = open_session(groups.iscsi.targets["iqn.t"], "iqn.me")
    await groups.write(f"{TARGET_GROUP}/state", "standby\n")
    conditions = [decode(sense) for _, sense in nexus.events]
    assert [condition and condition.triple for condition in conditions] == [(6, 0x2A, 0x06)]

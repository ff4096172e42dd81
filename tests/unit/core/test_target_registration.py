from __future__ import annotations

from scstfs.core.target_registration import unregister
from tests.support.whole import Whole


async def test_a_target_leaves_device_groups_and_devices(everything: Whole) -> None:
    await everything.add_null("null1")
    directory = await everything.add_target()
    await everything.write(f"{directory}/luns/mgmt", "add null1 0\n")
    await everything.write(f"{directory}/ini_groups/mgmt", "create G\n")
    await everything.write(f"{directory}/ini_groups/G/luns/mgmt", "add null1 1\n")
    await everything.write("device_groups/mgmt", "create D\n")
    await everything.write("device_groups/D/target_groups/mgmt", "create T\n")
    await everything.write("device_groups/D/target_groups/T/mgmt", "add iqn.t\n")
    assert everything.names("devices/null1/exported") == ["export0", "export1", "export2"]
    unregister(everything.scst, everything.iscsi.targets["iqn.t"])
    assert everything.names("devices/null1/exported") == ["export0"]
    assert "iqn.t" not in everything.names("device_groups/D/target_groups/T")

"""Access states of target groups (ALUA) that two nodes have."""

from __future__ import annotations

import struct

from scstfs.core.alua import DeviceGroup, GroupTarget, TargetGroup
from scstfs.scsi.alua import AccessState, StatusCode
from scstfs.tree.device_groups import TARGET_GROUP
from tests.cluster.nodes import Nodes, RunningNode, until
from tests.support.nexuses import pending
from tests.support.target import GOOD

ALUA_CHANGED = (6, 0x2A, 6)
TUR = bytes(6)


def add_groups(node: RunningNode, nodes: Nodes) -> DeviceGroup:
    """Two target groups, one for each node's target."""
    scst = node.system.scst
    group = scst.device_groups["group"] = DeviceGroup(scst, "group")
    group.add(node.disk)
    node.disk.explicit_alua = True
    for number, other in enumerate(nodes, 1):
        target_group = group.target_groups[f"tg{number}"] = TargetGroup(group, f"tg{number}")
        target_group.group_id = number
        local = node.system.target if other is node else None
        target_group.targets[f"target{number}"] = GroupTarget(f"target{number}", local)
    return group


async def shared_groups(nodes: Nodes) -> list[DeviceGroup]:
    groups = [add_groups(node, nodes) for node in nodes]
    await until(
        lambda: (
            all(item.is_open for node in nodes for item in node.cluster._groups.values())
            and all(group.shared is not None for group in groups)
        )
    )
    return groups


def states(groups: list[DeviceGroup]) -> list[list[AccessState]]:
    return [[one.state for one in group.target_groups.values()] for group in groups]


async def test_a_state_that_is_set_in_the_tree_is_set_on_all_nodes(nodes: Nodes) -> None:
    groups = await shared_groups(nodes)
    one, other = nodes[0].initiator("one", 1), nodes[1].initiator("other", 2)
    state = next(entry for entry in TARGET_GROUP.entries if getattr(entry, "name", "") == "state")
    stored = state.store(groups[0].target_groups["tg2"], "nonoptimized")  # type: ignore[attr-defined]
    await stored
    expected = [AccessState.ACTIVE, AccessState.NONOPTIMIZED]
    assert states(groups) == [expected, expected]
    # Only the nexus through that group is told.
    assert pending(one) == []
    assert pending(other) == [ALUA_CHANGED]


async def test_set_target_port_groups_sets_states_on_all_nodes(nodes: Nodes) -> None:
    groups = await shared_groups(nodes)
    one, other = nodes[0].initiator("one", 1), nodes[1].initiator("other", 2)
    data = bytes(4) + struct.pack(">BxHBxH", 2, 1, 0, 2)
    cdb = struct.pack(">BB4xIxx", 0xA4, 0x0A, len(data))
    assert await one.execute(cdb, data) == GOOD
    expected = [AccessState.STANDBY, AccessState.ACTIVE]
    assert states(groups) == [expected, expected]
    codes = {group.target_groups["tg1"].status_code for group in groups}
    assert codes == {StatusCode.SET_TARGET_PORT_GROUPS}
    assert pending(one) == []
    assert pending(other) == []
    assert (await other.execute(TUR)).triple is None
    assert (await one.execute(TUR)).triple == (2, 4, 0x0B)

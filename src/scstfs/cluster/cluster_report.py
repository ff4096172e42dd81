"""What users are told of the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from scstfs.cluster.cluster_config import ClusterConfig

if TYPE_CHECKING:
    from scstfs.cluster.cluster_node import ClusterNode
    from scstfs.cluster.item import SharedItem
    from scstfs.core.alua import DeviceGroup
    from scstfs.core.device import Device


def describe(
    config: ClusterConfig,
    node: ClusterNode | None,
    url: str,
    units: Mapping[Device, SharedItem[Any]],
    groups: Mapping[DeviceGroup, SharedItem[Any]],
) -> list[str]:
    """One line for each fact: what it is about, its name, and ``name=value`` pairs.

    Names and values are quoted as in URLs, so that no blank is in them.
    """
    lines = [f"etcd {url}"]
    if node is None:
        lines.append(f"node {_quoted(config.node)} state=alone")
    else:
        lines.append(_own(config, node))
        for name, member in sorted(node.replica.members.items()):
            formats = ",".join(map(str, member.formats))
            lines.append(f"member {_quoted(name)} release={member.release} formats={formats}")
        for number, port in sorted(node.replica.ports.items()):
            lines.append(f"port {number} node={_quoted(port.node)} target={_quoted(port.target)}")
    lines += [_item("unit", device.name, item, node) for device, item in units.items()]
    lines += [_item("group", group.name, item, node) for group, item in groups.items()]
    return lines


def _own(config: ClusterConfig, node: ClusterNode) -> str:
    if node.lease is not None:
        left = max(node.seconds_left or 0.0, 0.0)
        return f"node {_quoted(config.node)} state=member lease={node.lease:x} left={left:.1f}"
    why = node.problem if node.seconds_left is not None and node.problem else "no lease"
    return f"node {_quoted(config.node)} state=fenced reason={_quoted(why)}"


def _item(kind: str, name: str, item: SharedItem[Any], node: ClusterNode | None) -> str:
    state = "open" if item.is_open else "closed"
    line = f"{kind} {_quoted(name)} id={_quoted(item.name.name)} state={state}"
    if node is None:
        return line
    shared = item.shared
    users = ",".join(map(_quoted, sorted(shared.users)))
    return f"{line} revision={shared.revision} users={users or '-'}"


def _quoted(name: str) -> str:
    return quote(name, safe="/:,.", errors="surrogateescape")

"""Extended attributes with statistics: their JSON, and that they give no secret away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scstfs.core.statistics import Statistics
from scstfs.local import open_session
from scstfs.tree.measurements import note_change
from tests.support.whole import Whole, whole

READ_10 = bytes.fromhex("28000000000000000100")
REGISTER = bytes.fromhex("5f000000000000001800")
RESERVE = bytes.fromhex("5f010300000000001800")
KEY = 0x1234
PATH = "targets/scst_local/local"


def extended(everything: Whole, path: str, name: str = "statistics") -> Any:
    text = everything.tree.resolve(path).extended(name)
    assert text is not None
    return json.loads(text) if name == "statistics" else list(map(json.loads, text.splitlines()))


async def set_up(everything: Whole, tmp_path: Path) -> None:
    await everything.add_file(tmp_path / "disk")
    await everything.write("targets/scst_local/mgmt", "add_target local\n")
    await everything.write(f"{PATH}/luns/mgmt", "add disk 0\n")


async def test_a_session_and_a_device(tmp_path: Path) -> None:
    async with whole(tmp_path / "state") as everything:
        await set_up(everything, tmp_path)
        target = everything.local.targets["local"]
        session = open_session(target, "alice")
        await session.execute(0, bytes(6))
        await session.execute(0, READ_10, data_in=512)
        found = extended(everything, f"{PATH}/sessions/alice")
        assert (found["initiator"], found["group"], found["commands"]) == ("alice", None, 0)
        assert found["counters"]["read"] == [1, 512]
        (lun,) = found["luns"]
        number, device, active, reads, read_ns, writes, write_ns, others, other_ns = lun
        assert (number, device, active, reads, writes, write_ns) == (0, "disk", 0, 1, 0, 0)
        assert others == 1
        assert 0 < read_ns < 10**9
        assert 0 < other_ns < 10**9
        device = extended(everything, "devices/disk")
        total, *buckets = device["times"]["read"]["total"]
        assert total == read_ns
        assert sum(buckets[1::2]) == 1
        assert device["times"] == extended(everything, f"{PATH}/sessions/alice/lun0")["times"]
        assert device["reservation"] is None
        session.close()


async def test_the_target_as_a_whole(tmp_path: Path) -> None:
    async with whole(tmp_path / "state") as everything:
        await set_up(everything, tmp_path)
        found = extended(everything, "")
        assert found["schema"] == 1
        assert set(found["counts"]) == {"logins_refused", "digest_errors", "functions"}
        session = open_session(everything.local.targets["local"], "alice")
        kinds = [event["kind"] for event in extended(everything, "", "events")]
        assert kinds[-1] == "login"
        session.close()


async def test_other_nodes_have_none(tmp_path: Path) -> None:
    async with whole(tmp_path / "state") as everything:
        await set_up(everything, tmp_path)
        tree = everything.tree
        assert tree.resolve("devices").extended("statistics") is None
        assert tree.resolve("devices/disk/type").extended("statistics") is None
        assert tree.resolve("devices/disk").extended("nonsense") is None


async def test_events_of_changes_have_no_secrets(tmp_path: Path) -> None:
    async with whole(tmp_path / "state") as everything:
        statistics = Statistics()
        tree = everything.tree
        await everything.add_target()
        tree.observers.append(lambda node, data: note_change(statistics, node, data))
        mgmt = "targets/iscsi/mgmt"
        await everything.write(mgmt, "add_attribute IncomingUser joe 123456789012\n")
        await everything.write(mgmt, "add_target_attribute iqn.t IncomingUser joe 123456789012\n")
        await everything.write("targets/iscsi/iqn.t/IncomingUser", "bob 999999999999\n")
        await everything.write("threads", "7\n")
        texts = [event["text"] for event in statistics.events.values]
        assert texts == [
            "targets/iscsi/mgmt: add_attribute IncomingUser",
            "targets/iscsi/mgmt: add_target_attribute iqn.t",
            "targets/iscsi/iqn.t/IncomingUser: (not shown)",
            "threads: 7",
        ]
        assert {event["kind"] for event in statistics.events.values} == {"configuration"}


async def test_refused_writes_are_no_events(tmp_path: Path) -> None:
    async with whole(tmp_path / "state") as everything:
        seen: list[bytes] = []
        everything.tree.observers.append(lambda _node, data: seen.append(data))
        assert await everything.refusal("threads", "x") == "EINVAL"
        assert seen == []

from __future__ import annotations

import re

import pytest
import trio

from scstfs import __version__
from scstfs.layout import LAYOUT
from scstfs.local import open_session
from scstfs.sysfs.directory import declared
from tests.support.sessions import open_session as log_in
from tests.support.whole import Whole


async def test_version_tells_scsts_and_ours(everything: Whole) -> None:
    lines = everything.read("version").splitlines()
    assert lines[0] == "SCST version: 3.10.0"
    assert lines[2] == f"SCST build number: scstfs {__version__}"
    assert [line.partition(":")[0] for line in lines] == [
        "SCST version",
        "SCST build date",
        "SCST build number",
        "SCST git commit sha1",
        "SCST kver",
        "SCST arch type",
        "SCST config",
    ]


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("threads", "3\n", "3\n[key]\n"),
        ("threads", "2\n", "2\n"),
        ("setup_id", "0x12\n", "0x12\n[key]\n"),
        ("setup_id", "4294967297\n", "0x1\n[key]\n"),
        ("max_tasklet_cmd", "11\n", "11\n[key]\n"),
        ("max_tasklet_cmd", "10\n", "10\n"),
        ("poll_us", "7\n", "7\n[key]\n"),
        ("force_global_sgv_pool", "5\n", "1\n[key]\n"),
        ("cluster_name", "c\n", "c\n[key]\n"),
        ("cluster_name", "\n", ""),
        ("cluster_name", "a" * 63, "a" * 63 + "\n[key]\n"),
        ("measure_latency", "-3\n", "1\n"),
    ],
)
async def test_what_is_written_is_read(everything: Whole, name: str, text: str, shown: str) -> None:
    await everything.check_rows("", [(name, text, shown)])


@pytest.mark.parametrize(
    ("name", "text", "refusal"),
    [
        ("threads", "0\n", "EINVAL"),
        ("threads", "x\n", "EINVAL"),
        ("threads", "99999999999999999999\n", "ERANGE"),
        ("setup_id", "-1\n", "EINVAL"),
        ("poll_us", "\n", "EINVAL"),
        ("cluster_name", "a" * 64, "EINVAL"),
        ("suspend", "x\n", "EINVAL"),
        ("version", "1\n", "EIO"),
    ],
)
async def test_what_is_refused_changes_nothing(
    everything: Whole, name: str, text: str, refusal: str
) -> None:
    await everything.check_rows("", [(name, text, refusal)])


async def test_the_outcome_of_queued_commands_stays_readable(everything: Whole) -> None:
    assert everything.result == "0"
    await everything.refusal("handlers/vdisk_nullio/mgmt", "add_device a bad=1\n")
    assert everything.result == "-22"
    await everything.refusal("setup_id", "x\n")
    assert everything.result == "-22"
    await everything.add_null("a")
    assert everything.result == "0"


async def test_suspended_execution_counts(everything: Whole) -> None:
    for text, count in (("0", 1), ("5", 2), ("-1", 1), ("-1", 0), ("-1", 0)):
        await everything.write("suspend", text)
        assert everything.read("suspend") == f"{count}\n"


async def test_suspending_waits_for_what_runs(
    everything: Whole, autojump_clock: trio.testing.MockClock
) -> None:
    await everything.add_null("null1")
    tasks = everything.scst.devices["null1"].tasks
    hold = tasks.hold()
    began = trio.current_time()
    assert await everything.refusal("suspend", "7\n") == "EBUSY"
    assert trio.current_time() - began == 7
    assert everything.read("suspend") == "0\n"
    async with everything.background(everything.write, "suspend", "7\n"):
        assert everything.read("suspend") == "1\n"
        tasks.release(hold)
    assert everything.read("suspend") == "1\n"


async def test_commands_wait_while_execution_is_suspended(everything: Whole) -> None:
    await everything.write("targets/scst_local/mgmt", "add_target t\n")
    await everything.add_null("null1")
    await everything.write("targets/scst_local/t/luns/mgmt", "add null1 0\n")
    session = open_session(everything.local.targets["t"], "me")
    await session.execute(0, bytes(6))
    await everything.write("suspend", "1\n")
    ended = trio.Event()

    async def command() -> None:
        await session.execute(0, bytes(6))
        ended.set()

    async with everything.background(command):
        assert not ended.is_set()
        await everything.write("suspend", "-1\n")
    assert ended.is_set()


async def test_latencies_are_measured_on_demand(everything: Whole) -> None:
    await everything.write("targets/scst_local/mgmt", "add_target t\n")
    await everything.add_null("null1")
    await everything.write("targets/scst_local/t/luns/mgmt", "add null1 0\n")
    session = open_session(everything.local.targets["t"], "me")
    file = "targets/scst_local/t/sessions/me/latency/r512"
    heading = "state count min max avg stddev\n"
    read = bytes.fromhex("28000000000000000100")
    await session.execute(0, read)
    await session.execute(0, read)
    assert everything.read(file) == heading
    await everything.write("measure_latency", "1\n")
    assert (await session.execute(0, read)).status == 0
    text = everything.read(file)
    assert text.startswith(heading)
    assert re.search(r"^total 1 - - \d+\.\d 0\.0 us$", text, re.MULTILINE)
    await everything.write(file, "0\n")
    assert everything.read(file) == heading
    await session.execute(0, read)
    await everything.write("measure_latency", "1\n")
    assert everything.read(file) != heading
    await everything.write("measure_latency", "0\n")
    assert everything.read(file) == heading


async def test_nothing_in_the_tree_is_called_twice_or_fails_to_be_read(everything: Whole) -> None:
    await everything.add_null("null1")
    target = await everything.add_target()
    await everything.write(f"{target}/luns/mgmt", "add null1 0\n")
    log_in(everything.iscsi.targets["iqn.t"], "iqn.me")
    await everything.write("targets/scst_local/mgmt", "add_target t session_name=me\n")
    seen = set()
    for node in everything.tree.walk():
        assert node.path not in seen
        seen.add(node.path)
        if node.kind.value == "attribute" and node.mode & 0o444:
            node.read()
    assert f"{target}/sessions/iqn.me/127.0.0.1/cid" in seen


def test_every_declared_row_has_a_release() -> None:
    releases = re.compile(r"2\.[01]|3\.([0-9]|10)")
    for path, entry in declared(LAYOUT.root()):
        since = getattr(entry, "since", None)
        assert since is None or releases.fullmatch(since), path

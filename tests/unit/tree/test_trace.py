from __future__ import annotations

import logging
from pathlib import Path

import pytest

from scstfs.core import execute
from scstfs.core import trace as core_trace
from scstfs.core.command import Command, Phase
from scstfs.core.session import PendingFunction
from scstfs.core.trace import TraceLog
from scstfs.local import open_session
from scstfs.scsi.cdb import decode_unknown
from scstfs.sgutils.t10_names import command_name, sense_text
from scstfs.sysfs.errors import SysfsError
from scstfs.sysfs.mgmt import parse
from scstfs.tree.trace import commands, set_level, show_level
from tests.support.target import target
from tests.support.threads import ManualPool
from tests.support.whole import Whole


def log() -> TraceLog:
    return TraceLog("test", ", order", {"order": 0x80000000})


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        (b"none\n", 0),
        (b"NULL\n", 0),
        (b"all\n", 0xFFFFFFFF),
        (b"default\n", 0x2508),
        (b"value 16\n", 16),
        (b"value 0x20\n", 32),
        (b"value=010\n", 8),
        (b"add scsi\n", 0x3508),
        (b"ADD SCSI\n", 0x3508),
        (b"add order\n", 0x80002508),
        (b"del mgmt\n", 0x2108),
        (b"del scsi\n", 0x2508),
    ],
)
def test_commands(command: bytes, flags: int) -> None:
    it = log()
    set_level(it, parse(command))
    assert it.flags == flags


@pytest.mark.parametrize(
    "command",
    [
        b"\n",
        b"add\n",
        b"add nonsense\n",
        b"del\n",
        b"value\n",
        b"value x\n",
        b"scsi\n",
        b"value 99999999999999999999\n",
        b"add conn\n",
    ],
)
def test_what_is_refused_changes_nothing(command: bytes) -> None:
    it = log()
    with pytest.raises(SysfsError) as caught:
        set_level(it, parse(command))
    assert caught.value.errno == 22
    assert it.flags == core_trace.DEFAULT


def test_the_text_names_what_is_on_and_what_there_is() -> None:
    it = log()
    assert show_level(it).startswith("out_of_mem | pid | special | mgmt\n\n\nUsage:\n")
    assert show_level(it).endswith(
        "[function, line, pid, out_of_mem, special, scsi, mgmt, minor, scsi_serializing, retry, "
        "pr, order]\n"
    )
    it.flags = 0
    assert show_level(it).startswith("\n\n\nUsage:\n")


async def test_tracing_commands_takes_them_off_the_fast_path(everything: Whole) -> None:
    await everything.write("targets/scst_local/mgmt", "add_target t\n")
    await everything.add_null("null1")
    await everything.write("targets/scst_local/t/luns/mgmt", "add null1 0\n")
    session = open_session(everything.local.targets["t"], "me")
    assert (await session.execute(0, bytes(6))).status == 2
    tgt_dev = session.session.tgt_devs[0]
    assert tgt_dev.quick.read is not None
    await everything.write("trace_level", "add scsi\n")
    assert tgt_dev.quick.read is None
    await everything.write("trace_level", "default\n")
    assert tgt_dev.quick.read is not None


async def test_commands_under_way_have_a_line_each(everything: Whole) -> None:
    await everything.write("targets/scst_local/mgmt", "add_target t\n")
    await everything.add_null("null1")
    await everything.write("targets/scst_local/t/luns/mgmt", "add null1 3\n")
    session = open_session(everything.local.targets["t"], "me")
    assert everything.read("trace_cmds") == ""
    await everything.write("devices/null1/block", "1\n")
    async with everything.background(session.execute, 3, bytes(6)):
        line = everything.read("trace_cmds")
        assert line.startswith("cmd 0")
        assert ": state " in line
        assert line.endswith(
            "; op TEST UNIT READY; proc time 0 sec; tgtt scst_local; tgt t; session me; grp t; "
            "LUN 3; ini me; cdb 00 00 00 00 00 00\n"
        )
        await everything.write("devices/null1/block", "0\n")
    assert everything.read("trace_cmds") == ""


async def test_commands_that_only_their_device_knows_are_shown_in_full(tmp_path: Path) -> None:
    async with target(tmp_path) as system:
        await system.add_disk()
        command = system.initiator().prepare(bytes(6))
        command.decoded = decode_unknown(b"\xc1\x02\x03")
        command.cdb = command.decoded.cdb
        line = commands(system.scst)
        assert "; op C1h; " in line
        assert line.endswith(f"; cdb {command.cdb.hex(' ')}\n")
        assert "; cdb c1 02 03 00" in line


async def test_commands_of_a_lun_that_went_have_a_line_while_they_run(everything: Whole) -> None:
    await everything.write("targets/scst_local/mgmt", "add_target t\n")
    await everything.add_null("null1")
    await everything.write("targets/scst_local/t/luns/mgmt", "add null1 3\n")
    session = open_session(everything.local.targets["t"], "me")
    await session.execute(3, bytes(6))
    pool = ManualPool()
    pool.serve(session.session.tgt_devs[3])
    verify = bytes.fromhex("2e000000000000000100")
    async with everything.background(session.execute, 3, verify, bytes(512)):
        assert pool.queued
        removal = everything.background(everything.write, "targets/scst_local/t/luns/mgmt", "clear")
        async with removal:
            assert "; op WRITE AND VERIFY(10); " in everything.read("trace_cmds")
            pool.drain()
    assert everything.read("trace_cmds") == ""


@pytest.mark.parametrize("measured", [0, 1])
async def test_time_counts_from_the_arrival_of_a_command(
    everything: Whole, monkeypatch: pytest.MonkeyPatch, measured: int
) -> None:
    await everything.write("measure_latency", f"{measured}\n")
    await everything.write("targets/scst_local/mgmt", "add_target t\n")
    await everything.add_null("null1")
    await everything.write("targets/scst_local/t/luns/mgmt", "add null1 3\n")
    session = open_session(everything.local.targets["t"], "me")
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    cmd = Command(session.session, bytes((0, 3)) + bytes(6), bytes(6))
    execute.prepare(cmd)
    now += 5
    cmd.enter(Phase.BLOCKED)
    now += 2
    assert "; proc time 7 sec; " in everything.read("trace_cmds")


async def test_task_management_under_way_has_a_line_each(everything: Whole) -> None:
    await everything.write("targets/scst_local/mgmt", "add_target t session_name=me\n")
    session = everything.local.targets["t"].sessions["me"]
    session.pending_functions.append(PendingFunction("LUN_RESET", lun=2, tag=5, waits_for=1))
    line = everything.read("trace_mcmds")
    assert line.startswith("mcmd 0")
    assert line.endswith(
        "state WAITING_AFFECTED_CMDS_DONE; tgtt scst_local; tgt t; session me; fn LUN_RESET; "
        "LUN 2; tag 5; cmd_done_wait_count 1\n"
    )


@pytest.mark.parametrize(
    ("category", "told"),
    [
        ("block", ["device d is blocked from outside", "device d is unblocked from outside"]),
        ("pr", ["me: REGISTER on device d"]),
        (
            "flow_control",
            ["Sending BUSY status to initiator me: more commands than device d takes"],
        ),
        ("minor", []),
    ],
)
async def test_the_core_tells_what_it_is_asked_for(
    everything: Whole, caplog: pytest.LogCaptureFixture, category: str, told: list[str]
) -> None:
    caplog.set_level(logging.INFO, logger="scstfs.trace")
    await everything.write("targets/scst_local/mgmt", "add_target t\n")
    await everything.add_null("d")
    await everything.write("targets/scst_local/t/luns/mgmt", "add d 0\n")
    session = open_session(everything.local.targets["t"], "me")
    await session.execute(0, bytes(6))
    await everything.write("trace_level", "none\n")
    await everything.write("trace_level", f"add {category}\n")
    caplog.clear()
    await everything.write("devices/d/block", "1\n")
    await everything.write("devices/d/block", "0\n")
    register = bytes.fromhex("5f000000000000001800")
    await session.execute(0, register, bytes(8) + (7).to_bytes(8, "big") + bytes(8))
    await everything.write("devices/d/max_tgt_dev_commands", "0\n")
    await session.execute(0, bytes(6))
    assert [line for line in caplog.messages if "max_tgt_dev_commands" not in line] == told


async def test_what_initiators_are_told_is_logged_on_demand(
    everything: Whole, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="scstfs.trace")
    await everything.write("targets/scst_local/mgmt", "add_target t\n")
    await everything.add_null("d")
    await everything.write("targets/scst_local/t/luns/mgmt", "add d 0\n")
    session = open_session(everything.local.targets["t"], "me")
    await everything.write("trace_level", "none\n")
    await everything.write("trace_level", "add scsi\n")
    caplog.clear()
    read = bytes.fromhex("28000000000000000100")
    refused = [(await session.execute(lun, read, data_in=512)).sense for lun in (0, 7)]
    assert [record.message for record in caplog.records] == [
        f"me: {command_name(read, 0)} on d: {sense_text(refused[0])}",
        f"me: {command_name(read, 0x1F)} on LUN 0007000000000000: {sense_text(refused[1])}",
    ]

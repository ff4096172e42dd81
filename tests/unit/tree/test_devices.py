from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from scstfs.local import open_session
from scstfs.persist.reservations import SavedReservations, encode
from scstfs.sysfs.errors import SysfsError
from tests.support.whole import Whole


async def exported(everything: Whole, *devices: str) -> None:
    """Devices that a session of scst_local has as its LUNs 0, 1, ..."""
    await everything.add_null(*devices)
    await everything.write("targets/scst_local/mgmt", "add_target t session_name=me\n")
    for lun, device in enumerate(devices):
        await everything.write("targets/scst_local/t/luns/mgmt", f"add {device} {lun}\n")


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("threads_num", "4\n", "4\n[key]\n"),
        ("threads_num", "1\n", "1\n"),
        ("threads_num", "0\n", "0\n[key]\n"),
        ("threads_pool_type", "shared\n", "shared\n[key]\n"),
        ("threads_pool_type", "SHARED", "shared\n[key]\n"),
        ("threads_pool_type", "s", "shared\n[key]\n"),
        ("threads_pool_type", "per_initiator\n", "per_initiator\n"),
        ("max_tgt_dev_commands", "0\n", "0\n[key]\n"),
        ("max_tgt_dev_commands", "64\n", "64\n"),
        ("numa_node_id", "0\n", "0\n[key]\n"),
        ("numa_node_id", "-1\n", "-1\n"),
    ],
)
async def test_what_is_written_is_read(everything: Whole, name: str, text: str, shown: str) -> None:
    await everything.add_null("null1")
    await everything.check_rows("devices/null1", [(name, text, shown)])


@pytest.mark.parametrize(
    ("name", "text", "refusal"),
    [
        ("threads_num", "-1\n", "EINVAL"),
        ("threads_num", "x\n", "EINVAL"),
        ("threads_pool_type", "other\n", "EINVAL"),
        ("max_tgt_dev_commands", "-1\n", "EINVAL"),
        ("numa_node_id", "-2\n", "EINVAL"),
        ("block", "2\n", "EINVAL"),
        ("block", "x\n", "EINVAL"),
        ("block", "0 0\n", "EINVAL"),
        ("block", "1 0\n", "EINVAL"),
        ("block", "\n", "EINVAL"),
        ("type", "0\n", "EIO"),
    ],
)
async def test_what_is_refused_changes_nothing(
    everything: Whole, name: str, text: str, refusal: str
) -> None:
    await everything.add_null("null1")
    await everything.check_rows("devices/null1", [(name, text, refusal)])


async def test_threads_are_made_anew(everything: Whole) -> None:
    await exported(everything, "null1")
    lun = "targets/scst_local/t/sessions/me/lun0"
    tgt_dev = everything.local.targets["t"].sessions["me"].tgt_devs[0]
    first = tgt_dev.pool
    assert everything.read(f"{lun}/thread_index") == "1\n"
    await everything.write("devices/null1/threads_num", "3\n")
    assert tgt_dev.pool is not first
    assert tgt_dev.pool.size == 3
    await everything.write("devices/null1/threads_pool_type", "shared\n")
    assert everything.read(f"{lun}/thread_index") == "-1\n"
    await everything.write("devices/null1/threads_num", "0\n")
    assert everything.read("devices/null1/threads_pool_type") == "Async\n"
    assert tgt_dev.pool is everything.scst.env.threads


async def test_exports_are_numbered_and_lead_to_luns(everything: Whole) -> None:
    await exported(everything, "null1")
    luns = "targets/scst_local/t/luns"
    await everything.write(f"{luns}/mgmt", "add null1 5\n")
    await everything.write(f"{luns}/mgmt", "del 0\n")
    await everything.write(f"{luns}/mgmt", "add null1 0\n")
    exports = "devices/null1/exported"
    # export0 is the copy manager's.
    assert everything.names(exports) == ["export0", "export2", "export3"]
    assert everything.link(f"{exports}/export2") == f"../../../{luns}/5"
    assert everything.link(f"{exports}/export3") == f"../../../{luns}/0"


# block


async def test_blocking_waits_for_running_commands(everything: Whole) -> None:
    await exported(everything, "null1")
    tasks = everything.scst.devices["null1"].tasks
    hold = tasks.hold()
    async with everything.background(everything.write, "devices/null1/block", "1\n"):
        assert everything.read("devices/null1/block") == "1 1\n"
        tasks.release(hold)
    assert everything.read("devices/null1/block") == "1 0\n"


async def test_blocking_without_waiting(everything: Whole) -> None:
    await exported(everything, "null1")
    tasks = everything.scst.devices["null1"].tasks
    hold = tasks.hold()
    await everything.write("devices/null1/block", "1 1 any text\n")
    assert everything.read("devices/null1/block") == "1 1\n"
    tasks.release(hold)
    assert everything.read("devices/null1/block") == "1 0\n"


async def test_blocking_gives_up(everything: Whole, autojump_clock: trio.testing.MockClock) -> None:
    await exported(everything, "null1")
    everything.scst.devices["null1"].tasks.hold()
    assert await everything.refusal("devices/null1/block", "1\n") == "EBUSY"
    assert everything.read("devices/null1/block") == "0 1\n"


async def test_blocked_devices_take_commands_and_keep_them(everything: Whole) -> None:
    await exported(everything, "null1", "null2")
    session = open_session(everything.local.targets["t"], "me")
    for lun in (0, 1):
        await session.execute(lun, bytes(6))
    await everything.write("devices/null1/block", "1\n")
    await everything.write("devices/null1/block", "1\n")
    ended = []

    async def command(lun: int) -> None:
        await session.execute(lun, bytes(6))
        ended.append(lun)

    await command(1)
    async with everything.background(command, 0):
        await everything.write("devices/null1/block", "0\n")
        await trio.testing.wait_all_tasks_blocked()
        assert ended == [1]
        await everything.write("devices/null1/block", "0\n")
    assert ended == [1, 0]


# Persistent reservations


async def test_reservations_can_be_kept_elsewhere(everything: Whole, tmp_path: Path) -> None:
    # Without the copy manager no session has the device.
    path = tmp_path / "reservations"
    await everything.add_null("null1")
    await everything.write("targets/copy_manager/copy_manager_tgt/luns/mgmt", "clear\n")
    name = "devices/null1/pr_file_name"
    default = everything.read(name)
    assert default == f"{everything.scst.env.state.reservations_path('null1')}\n"
    await everything.write(name, f"{path}\n")
    assert everything.read(name) == f"{path}\n[key]\n"
    await everything.write(name, "\n")
    assert everything.read(name) == default
    # An existing file is accepted, too.
    path.write_bytes(encode(SavedReservations(True, None, ())))
    await everything.write(name, f"{path}\n")
    assert everything.read(name) == f"{path}\n[key]\n"


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("relative\n", "EINVAL"),
        ("/\n", "EINVAL"),
        ("/tmp/\n", "EINVAL"),
        ("/dev/null\n", "EINVAL"),
        ("/nowhere/at/all\n", "ENOENT"),
    ],
)
async def test_where_reservations_can_not_be_kept(
    everything: Whole, text: str, refusal: str
) -> None:
    await everything.add_null("null1")
    await everything.write("targets/copy_manager/copy_manager_tgt/luns/mgmt", "clear\n")
    assert await everything.refusal("devices/null1/pr_file_name", text) == refusal
    assert "[key]" not in everything.read("devices/null1/pr_file_name")


async def test_devices_in_use_keep_their_reservations_where_they_are(
    everything: Whole, tmp_path: Path
) -> None:
    await everything.add_null("null1")
    assert await everything.refusal("devices/null1/pr_file_name", f"{tmp_path}/x\n") == "EBUSY"
    assert everything.result == "-16"
    await everything.write("devices/null1/cluster_mode", "1\n")
    assert await everything.refusal("devices/null1/pr_file_name", f"{tmp_path}/x\n") == "EPERM"
    # Refused before it was queued.
    assert everything.result == "0"


@pytest.mark.parametrize("is_there_before", [False, True])
async def test_a_device_that_gets_into_use_meanwhile_keeps_its_reservations_where_they_are(
    everything: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there_before: bool
) -> None:
    path = tmp_path / "reservations"
    if is_there_before:
        path.write_bytes(encode(SavedReservations(True, None, ())))
    luns = "targets/copy_manager/copy_manager_tgt/luns/mgmt"
    await everything.add_null("null1")
    await everything.write(luns, "clear\n")
    runtime = everything.scst.env.runtime
    run_blocking = runtime.run_blocking

    async def export_afterwards(work: Callable[[], object]) -> object:
        result = await run_blocking(work)
        if not everything.scst.devices["null1"].tgt_devs:
            await everything.write(luns, "add null1 1\n")
        return result

    monkeypatch.setattr(runtime, "run_blocking", export_afterwards)
    assert await everything.refusal("devices/null1/pr_file_name", f"{path}\n") == "EBUSY"
    assert "[key]" not in everything.read("devices/null1/pr_file_name")
    # What was made for this is gone again, and nothing else.
    assert path.exists() == is_there_before


async def test_reservations_go_to_the_log(
    everything: Whole, caplog: pytest.LogCaptureFixture
) -> None:
    await everything.add_null("null1")
    caplog.set_level("INFO")
    await everything.write("devices/null1/dump_prs", "1\n")
    assert "null1" in caplog.text


async def test_files_of_a_deleted_device_are_gone(everything: Whole) -> None:
    await everything.add_null("null1")
    node = everything.tree.resolve("devices/null1/size")
    await everything.write("handlers/vdisk_nullio/mgmt", "del_device null1\n")
    with pytest.raises(SysfsError) as caught:
        node.read()
    assert caught.value.errno == errno.ENODEV
    assert not everything.names("devices")

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.whole import Whole

TARGET = "targets/copy_manager/copy_manager_tgt"
SESSION = f"{TARGET}/sessions/copy_manager_sess"


async def test_every_virtual_device_has_a_lun(everything: Whole) -> None:
    await everything.add_null("null1", "null2")
    assert everything.names(f"{TARGET}/luns") == ["0", "1", "mgmt"]
    assert everything.link(f"{TARGET}/luns/1/device") == "../../../../../devices/null2"
    assert everything.names(f"{SESSION}/lun1") == ["active_commands", "thread_index", "thread_pid"]
    assert everything.link("devices/null1/exported/export0") == f"../../../{TARGET}/luns/0"
    await everything.write("handlers/vdisk_nullio/mgmt", "del_device null1\n")
    assert everything.names(f"{TARGET}/luns") == ["1", "mgmt"]


async def test_groups_and_read_only_luns_are_refused(everything: Whole) -> None:
    await everything.add_null("null1")
    assert await everything.refusal(f"{TARGET}/ini_groups/mgmt", "create G\n") == "EINVAL"
    add = "add null1 9 read_only=1\n"
    assert await everything.refusal(f"{TARGET}/luns/mgmt", add) == "EINVAL"
    replace = "replace null1 0 read_only=1\n"
    assert await everything.refusal(f"{TARGET}/luns/mgmt", replace) == "EINVAL"
    assert everything.names(f"{TARGET}/luns") == ["0", "mgmt"]


@pytest.mark.parametrize("parameter", ["", " read_only=1"])
async def test_a_lun_of_a_read_only_device_can_be_made_again(
    everything: Whole, tmp_path: Path, parameter: str
) -> None:
    (tmp_path / "disk").write_bytes(bytes(512))
    await everything.write(
        "handlers/vdisk_fileio/mgmt", f"add_device disk filename={tmp_path / 'disk'};read_only=1\n"
    )
    await everything.write("handlers/vcdrom/mgmt", "add_device drive\n")
    for lun, name in enumerate(("disk", "drive")):
        assert everything.read(f"{TARGET}/luns/{lun}/read_only") == "1\n[key]\n"
        await everything.write(f"{TARGET}/luns/mgmt", f"del {lun}\n")
        await everything.write(f"{TARGET}/luns/mgmt", f"add {name} {lun}{parameter}\n")
        await everything.write(f"{TARGET}/luns/mgmt", f"replace {name} {lun}{parameter}\n")
        assert everything.read(f"{TARGET}/luns/{lun}/read_only") == "1\n[key]\n"


async def test_the_session_can_not_be_closed_and_there_is_no_mgmt(everything: Whole) -> None:
    assert "force_close" not in everything.names(SESSION)
    assert "mgmt" not in everything.names("targets/copy_manager")


@pytest.mark.parametrize(
    ("path", "text", "shown"),
    [
        ("targets/copy_manager/allow_not_connected_copy", "1\n", "1\n[key]\n"),
        ("targets/copy_manager/allow_not_connected_copy", "0\n", "0\n"),
        (f"{TARGET}/comment", "x\n", "x\n[key]\n"),
    ],
)
async def test_what_is_written_is_read(everything: Whole, path: str, text: str, shown: str) -> None:
    await everything.check_rows("", [(path, text, shown)])


async def test_no_check_of_protection_information_fails(everything: Whole) -> None:
    expected = "\tapp\tref\tguard\ntgt\t0\t0\t0\nscst\t0\t0\t0\ndev\t0\t0\t0\n"
    for directory in (TARGET, SESSION):
        assert everything.read(f"{directory}/dif_checks_failed") == expected
        await everything.write(f"{directory}/dif_checks_failed", "anything\n")


async def test_what_identifies_a_device_is_asked_for(everything: Whole, tmp_path: Path) -> None:
    await everything.add_file(tmp_path / "disk")
    assert everything.read(f"{SESSION}/read_cmd_count") == "1\n"
    assert everything.read(f"{SESSION}/read_io_count_kb") == "4\n"
    await everything.write("devices/disk/t10_dev_id", "x\n")
    assert everything.read(f"{TARGET}/read_cmd_count") == "2\n"

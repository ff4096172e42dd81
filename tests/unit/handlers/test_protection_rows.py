from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.whole import Whole

NULLIO = "handlers/vdisk_nullio/mgmt"
FILEIO = "handlers/vdisk_fileio/mgmt"
ROWS = {"dif_mode", "dif_type", "dif_static_app_tag"}


@pytest.mark.parametrize(
    ("parameters", "mode", "kind", "tag"),
    [
        ("dif_mode=tgt; dif_type=1", "tgt", 1, "0x0\n"),
        ("dif_mode=scst|tgt; dif_type=2", "tgt|scst", 2, "0x0\n"),
        ("DIF_MODE=TGT|; dif_type=3", "tgt", 3, "0x0\n"),
        ("dif_mode=tgt; dif_mode=scst; dif_type=1", "tgt|scst", 1, "0x0\n"),
        ("dif_mode=tgt; dif_type=1; dif_static_app_tag=0x12345", "tgt", 1, "0x2345\n[key]\n"),
        ("dif_mode=tgt; dif_type=2; dif_static_app_tag=5", "tgt", 2, "0x0\n"),
        (
            "dif_mode=tgt; dif_type=3; dif_static_app_tag=0x123456789abcdef",
            "tgt",
            3,
            "0x456789abcdef\n[key]\n",
        ),
    ],
)
async def test_a_device_shows_what_protection_it_was_given(
    everything: Whole, parameters: str, mode: str, kind: int, tag: str
) -> None:
    await everything.add_null("d", parameters=parameters)
    assert everything.read("devices/d/dif_mode") == f"{mode}\n[key]\n"
    assert everything.read("devices/d/dif_type") == f"{kind}\n[key]\n"
    assert everything.read("devices/d/dif_static_app_tag") == tag


@pytest.mark.parametrize(
    "parameters",
    [
        "dif_mode=tgt",
        "dif_type=1",
        "dif_mode=tgt; dif_type=4",
        "dif_mode=tgt; dif_type=0x80000000",
        "dif_mode=dev_check|dev_store; dif_type=1",
        "dif_filename=/x",
    ],
)
async def test_what_does_not_go_together_is_refused(everything: Whole, parameters: str) -> None:
    assert await everything.refusal(NULLIO, f"add_device d {parameters}\n") == "EINVAL"
    assert everything.names("devices") == []


async def test_without_protection_there_is_nothing_to_show(everything: Whole) -> None:
    await everything.add_null("d", parameters="dif_static_app_tag=7")
    assert not ROWS & set(everything.names("devices/d"))


async def test_the_tag_can_be_changed(everything: Whole) -> None:
    await everything.add_null("d", parameters="dif_mode=tgt; dif_type=2")
    await everything.write("devices/d/dif_static_app_tag", "0x12345\n")
    assert everything.read("devices/d/dif_static_app_tag") == "0x2345\n[key]\n"
    assert await everything.refusal("devices/d/dif_static_app_tag", "x\n") == "EINVAL"


async def test_the_file_must_be_there(everything: Whole, tmp_path: Path) -> None:
    await everything.add_file(tmp_path / "tags")
    given = f"filename={tmp_path}/tags; dif_mode=dev_store; dif_type=1"
    # The default is a file in a directory that does not exist.
    assert await everything.refusal(FILEIO, f"add_device d {given}\n") == "ENOENT"
    missing = f"{given}; dif_filename={tmp_path}/missing"
    assert await everything.refusal(FILEIO, f"add_device d {missing}\n") == "ENOENT"
    await everything.write(FILEIO, f"add_device d {missing}; active=0\n")
    assert everything.read("devices/d/dif_filename") == f"{tmp_path}/missing\n[key]\n"
    await everything.write(FILEIO, "del_device d\n")
    await everything.write(FILEIO, f"add_device d {given}; dif_filename={tmp_path}/tags\n")
    assert everything.read("devices/d/dif_filename") == f"{tmp_path}/tags\n[key]\n"


async def test_only_the_copy_manager_can_export_it(everything: Whole) -> None:
    await everything.add_null("d", parameters="dif_mode=tgt; dif_type=1")
    target = await everything.add_target()
    await everything.write("targets/scst_local/mgmt", "add_target t\n")
    for luns in (f"{target}/luns", "targets/scst_local/t/luns"):
        assert await everything.refusal(f"{luns}/mgmt", "add d 0\n") == "EINVAL"
        assert await everything.refusal(f"{luns}/mgmt", "replace d 0\n") == "EINVAL"
        assert everything.names(luns) == ["mgmt"]
    lun = "targets/copy_manager/copy_manager_tgt/sessions/copy_manager_sess/lun0"
    assert everything.read(f"{lun}/dif_checks_failed").startswith("\tapp\tref\tguard\ntgt\t0")
    await everything.write(f"{lun}/dif_checks_failed", "0\n")


async def test_other_luns_have_no_failed_checks(everything: Whole) -> None:
    await everything.add_null("d")
    lun = "targets/copy_manager/copy_manager_tgt/sessions/copy_manager_sess/lun0"
    assert "dif_checks_failed" not in everything.names(lun)

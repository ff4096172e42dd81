"""What shells complete, with names from a tree that is mounted."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from scstfs import cli
from scstfs.admin.scstadmin.options import OPTIONS, Value
from scstfs.admin.status.model import Section
from tests.interop.storage import SCST_TGT, Storage, storage
from tests.support.shells import Shell, shell

pytestmark = pytest.mark.slow

SHELLS: Final = ("bash", "zsh", "fish")

TARGET: Final = "iqn.2005-03.org.example:disk"
OTHER: Final = "iqn.2005-03.org.example:other"
DEVICES: Final = {"disk1", "disk2", "cd"}

HANDLERS: Final = {"vdisk_fileio", "vdisk_blockio", "vdisk_nullio", "vcdrom"}
"""Those that are always there."""

VALUES: Final[Mapping[str, set[str]]] = {
    option: names
    for options, names in (
        ("config check_config write_config", {"a.conf"}),
        ("list_device list_dev_attr set_dev_attr resync_dev device add_dgrp_dev", DEVICES),
        ("close_dev", DEVICES),
        ("list_handler list_hnd_attr set_hnd_attr handler", HANDLERS),
        (
            "list_driver list_drv_attr set_drv_attr add_drv_attr rem_drv_attr driver",
            {"copy_manager", "iscsi", "scst_local"},
        ),
        (
            "list_target list_tgt_attr set_tgt_attr add_tgt_attr rem_tgt_attr rem_target "
            "enable_target disable_target issue_lip target add_tgrp_tgt",
            {"copy_manager_tgt", TARGET, OTHER},
        ),
        ("list_group list_grp_attr set_grp_attr rem_group group to", {"hosts", "guests"}),
        ("list_lun_attr set_lun_attr rem_lun replace_lun", {"0", "1", "2"}),
        (
            "list_init_attr set_init_attr rem_init move_init",
            {"iqn.1993-08.org.debian:01:abc", "iqn.1993-08.org.debian:01:def"},
        ),
        ("list_dgrp list_dgrp_attr set_dgrp_attr rem_dgrp dev_group", {"dgroup"}),
        ("rem_dgrp_dev", {"disk1"}),
        ("list_tgrp list_tgrp_attr set_tgrp_attr rem_tgrp tgt_group", {"tgroup"}),
        ("list_ttgt_attr set_ttgt_attr rem_tgrp_tgt", {TARGET, "far"}),
        # New names; and SCSI devices without a handler, which do not exist here.
        ("add_target add_group add_init add_lun add_dgrp add_tgrp open_dev attributes", set()),
    )
    for option in options.split()
}
"""What each option of scstadmin that takes a value is completed with."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    directory = tmp_path_factory.mktemp("served")
    with storage(directory, mountpoint=SCST_TGT) as served:
        for name in ("disk1", "disk2"):
            served.add_disk(directory / name)
        served.add_device("vcdrom", "cd")
        at = served.add_target(TARGET, "disk1", "disk2", "cd")
        served.add_target(OTHER)
        for group, initiator in (("hosts", "abc"), ("guests", "def")):
            served.write(f"{at}/ini_groups/mgmt", f"create {group}")
            name = f"iqn.1993-08.org.debian:01:{initiator}"
            served.write(f"{at}/ini_groups/{group}/initiators/mgmt", f"add {name}")
        served.write(f"{at}/ini_groups/hosts/luns/mgmt", "add disk2 0")
        served.write("device_groups/mgmt", "create dgroup")
        served.write("device_groups/dgroup/devices/mgmt", "add disk1")
        served.write("device_groups/dgroup/target_groups/mgmt", "create tgroup")
        for target in (TARGET, "far"):
            served.write("device_groups/dgroup/target_groups/tgroup/mgmt", f"add {target}")
        yield served


@pytest.fixture(params=SHELLS)
def completing(request: pytest.FixtureRequest, served: Storage, tmp_path: Path) -> Iterator[Shell]:
    files = tmp_path / "files"
    files.mkdir()
    (files / "a.conf").touch()
    inside = served.running.argv_inside("env", f"--chdir={files}")
    with shell(request.param, inside, tmp_path) as started:
        yield started


def test_options_of_scstadmin(completing: Shell) -> None:
    assert set(completing.offers("scstadmin -")) >= {
        f"-{option.name}" for option in OPTIONS if option.name not in ("h", "help")
    }


def test_values_of_the_options_of_scstadmin(completing: Shell) -> None:
    assert set(VALUES) == {option.name for option in OPTIONS if option.value is not Value.NO}
    for name, expected in VALUES.items():
        found = set(completing.offers(f"scstadmin -{name} "))
        if expected is HANDLERS:
            found &= expected
        if not expected:  # a shell may continue with options
            found = {word for word in found if not word.startswith("-")}
        assert found == expected, name


def test_other_options_say_which_ones_are_meant(completing: Shell) -> None:
    group = f"-driver iscsi -target {TARGET} -group hosts"
    for line, expected in {
        "-driver copy_manager -list_target ": {"copy_manager_tgt"},
        "-driver iscsi -list_target ": {TARGET, OTHER},
        f"-driver iscsi -target {OTHER} -list_group ": set(),
        f"{group} -rem_init ": {"iqn.1993-08.org.debian:01:abc"},
        f"{group} -rem_lun ": {"0"},
        "-handler vcdrom -close_dev ": {"cd"},
        "-dev_group dgroup -tgt_group tgroup -rem_tgrp_tgt ": {TARGET, "far"},
    }.items():
        assert words(completing.offers(f"scstadmin {line}")) == expected, line


def test_a_part_of_a_name(completing: Shell) -> None:
    assert completing.offers("scstadmin -list_target iqn.2005-03.org.example:o") == [OTHER]
    assert completing.offers("scstadmin -list_device disk") == ["disk1", "disk2"]
    assert completing.offers("scstadmin -list_se") == ["-list_sessions"]


def test_attributes(completing: Shell) -> None:
    for line, some, none in (
        ("-set_scst_attr", {"threads", "setup_id"}, {"version", "last_sysfs_mgmt_res"}),
        ("-set_dev_attr disk1", {"threads_num", "usn"}, {"size", "blocksize", "mgmt"}),
        ("-set_drv_attr iscsi", {"enabled", "link_local"}, {"open_state", "mgmt"}),
        (f"-driver iscsi -set_tgt_attr {TARGET}", {"QueuedCommands", "comment"}, {"tid"}),
        (f"-driver iscsi -target {TARGET} -set_grp_attr hosts", {"addr_method"}, {"mgmt"}),
        ("-dev_group dgroup -set_tgrp_attr tgroup", {"state", "preferred"}, {"mgmt"}),
        ("-open_dev new -handler vdisk_fileio", {"filename", "read_only"}, {"size"}),
        (f"-driver iscsi -target {TARGET} -add_lun 7", {"read_only"}, {"mgmt"}),
        ("-add_drv_attr iscsi", {"IncomingUser", "OutgoingUser"}, {"enabled"}),
        (f"-driver iscsi -add_tgt_attr {TARGET}", {"IncomingUser", "allowed_portal"}, {"tid"}),
    ):
        found = {word.rstrip("=") for word in completing.offers(f"scstadmin {line} -attributes ")}
        assert found >= some, line
        assert not found & none, line
    begun = completing.offers("scstadmin -open_dev new -handler vdisk_fileio -attributes file")
    assert [word.rstrip("=") for word in begun] == ["filename"]


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The subcommands of scstfs, each with its words."""

    def below(words: str, parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
        found = {words: parser}
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, child in action.choices.items():
                    found.update(below(f"{words} {name}", child))
        return found

    return below("scstfs", cli.parser())


def words(offered: list[str]) -> set[str]:
    """Without options, which a shell may offer, too."""
    return {word for word in offered if not word.startswith("-")}


def test_commands_of_scstfs(completing: Shell) -> None:
    for line, parser in parsers().items():
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                assert words(completing.offers(f"{line} ")) == set(action.choices), line


def test_options_of_scstfs(completing: Shell) -> None:
    for line, parser in parsers().items():
        options = {name for action in parser._actions for name in action.option_strings}
        found = {word.rstrip("=") for word in completing.offers(f"{line} --")}
        assert found == {name for name in options if name.startswith("--")}, line


def test_values_of_the_options_of_scstfs(completing: Shell) -> None:
    for line, parser in parsers().items():
        for action in parser._actions:
            if action.option_strings and action.choices is not None:
                name = f"{line} {action.option_strings[-1]} "
                assert set(completing.offers(name)) == set(map(str, action.choices)), name


def test_files(completing: Shell) -> None:
    for line, parser in parsers().items():
        if any(action.dest == "file" for action in parser._actions):
            assert words(completing.offers(f"{line} ")) == {"a.conf"}, line
    assert completing.offers("scstfs mount --config a") == ["a.conf"]


def test_sections_of_status(completing: Shell) -> None:
    assert words(completing.offers("scstfs status ")) == {section.value for section in Section}

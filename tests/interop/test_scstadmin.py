"""scstadmin does with this tree what it does with the kernel's: SCST's program, and ours."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.interop.scstadmin import PROGRAMS, Scstadmin, scstadmin

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

_NO_IB_SRPT: Final = "asks for the InfiniBand driver ib_srpt"
_MODULES: Final = "wants the pass-through handlers' modules not to be loaded"
_PARAMETERS: Final = "lists other parameters than the kernel modules of the same version do"

SUITE: Final = {
    "02": (15, {}),
    "03": (177, {}),
    "04": (62, {}),
    "05": (55, {}),
    "06": (6, dict.fromkeys((1, 3), _NO_IB_SRPT)),
    "07": (
        59,
        {
            **dict.fromkeys((35, 36), _MODULES),
            **dict.fromkeys((40, 50), _NO_IB_SRPT),
            **dict.fromkeys((45, 46, 47), _PARAMETERS),
        },
    ),
    "08": (24, {}),
    "09": (43, {1: _NO_IB_SRPT}),
}
"""Its own tests: how many checks each has, and those that fail with the reason."""


@pytest.fixture(params=PROGRAMS)
def admin(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scstadmin]:
    with scstadmin(tmp_path, request.param) as admin:
        yield admin


def test_its_own_tests(admin: Scstadmin) -> None:
    # One after the other without a restart: some count on what earlier ones left.
    for name, (checks, failures) in SUITE.items():
        planned, failed, output = admin.test(name)
        assert (planned, failed) == (checks, set(failures)), output


CONFIGURATION: Final = """
max_tasklet_cmd 11
setup_id 0x1234

HANDLER vdisk_fileio {{
	DEVICE disk1 {{
		filename {file}
		blocksize 4096
		nv_cache 1
		t10_dev_id 0x2345
		usn 12345678
	}}

	DEVICE disk2 {{
		filename {file}
		thin_provisioned 1
		prod_id "a disk"
		threads_num 3
	}}
}}

HANDLER vdisk_nullio {{
	DEVICE null {{
		size 10485760
	}}
}}

TARGET_DRIVER iscsi {{
	IncomingUser "joe 12charsecret"
	IncomingUser "jim 12charsecret"
	enabled 1

	TARGET iqn.2006-10.net.vlnb:tgt {{
		IncomingUser "joe 12charsecret"
		OutgoingUser "out 12charsecre2"
		HeaderDigest None,CRC32C
		allowed_portal 127.0.0.1
		allowed_portal ::1
		MaxBurstLength 524288
		enabled 1
		rel_tgt_id 7

		LUN 0 disk1
		LUN 1 disk2 {{
			read_only 1
		}}

		GROUP special {{
			LUN 0 disk2
			LUN 5 null

			INITIATOR iqn.*:special

			INITIATOR !iqn.1999-01.org.example:no
		}}
	}}
}}

DEVICE_GROUP dg {{
	DEVICE disk1

	TARGET_GROUP tg1 {{
		group_id 1
		preferred 1
		state active

		TARGET iqn.2006-10.net.vlnb:tgt
	}}

	TARGET_GROUP tg2 {{
		group_id 2
		state nonoptimized

		TARGET elsewhere {{
			rel_tgt_id 8
		}}
	}}
}}
"""
"""Without scst_local: scstadmin wants to disable its targets, which cannot be disabled in SCST."""


def comparable(configuration: str) -> str:
    """Without the date, and without the copy manager's LUNs, whose numbers keep counting."""
    dated = r"^# Automatically generated.*\n|^TARGET_DRIVER copy_manager \{\n(.*\n)*?\}\n"
    return re.sub(dated, "", configuration, flags=re.MULTILINE)


def test_a_configuration_comes_back(admin: Scstadmin, tmp_path: Path) -> None:
    disk, given = tmp_path / "disk", tmp_path / "given.conf"
    disk.write_bytes(bytes(1 << 20))
    given.write_text(CONFIGURATION.format(file=disk))
    saved = [tmp_path / f"{name}.conf" for name in ("first", "cleared", "second")]
    admin("-check_config", str(given))
    admin("-config", str(given))
    admin("-write_config", str(saved[0]))
    admin("-clear_config", "-force")
    assert (
        admin.served.running.sh("ls -d devices/* targets/iscsi/iqn* device_groups/dg").stdout == ""
    )
    admin("-write_config", str(saved[1]))
    admin("-check_config", str(saved[0]))
    admin("-config", str(saved[0]))
    admin("-write_config", str(saved[2]))
    first, cleared, second = (comparable(path.read_text()) for path in saved)
    assert first == second
    for line in ("DEVICE disk2", "LUN 1 disk2", "INITIATOR iqn.*:special", "state nonoptimized"):
        assert line in first
        assert line not in cleared
    words = {line.strip() for line in CONFIGURATION.format(file=disk).splitlines()}
    assert words - {line.strip() for line in first.splitlines()} == set()


def test_read_only_luns_of_the_copy_manager_come_back(admin: Scstadmin, tmp_path: Path) -> None:
    disk, saved = tmp_path / "disk", tmp_path / "saved.conf"
    disk.write_bytes(bytes(1 << 20))
    admin.served.add_device("vcdrom", "empty")
    admin.served.add_device("vcdrom", "full")
    admin.served.write("devices/full/filename", str(disk))
    admin.served.add_disk(disk, "read_only=1")
    admin.served.add_device("vdisk_nullio", "null")
    admin("-write_config", str(saved))
    assert saved.read_text().count("read_only 1") == 4
    admin("-clear_config", "-force")
    admin("-config", str(saved))
    luns = "targets/copy_manager/copy_manager_tgt/luns"
    assert [admin.served.read(f"{luns}/{lun}/read_only") for lun in range(4)] == list("1110")


TARGET: Final = "iqn.2006-10.net.vlnb:tgt"
OPERATIONS: Final = (
    "-open_dev d1 -handler vdisk_nullio -attributes size_mb=10",
    "-open_dev d2 -handler vdisk_nullio -attributes blocksize=4096",
    "-set_dev_attr d1 -attributes t10_dev_id=0x2345",
    "-resync_dev d1",
    "-set_scst_attr -attributes setup_id=0x77",
    "-set_hnd_attr vdisk_nullio -attributes trace_level=none",
    "-add_target T -driver iscsi",
    "-set_tgt_attr T -driver iscsi -attributes MaxBurstLength=524288",
    "-add_tgt_attr T -driver iscsi -attributes 'IncomingUser=joe 12charsecret'",
    "-add_drv_attr iscsi -attributes 'IncomingUser=jim 12charsecret'",
    "-set_drv_attr iscsi -attributes enabled=1",
    "-add_lun 0 -driver iscsi -target T -device d1",
    "-add_lun 1 -driver iscsi -target T -device d1 -attributes read_only=1",
    "-replace_lun 1 -driver iscsi -target T -device d2 -attributes read_only=1",
    "-add_group g -driver iscsi -target T",
    "-add_group h -driver iscsi -target T",
    "-set_grp_attr g -driver iscsi -target T -attributes io_grouping_type=never",
    "-add_init iqn.x:a -driver iscsi -target T -group g",
    "-add_init iqn.x:b -driver iscsi -target T -group g",
    "-move_init iqn.x:a -driver iscsi -target T -group g -to h",
    "-add_lun 0 -driver iscsi -target T -group g -device d2",
    "-enable_target T -driver iscsi",
    "-add_dgrp dg",
    "-add_dgrp_dev d1 -dev_group dg",
    "-add_tgrp tg -dev_group dg",
    "-add_tgrp_tgt T -dev_group dg -tgt_group tg",
    "-add_tgrp_tgt elsewhere -dev_group dg -tgt_group tg",
    "-set_tgrp_attr tg -dev_group dg -attributes group_id=12",
    "-set_ttgt_attr elsewhere -dev_group dg -tgt_group tg -attributes rel_tgt_id=99",
)
"""In this order; T stands for the name of the target."""

ENTRIES: Final = {
    "setup_id": "0x77",
    "devices/d1/t10_dev_id": "0x2345",
    "devices/d2/blocksize": "4096",
    "targets/iscsi/enabled": "1",
    "targets/iscsi/IncomingUser": "jim 12charsecret",
    f"targets/iscsi/{TARGET}/enabled": "1",
    f"targets/iscsi/{TARGET}/IncomingUser": "joe 12charsecret",
    f"targets/iscsi/{TARGET}/MaxBurstLength": "524288",
    f"targets/iscsi/{TARGET}/luns/0/read_only": "0",
    f"targets/iscsi/{TARGET}/luns/1/device/blocksize": "4096",
    f"targets/iscsi/{TARGET}/luns/1/read_only": "1",
    f"targets/iscsi/{TARGET}/ini_groups/g/io_grouping_type": "never",
    f"targets/iscsi/{TARGET}/ini_groups/g/initiators/iqn.x:b": "iqn.x:b",
    f"targets/iscsi/{TARGET}/ini_groups/g/luns/0/device/blocksize": "4096",
    f"targets/iscsi/{TARGET}/ini_groups/h/initiators/iqn.x:a": "iqn.x:a",
    "device_groups/dg/devices/d1/t10_dev_id": "0x2345",
    "device_groups/dg/target_groups/tg/group_id": "12",
    f"device_groups/dg/target_groups/tg/{TARGET}/enabled": "1",
    "device_groups/dg/target_groups/tg/elsewhere/rel_tgt_id": "99",
}
"""The first lines of entries after all that."""

LISTS: Final = {
    "-list_handler vdisk_nullio": "d1",
    "-list_device d1": "10485760",
    "-list_dgrp dg": "tg",
    "-list_tgrp tg -dev_group dg": TARGET,
    "-list_driver iscsi": TARGET,
    "-list_target T -driver iscsi": "g",
    "-list_group g -driver iscsi -target T": "iqn.x:b",
    "-list_scst_attr": "setup_id",
    "-list_hnd_attr vdisk_nullio": "size_mb",
    "-list_dev_attr d1": "t10_dev_id",
    "-list_dgrp_attr dg": "dg",
    "-list_tgrp_attr tg -dev_group dg": "group_id",
    "-list_ttgt_attr elsewhere -dev_group dg -tgt_group tg": "rel_tgt_id",
    "-list_tgt_attr T -driver iscsi": "MaxBurstLength",
    "-list_lun_attr 1 -driver iscsi -target T": "read_only",
    "-list_sessions": "copy_manager_sess",
}
"""Lists, and their expected contents."""

REMOVALS: Final = (
    "-disable_target T -driver iscsi",
    "-clear_inits -driver iscsi -target T -group g",
    "-rem_init iqn.x:a -driver iscsi -target T -group h",
    "-clear_luns -driver iscsi -target T -group g",
    "-rem_lun 1 -driver iscsi -target T",
    "-rem_group g -driver iscsi -target T",
    "-rem_tgt_attr T -driver iscsi -attributes 'IncomingUser=joe 12charsecret'",
    "-rem_drv_attr iscsi -attributes 'IncomingUser=jim 12charsecret'",
    "-rem_tgrp_tgt elsewhere -dev_group dg -tgt_group tg",
    "-rem_tgrp_tgt T -dev_group dg -tgt_group tg",
    "-rem_tgrp tg -dev_group dg",
    "-rem_dgrp_dev d1 -dev_group dg",
    "-rem_dgrp dg",
    "-rem_target T -driver iscsi",
    "-close_dev d1 -handler vdisk_nullio",
    "-close_dev d2 -handler vdisk_nullio",
)


def test_its_operations(admin: Scstadmin) -> None:
    def do(line: str) -> str:
        return admin(*(TARGET if word == "T" else word for word in shlex.split(line)))

    def entries() -> set[str]:
        listed = admin.served.running.sh("find -path ./sgv -prune -o -print").stdout
        return set(listed.splitlines())

    before = entries()
    for line in OPERATIONS:
        do(line)
    assert {path: admin.served.read(path) for path in ENTRIES} == ENTRIES
    for line, found in LISTS.items():
        assert found in do(line), line
    for line in REMOVALS:
        do(line)
    assert entries() == before

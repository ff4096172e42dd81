"""Command lines of programs that call scstadmin, and what these programs look for in its output."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.support.admin import Admin, administered
from tests.support.configurations import backing_files

pytestmark = pytest.mark.slow

TARGET: Final = "iqn.2010-10.org.openstack:volumes"
INITIATOR: Final = "iqn.1993-08.org.debian:01:604af6a341"


def run(admin: Admin, *options: str, answer: str = "") -> str:
    done = admin.scstadmin(*options, answer=answer)
    assert done.returncode == 0, f"{options}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_openstack_cinder(tmp_path: Path) -> None:
    """Its SCST driver: a target with CHAP, a group for each initiator, a device for each volume."""
    backing_files(tmp_path)
    group = f"{INITIATOR}{TARGET}"
    place = ("-driver", "iscsi", "-target", TARGET)
    with administered(tmp_path) as admin:
        run(admin, "-noprompt", "-set_drv_attr", "iscsi", "-attributes", "enabled=1")
        assert TARGET not in run(admin, "-list_target")
        run(admin, "-add_target", TARGET, "-driver", "iscsi")
        run(admin, "-enable_target", TARGET, "-driver", "iscsi")
        user = "IncomingUser=cinder 12charsecret"
        run(
            *(admin, "-noprompt", "-set_tgt_attr", TARGET, "-driver", "iscsi"),
            *("-attributes", user),
        )
        assert group not in run(admin, "-list_group")
        run(admin, "-add_group", group, *place)
        run(admin, "-add_init", INITIATOR, *place, "-group", group)

        # The number of the target, and its initiators: columns of a table.
        assert TARGET in run(admin, "-list_target")
        table = run(admin, "-list_tgt_attr", TARGET, "-driver", "iscsi")
        row = next(line for line in table.splitlines() if "rel_tgt_id" in line)
        assert row.split()[1] == "1"
        inside = table[table.index("KEY") + 3 : table.index("Dynamic attributes")]
        assert inside.split("\n")[2].split()[:3] == ["IncomingUser", "cinder", "12charsecret"]

        for lun in ("1", "2"):
            device = f"{lun}volume"
            file = f"filename={tmp_path}/disk{lun}"
            run(admin, "-open_dev", device, "-handler", "vdisk_fileio", "-attributes", file)
            run(admin, "-add_lun", lun, *place, "-device", device, "-group", group)
        listed = run(admin, "-list_group", group, *place)
        start = listed.index("Assigned LUNs:") + len("Assigned LUNs:")
        rows = listed[start : listed.index("Assigned Initiators:", start)].strip().split("\n")[2:]
        assert [int(row.strip().split(" ")[0]) for row in rows] == [1, 2]
        saved = tmp_path / "scst.conf"
        run(admin, "-write_config", str(saved))
        assert f"GROUP {group} {{" in saved.read_text()

        run(admin, "-noprompt", "-rem_lun", "1", *place, "-group", group)
        run(admin, "-noprompt", "-close_dev", "1volume", "-handler", "vdisk_fileio")
        run(admin, "-noprompt", "-rem_init", INITIATOR, *place, "-group", group)
        run(admin, "-noprompt", "-rem_target", TARGET, "-driver", "iscsi")
        run(admin, "-noprompt", "-close_dev", "2volume", "-handler", "vdisk_fileio")
        assert TARGET not in run(admin, "-list_target")


def test_clusterlabs_logical_unit(tmp_path: Path) -> None:
    """The resource agent iSCSILogicalUnit: -force and -noprompt with everything."""
    backing_files(tmp_path)
    with administered(tmp_path) as admin:
        admin.served.write("targets/iscsi/mgmt", f"add_target {TARGET}")
        place = ("-driver", "iscsi", "-target", TARGET)
        attributes = f"filename={tmp_path}/disk0,nv_cache=0,write_through=1"
        run(admin, "-open_dev", "lu0", "-handler", "vdisk_fileio", "-attributes", attributes)
        for attribute in ("usn=1f2e3d4c", "t10_vend_id=LIO-ORG", "t10_dev_id=lu0"):
            run(
                *(admin, "-set_dev_attr", "lu0", "-attributes", attribute),
                *("-force", "-noprompt"),
            )
        run(admin, "-add_lun", "0", *place, "-device", "lu0", "-force", "-noprompt")
        assert admin.served.read("devices/lu0/usn") == "1f2e3d4c"
        assert admin.served.read(f"targets/iscsi/{TARGET}/luns/0/device/t10_dev_id") == "lu0"
        run(admin, "-rem_lun", "0", *place, "-force", "-noprompt")
        run(admin, "-close_dev", "lu0", "-handler", "vdisk_fileio", "-force", "-noprompt")
        assert not (admin.served.running.path / "devices" / "lu0").exists()


ALUA: Final = f"""
HANDLER vdisk_fileio {{
    DEVICE lu0 {{
        filename @/disk0
    }}
}}
TARGET_DRIVER iscsi {{
    enabled 1
    TARGET {TARGET} {{
        LUN 0 lu0
        GROUP redirect
        enabled 1
    }}
}}
DEVICE_GROUP esos {{
    DEVICE lu0
    TARGET_GROUP local {{
        group_id 1
        TARGET {TARGET}
    }}
    TARGET_GROUP remote {{
        group_id 2
        TARGET elsewhere {{
            rel_tgt_id 2
        }}
    }}
}}
"""


def test_cluster_agents_of_esos(tmp_path: Path) -> None:
    """Start with the file and a LIP; promote and demote by ALUA states; LUNs of a redirection."""
    backing_files(tmp_path)
    config = tmp_path / "scst.conf"
    config.write_text(ALUA.replace("@/", f"{tmp_path}/"))
    place = ("-driver", "iscsi", "-target", TARGET, "-group", "redirect")
    with administered(tmp_path) as admin:
        run(admin, "-config", str(config), "-lip")
        groups = "device_groups/esos/target_groups"
        for local, remote in (("nonoptimized", "active"), ("active", "nonoptimized")):
            for name, state in (("local", local), ("remote", remote)):
                run(
                    *(admin, "-noprompt", "-set_tgrp_attr", name, "-dev_group", "esos"),
                    *("-attributes", f"state={state}"),
                )
                assert admin.served.read(f"{groups}/{name}/state") == state
        run(admin, "-issue_lip")
        asked = run(admin, "-add_lun", "1", *place, "-device", "lu0", answer="")
        assert "device 'lu0'" in asked
        assert (
            admin.served.read(f"targets/iscsi/{TARGET}/ini_groups/redirect/luns/1/read_only") == "0"
        )
        run(admin, "-noprompt", "-rem_lun", "1", *place)
        assert admin.config("diff", str(config)).stdout == "nothing to do\n"


def test_shell_scripts_answer_and_cut_options_short(tmp_path: Path) -> None:
    backing_files(tmp_path)
    place = ("-driver", "iscsi", "-target", TARGET)
    with administered(tmp_path) as admin:
        run(admin, "-add_target", TARGET, "-driver", "iscsi")
        run(admin, "-add_group", "ESX", *place)
        file = f"filename={tmp_path}/disk0"
        run(admin, "-open_dev", "disk-1f2e", "-handler", "vdisk_fileio", "-attributes", file)
        run(admin, "-add_lun", "0", *place, "-device", "disk-1f2e")
        run(admin, "-add_init", "iqn.2015:vcenter*", *place, "-group", "ESX")
        portal = ("-attributes", "allowed_portal=10.10.10.184")
        asked = run(
            *(admin, "-set_tgt_attr", TARGET, "-driver", "iscsi", *portal), answer="y\n" * 9
        )
        assert "are you sure" in asked
        listed = run(admin, "-list_target", TARGET, "-driver", "iscsi")
        assert "\t0    disk-1f2e\n" in listed
        assert "no sessions" in run(admin, "-list_sessions")
        run(admin, "-clear_init", *place, "-group", "ESX", answer="y\n")
        run(admin, "-rem_target", TARGET, "-driver", "iscsi", answer="y\n")
        run(admin, "-close_dev", "disk-1f2e", "-handler", "vdisk_fileio", answer="yes\n")
        assert "disk-1f2e" not in run(admin, "-list_device")


@pytest.mark.parametrize("option", ["-enable_target", "-disable_target"])
def test_a_target_without_its_driver_is_told(option: str, tmp_path: Path) -> None:
    """With the message and exit status of SCST's program."""
    with administered(tmp_path) as admin:
        told = run(admin, option, TARGET, "-noprompt")
    assert "WARNING: Received the following error:\n\n\tToo few arguments\n" in told

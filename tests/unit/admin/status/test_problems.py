from __future__ import annotations

from dataclasses import replace

import pytest

from scstfs.admin.status.model import (
    ClusterFact,
    ConnectionStatus,
    Core,
    DeviceGroupStatus,
    DeviceStatus,
    Driver,
    FileState,
    Group,
    GroupTargetStatus,
    Lun,
    Overview,
    SessionStatus,
    TargetGroupStatus,
    TargetStatus,
)
from scstfs.admin.status.problems import CODES, find

DISK = DeviceStatus(
    name="disk",
    handler="vdisk_fileio",
    type="0",
    size=1 << 20,
    block_size=512,
    read_only=False,
    active=True,
    file="/disk",
    file_state=FileState.PRESENT,
    blocked=0,
    reservations_file=None,
    reservations_saved=None,
    scsi_device=None,
)
LUNS = (Lun(0, "disk", False),)
GROUP = Group("group", ("iqn.*",), LUNS, 0)
TARGET = TargetStatus("iscsi", "tgt", True, 1, 1, LUNS, (GROUP,), 0)
SESSION = SessionStatus(
    "iscsi", "tgt", "ini", "ini", None, (0,), 0, (ConnectionStatus("::1", None),)
)
DRIVER = Driver("iscsi", True, "open")
HERE = GroupTargetStatus("iscsi", "tgt", None)
TARGETS = TargetGroupStatus("tg", 1, "active", False, (HERE,))
HEALTHY = Overview(
    "/tree",
    Core("3.10.0", None, 0, False),
    (DRIVER, Driver("copy_manager", None, None)),
    (TARGET, TargetStatus("copy_manager", "copy_manager_tgt", None, 0, 1, (), (), 0)),
    (SESSION,),
    (DISK,),
    (DeviceGroupStatus("dg", ("disk",), (TARGETS,)),),
)


def test_nothing_is_found_where_all_is_well() -> None:
    assert find(HEALTHY) == ()
    assert find(Overview("/tree", HEALTHY.core)) == ()


def with_target(target: TargetStatus) -> Overview:
    return replace(HEALTHY, targets=(target,))


def with_group(group: Group) -> Overview:
    return with_target(replace(TARGET, groups=(group,)))


def with_device(device: DeviceStatus) -> Overview:
    return replace(HEALTHY, devices=(device,))


def with_state(state: str) -> Overview:
    groups = (replace(TARGETS, state=state),)
    return replace(HEALTHY, device_groups=(DeviceGroupStatus("dg", ("disk",), groups),))


AT = "targets/iscsi/tgt"
CASES = [
    ("suspended", "suspend", replace(HEALTHY, core=Core("3.10.0", None, 2, False))),
    (
        "driver_closed",
        "targets/iscsi",
        replace(HEALTHY, drivers=(Driver("iscsi", True, "closed"),)),
    ),
    (
        "driver_disabled",
        "targets/iscsi",
        replace(HEALTHY, drivers=(replace(DRIVER, enabled=False),)),
    ),
    ("target_disabled", AT, with_target(replace(TARGET, enabled=False))),
    ("no_luns", AT, with_target(replace(TARGET, luns=(), groups=()))),
    ("no_luns", f"{AT}/ini_groups/group", with_group(replace(GROUP, luns=()))),
    ("no_lun_0", f"{AT}/luns", with_target(replace(TARGET, luns=(Lun(1, "disk", False),)))),
    (
        "no_lun_0",
        f"{AT}/ini_groups/group/luns",
        with_group(replace(GROUP, luns=(Lun(9, "disk", True),))),
    ),
    ("black_hole", AT, with_target(replace(TARGET, black_hole=1))),
    ("black_hole", f"{AT}/ini_groups/group", with_group(replace(GROUP, black_hole=3))),
    ("session_without_luns", f"{AT}/sessions/ini", with_target(replace(TARGET, luns=()))),
    ("device_inactive", "devices/disk", with_device(replace(DISK, active=False))),
    ("device_blocked", "devices/disk", with_device(replace(DISK, blocked=1))),
    ("file_missing", "devices/disk", with_device(replace(DISK, file_state=FileState.MISSING))),
    ("file_silent", "devices/disk", with_device(replace(DISK, file_state=FileState.SILENT))),
    ("no_handler", "devices/disk", with_device(replace(DISK, handler=None))),
    *(
        ("no_access", "device_groups/dg/target_groups/tg", with_state(state))
        for state in ("standby", "unavailable", "offline", "transitioning")
    ),
    (
        "fenced",
        "cluster_status",
        replace(HEALTHY, cluster=(ClusterFact("node", "a", {"state": "fenced"}),)),
    ),
]


@pytest.mark.parametrize(("code", "path", "status"), CASES, ids=[case[0] for case in CASES])
def test_what_needs_attention(code: str, path: str, status: Overview) -> None:
    (problem,) = find(status)
    assert (problem.code, problem.path) == (code, path)
    assert problem.message


def test_every_code_has_a_case() -> None:
    assert {code for code, _path, _status in CASES} == set(CODES)


def test_what_is_not_wrong() -> None:
    assert not find(with_state("nonoptimized"))
    elsewhere = replace(TARGETS, state="offline", targets=(GroupTargetStatus(None, "far", 7),))
    assert not find(
        replace(HEALTHY, device_groups=(DeviceGroupStatus("dg", ("disk",), (elsewhere,)),))
    )
    unused = replace(DISK, name="0:0:0:0", handler=None)
    assert not find(replace(HEALTHY, devices=(DISK, unused)))
    assert not find(replace(HEALTHY, drivers=(Driver("iscsi", False, "open"),), targets=()))

"""What is made of the trees of the kernel's SCST, as they were recorded."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from scstfs.admin.display import show
from scstfs.admin.files import Files
from scstfs.admin.mistakes import Mistake, MistakeKind
from scstfs.admin.status.model import (
    ALL,
    ConnectionStatus,
    GroupTargetStatus,
    Lun,
    Overview,
    Section,
    SessionStatus,
)
from scstfs.admin.status.status_text import render
from scstfs.admin.status.survey import survey
from tests.support.recorded_tree import recorded_tree
from tests.support.recordings import load

ROOT = {"version", "suspend", "measure_latency"}
TARGET = "iqn.2006-10.net.vlnb:tgt1"


def recorded(name: str, dumps: int, directory: Path) -> Overview:
    return survey(Files(str(recorded_tree(name, dumps, directory))))


@pytest.mark.parametrize(
    ("dumps", "initiator", "group", "luns"),
    [
        (2, "iqn.2020-01.test:plain", None, (0,)),
        (6, "iqn.2020-01.test:plain", "G2", (0,)),
        (7, "iqn.2020-01.test:special", "G", (0, 3)),
    ],
)
def test_sessions_of_a_real_initiator(
    dumps: int, initiator: str, group: str | None, luns: tuple[int, ...], tmp_path: Path
) -> None:
    status = recorded("10_sessions", dumps, tmp_path)
    connections = (ConnectionStatus("127.0.0.1", "127.0.0.1"),)
    assert [session for session in status.sessions or () if session.driver == "iscsi"] == [
        SessionStatus("iscsi", TARGET, initiator, initiator, group, luns, 0, connections)
    ]


def test_targets_and_devices(tmp_path: Path) -> None:
    status = recorded("10_sessions", 2, tmp_path)
    assert (status.core.version, status.core.build) == ("3.10.0", None)
    (target,) = [t for t in status.targets or () if t.driver == "iscsi"]
    assert (target.name, target.enabled, target.rel_tgt_id, target.sessions) == (TARGET, True, 1, 1)
    assert target.luns == (Lun(0, "disk1", False),)
    (group,) = target.groups
    assert (group.name, group.initiators) == ("G", ("iqn.*:special",))
    assert group.luns == (Lun(0, "null1", False), Lun(3, "disk1", True))
    devices = {device.name: device for device in status.devices or ()}
    assert devices["disk1"].size == 64 << 20
    assert devices["disk1"].file == "/back/disk1"
    assert devices["null1"].file is None
    assert devices["null1"].reservations_file == "/var/lib/scst/pr/null1"


def test_device_groups(tmp_path: Path) -> None:
    groups = recorded("08_device_groups", 3, tmp_path).device_groups or ()
    assert groups
    targets = [t for g in groups for tg in g.target_groups for t in tg.targets]
    assert any(target.driver == "iscsi" and target.rel_tgt_id is None for target in targets)
    assert all(isinstance(target, GroupTargetStatus) for target in targets)


@pytest.mark.parametrize(
    "name",
    [
        "01_boot",
        "02_vdisk",
        "03_device_attributes",
        "04_targets",
        "05_luns_and_groups",
        "08_device_groups",
        "09_passthrough",
        "10_sessions",
    ],
)
def test_every_recorded_tree_can_be_told(name: str, tmp_path: Path) -> None:
    dumps = sum(record.get("op") == "dump" for record in load(name))
    status = recorded(name, dumps // 2 + 1, tmp_path)
    file = io.StringIO()
    show(file, *render(status, ALL))
    assert status.devices
    for device in status.devices:
        assert device.name in file.getvalue()


def test_only_what_is_asked_for_is_looked_at(tmp_path: Path) -> None:
    root = recorded_tree("10_sessions", 2, tmp_path)
    seen: list[str] = []

    class Recording(Files):
        def read(self, name: str) -> str:
            seen.append(name)
            return super().read(name)

    survey(Recording(str(root)), {Section.DEVICES})
    assert {name.partition("/")[0] for name in seen} <= {"devices", "handlers"} | ROOT
    seen.clear()
    survey(Recording(str(root)), {Section.PROBLEMS})
    assert not [name for name in seen if "/sessions/" in name]
    seen.clear()
    survey(Recording(str(root)), {Section.SESSIONS}, 1)
    of_iscsi = {
        name.split("/")[4]
        for name in seen
        if name.startswith("targets/iscsi/") and "/sessions/" in name
    }
    assert len(of_iscsi) == 1


ROOT = {"version", "suspend", "measure_latency"}


def test_where_there_is_no_tree(tmp_path: Path) -> None:
    for root in (tmp_path / "missing", tmp_path):
        with pytest.raises(Mistake) as caught:
            survey(Files(str(root)))
        assert caught.value.kind is MistakeKind.NO_TREE
        assert len(caught.value.messages) == 1


def test_a_tree_that_goes_away_is_not_told_half(tmp_path: Path) -> None:
    root = recorded_tree("10_sessions", 2, tmp_path)

    class Ending(Files):
        def read(self, name: str) -> str:
            if name.startswith("devices/"):
                root.rename(tmp_path / "away")
            return super().read(name)

    with pytest.raises(Mistake) as caught:
        survey(Ending(str(root)))
    assert caught.value.kind is MistakeKind.NO_TREE

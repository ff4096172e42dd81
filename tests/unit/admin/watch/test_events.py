"""Events from differences of a tree, which is a directory here as everything else is the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from scstfs.admin.mistakes import Mistake
from scstfs.admin.watch import events
from scstfs.admin.watch.events import ToldEvents, TreeEvents, event_source

TARGET = "targets/iscsi/iqn.t"


def make(root: Path, *directories: str) -> None:
    for directory in directories:
        (root / directory).mkdir(parents=True)


def texts(source: TreeEvents) -> list[tuple[str, str]]:
    return [(event["kind"], event["text"]) for event in source.new()]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make(tmp_path, "handlers", "devices/disk1", f"{TARGET}/sessions", f"{TARGET}/luns")
    (tmp_path / "devices/disk1/filename").write_text("/disk1\n[key]\n")
    (tmp_path / TARGET / "enabled").write_text("0\n")
    return tmp_path


def test_nothing_has_happened(root: Path) -> None:
    source = TreeEvents(str(root))
    assert texts(source) == []


def test_what_comes_and_goes(root: Path) -> None:
    source = TreeEvents(str(root))
    make(root, f"{TARGET}/sessions/iqn.i", f"{TARGET}/luns/0", "devices/disk2")
    make(root, f"{TARGET}/ini_groups/g/luns/3")
    found = source.new()
    assert [(event["kind"], event["text"]) for event in found] == [
        ("login", "iqn.i logged in to iqn.t"),
        ("configuration", "device disk2 was added"),
        ("configuration", "LUN 0 of iqn.t was added"),
        ("configuration", "LUN 3 of iqn.t, group g, was added"),
    ]
    assert found[0]["initiator"] == "iqn.i"
    assert found[0]["driver"] == "iscsi"
    (root / TARGET / "sessions/iqn.i").rmdir()
    assert texts(source) == [("logout", "iqn.i has left iqn.t")]


def test_values_that_change(root: Path) -> None:
    source = TreeEvents(str(root))
    (root / "devices/disk1/filename").write_text("/other\n[key]\n")
    (root / TARGET / "enabled").write_text("1\n")
    assert texts(source) == [
        ("medium", "disk1 has the file /other"),
        ("configuration", "enabled of iqn.t is 1"),
    ]


def test_a_tree_that_goes_away(root: Path) -> None:
    source = event_source(str(root))
    (root / "handlers").rmdir()
    with pytest.raises(Mistake, match="no SCST is running"):
        source.new()


def test_told_events(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, object]] = []

    def tell(number: int, **fields: str) -> None:
        told.append({"number": number, "time": 1.0, "kind": "login", "text": "x", **fields})

    monkeypatch.setattr(events, "events", lambda root: [dict(event) for event in told])
    tell(1)
    source = ToldEvents(str(root))
    assert source.new() == []
    tell(2)
    tell(3, driver="copy_manager")
    tell(7)
    assert [event["text"] for event in source.new()] == [
        "x",
        "3 events were too many to be kept",
        "x",
    ]
    assert source.new() == []
    told.clear()
    tell(1)  # another process serves the tree now
    assert len(source.new()) == 1
    assert len(ToldEvents(str(root), recent=True).new()) == 1

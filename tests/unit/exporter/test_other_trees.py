"""A tree that tells nothing but what its files say, like that of the kernel's SCST."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from scstfs.admin.mistakes import Mistake
from scstfs.exporter.app import _OneReading
from scstfs.exporter.mass_samples import MassSamples
from scstfs.exporter.picture import LivePicture
from scstfs.exporter.reading import LunReading, SessionReading, TreeReader

TARGET = "targets/iscsi/iqn.t"


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for directory in ("handlers", f"{TARGET}/luns/0", f"{TARGET}/ini_groups", "device_groups"):
        (tmp_path / directory).mkdir(parents=True)
    write(tmp_path, version="SCST version: 3.10.0", suspend="0", measure_latency="0")
    write(tmp_path / "devices/disk1", filename="/nowhere", size="1048576", blocksize="512")
    write(tmp_path / TARGET, enabled="1", rel_tgt_id="1")
    (tmp_path / TARGET / "luns/0/device").symlink_to("../../../../../devices/disk1")
    session = {"initiator_name": "iqn.i", "commands": "3", "read_cmd_count": "7"}
    session |= {"read_io_count_kb": "28", "write_cmd_count": "2", "write_io_count_kb": "8"}
    write(tmp_path / TARGET / "sessions/iqn.i", **session, none_cmd_count="5")
    return tmp_path


@pytest.fixture
def reader(root: Path) -> Iterator[TreeReader]:
    reader = TreeReader(str(root), 100)
    yield reader
    reader.close()


def test_metrics_from_files(reader: TreeReader) -> None:
    reading = reader.read()
    assert reading.told is None
    (session,) = reading.sessions
    assert session.initiator == "iqn.i"
    assert session.counters == {"read": (7, 28 << 10), "write": (2, 8 << 10), "none": (5, 0)}
    registry = CollectorRegistry()
    registry.register(_OneReading(reading))
    text = generate_latest(registry).decode()
    text += MassSamples(10).text(reading.sessions, open_metrics=False)
    found = {sample.name: sample.value for family in prometheus(text) for sample in family.samples}
    assert found["scst_up"] == 1
    assert found["scst_sessions"] == 1
    assert found["scst_session_queue_depth"] == 3
    assert found["scst_device_size_bytes"] == 1 << 20
    assert found["scst_device_file_missing"] == 1
    assert found["scst_problems"] >= 1


def test_the_page_s_data(root: Path, reader: TreeReader) -> None:
    picture = LivePicture()
    picture.update(reader.read())
    number = picture.map_number
    write(root / TARGET / "sessions/iqn.i", read_cmd_count="107")
    picture.update(reader.read())
    assert picture.map_number == number
    shown = json.loads(picture.live)
    assert shown["sessions"][f"{TARGET}/sessions/iqn.i"][0] > 0
    assert json.loads(picture.map)["sessions"][0]["initiator"] == "iqn.i"
    (root / "devices/disk2").mkdir()
    picture.update(reader.read(changed=True))
    assert picture.map_number == number + 1
    # A counter that was reset counts from zero.
    write(root / TARGET / "sessions/iqn.i", read_cmd_count="1")
    picture.update(reader.read())
    assert 0 < json.loads(picture.live)["sessions"][f"{TARGET}/sessions/iqn.i"][0] < 1e4


def test_a_tree_that_has_gone(root: Path, reader: TreeReader) -> None:
    (root / "handlers").rmdir()
    with pytest.raises(Mistake):
        reader.read()
    picture = LivePicture()
    picture.update(None)
    assert json.loads(picture.map) == {"running": False}


def a_session(name: str, luns: int) -> SessionReading:
    times = {"read": (3, 0.25), "other": (1, 1e-06)}
    made = tuple(LunReading(lun, f"disk{lun}", 0, times) for lun in range(luns))
    return SessionReading("iscsi", "iqn.t", name, name, None, 1, {"read": (3, 512)}, (), made)


def test_both_formats_can_be_parsed_whatever_initiators_are_called() -> None:
    names = ['a"b', "a\\b", "a\nb", "ü", "\udcff", "a{}=,"]
    sessions = [a_session(name, 2) for name in names]
    mass = MassSamples(100)
    text = mass.text(sessions, open_metrics=True) + "# EOF\n"
    for families in (
        list(open_metrics(text)),  # type: ignore[no-untyped-call]
        list(prometheus(mass.text(sessions, open_metrics=False))),
    ):
        samples = [s for family in families for s in family.samples]
        seen = {sample.labels["session"] for sample in samples if "session" in sample.labels}
        assert seen == {*names[:4], "?", names[5]}
        sums = [s.value for s in samples if s.name == "scst_lun_command_seconds_sum"]
        assert sums.count(0.25) == 2 * len(names)


def test_the_number_of_series_is_bounded() -> None:
    text = MassSamples(5).text([a_session(f"i{n}", 4) for n in range(3)], open_metrics=False)
    assert text.count("scst_lun_queue_depth{") == 5
    assert "\nscst_luns_omitted 7\n" in text

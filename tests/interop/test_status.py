"""`scstfs status` of a tree that is mounted and has sessions."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from scstfs.admin.status.model import ClusterFact
from scstfs.admin.status.problems import CODES
from scstfs.errors import ExitStatus
from tests.support.initiator import Initiator
from tests.support.mounted import REPOSITORY
from tests.support.served import DIRECTORY, HOST, TARGET, Served, isid_of, served
from tests.support.terminal import Terminal

pytestmark = pytest.mark.slow

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
MANAGEMENT = REPOSITORY / "docs" / "management.md"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served")) as daemon:
        daemon.add_target(size=1 << 20, luns=2)
        yield daemon


def argv(daemon: Served, *options: str) -> list[str]:
    command = [sys.executable, "-m", "scstfs", "status", *options]
    return daemon.argv_inside(*command, "--mountpoint", str(daemon.mountpoint))


def status(
    daemon: Served, *options: str, environment: dict[str, str] = ENVIRONMENT
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv(daemon, *options),
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def data(daemon: Served, *options: str) -> dict[str, Any]:
    done = status(daemon, "--json", *options)
    assert (done.returncode, done.stderr) == (0, "")
    parsed: dict[str, Any] = json.loads(done.stdout)
    return parsed


def codes(daemon: Served) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for problem in data(daemon, "problems")["problems"]:
        found.setdefault(problem["code"], []).append(problem["path"])
    return found


def test_what_runs(daemon: Served) -> None:
    with daemon.log_in(1):
        found = data(daemon)
        session = next(s for s in found["sessions"] if s["driver"] == "iscsi")
    assert found["schema"] == 1
    assert found["tree"] == str(daemon.mountpoint)
    assert found["core"]["version"] == "3.10.0"
    assert found["core"]["build"].startswith("scstfs ")
    assert found["problems"] == []
    assert {"name": "iscsi", "enabled": True, "state": "open"} in found["drivers"]
    (target,) = [t for t in found["targets"] if t["driver"] == "iscsi"]
    assert target == {
        "driver": "iscsi",
        "name": TARGET,
        "enabled": True,
        "rel_tgt_id": 1,
        "sessions": 1,
        "luns": [{"lun": lun, "device": f"disk{lun}", "read_only": False} for lun in (0, 1)],
        "groups": [],
        "black_hole": 0,
    }
    assert session["target"] == TARGET
    assert session["luns"] == [0, 1]
    assert session["connections"] == [{"address": HOST, "portal": HOST}]
    disk = found["devices"][0]
    assert (disk["name"], disk["handler"], disk["size"]) == ("disk0", "vdisk_fileio", 1 << 20)
    assert (disk["file"], disk["file_state"]) == (str(daemon.directory / "disk0"), "present")
    assert disk["reservations_saved"] is False


def test_reservations_that_are_saved_are_told(daemon: Served) -> None:
    with daemon.log_in(2) as initiator:
        key = bytes(7) + b"\x07"
        # PERSISTENT RESERVE OUT, REGISTER with APTPL.
        registered = initiator.command(
            "5f000000000000001800", data_out=bytes(8) + key + b"\0\0\0\0\x01\0\0\0"
        )
        assert registered.status == 0
        disk = data(daemon, "devices")["devices"][0]
        assert disk["reservations_saved"] is True
        assert Path(disk["reservations_file"]).exists()
        assert re.search(r"^disk0 .* reserved ", status(daemon, "devices").stdout, re.MULTILINE)
        removed = initiator.command("5f000000000000001800", data_out=key + bytes(16))
        assert removed.status == 0
    assert data(daemon, "devices")["devices"][0]["reservations_saved"] is False


def test_only_the_sections_that_are_asked_for(daemon: Served) -> None:
    assert data(daemon, "devices").keys() == {"schema", "tree", "core", "devices"}
    assert data(daemon, "targets").keys() == {"schema", "tree", "core", "drivers", "targets"}
    text = status(daemon, "devices", "targets").stdout
    assert re.findall(r"^(\w+)$", text, re.MULTILINE) == ["Targets", "Devices"]
    wrong = status(daemon, "nothing")
    assert wrong.returncode == ExitStatus.USAGE
    assert wrong.stderr.count("\n") == 1
    assert "'nothing' is none of problems, targets, sessions, devices, groups" in wrong.stderr


def test_check_has_an_exit_status_of_its_own(daemon: Served) -> None:
    well = status(daemon, "--check", "problems")
    assert (well.returncode, well.stderr) == (0, "")
    assert "no problems" in well.stdout
    daemon.write(f"{DIRECTORY}/black_hole", "1\n")
    try:
        ill = status(daemon, "--check", "devices")
        assert ill.returncode == ExitStatus.ATTENTION
        assert ill.stderr == "scstfs: 1 thing needs attention\n"
        assert status(daemon, "devices").returncode == 0
    finally:
        daemon.write(f"{DIRECTORY}/black_hole", "0\n")


# Commands that cause a problem, commands that undo it, and the report.
PROVOKED = {
    "suspended": ([("suspend", "1")], [("suspend", "-1")], "suspend"),
    "driver_disabled": (
        [("targets/iscsi/enabled", "0")],
        [("targets/iscsi/enabled", "1")],
        "targets/iscsi",
    ),
    "target_disabled": (
        [(f"{DIRECTORY}/enabled", "0")],
        [(f"{DIRECTORY}/enabled", "1")],
        DIRECTORY,
    ),
    "no_luns": (
        [("targets/iscsi/mgmt", "add_target iqn.2005-03.org.example:empty")],
        [("targets/iscsi/mgmt", "del_target iqn.2005-03.org.example:empty")],
        "targets/iscsi/iqn.2005-03.org.example:empty",
    ),
    "no_lun_0": (
        [(f"{DIRECTORY}/luns/mgmt", "del 0")],
        [(f"{DIRECTORY}/luns/mgmt", "add disk0 0")],
        f"{DIRECTORY}/luns",
    ),
    "device_inactive": (
        [("devices/disk1/active", "0")],
        [("devices/disk1/active", "1")],
        "devices/disk1",
    ),
    "device_blocked": (
        [("devices/disk1/block", "1")],
        [("devices/disk1/block", "0")],
        "devices/disk1",
    ),
    "no_access": (
        [
            ("device_groups/mgmt", "create dg"),
            ("device_groups/dg/devices/mgmt", "add disk1"),
            ("device_groups/dg/target_groups/mgmt", "create tg"),
            ("device_groups/dg/target_groups/tg/mgmt", f"add {TARGET}"),
            ("device_groups/dg/target_groups/tg/state", "unavailable"),
        ],
        [("device_groups/mgmt", "del dg")],
        "device_groups/dg/target_groups/tg",
    ),
}


@pytest.mark.parametrize("code", PROVOKED)
def test_what_needs_attention(code: str, daemon: Served) -> None:
    provoke, undo, path = PROVOKED[code]
    assert code not in codes(daemon)
    for file, text in provoke:
        daemon.write(file, f"{text}\n")
    try:
        assert codes(daemon)[code] == [path]
        assert path in status(daemon, "problems").stdout
    finally:
        for file, text in undo:
            daemon.write(file, f"{text}\n")
    assert code not in codes(daemon)


def test_a_file_that_is_gone(daemon: Served) -> None:
    file = daemon.directory / "disk1"
    file.rename(f"{file}.away")
    try:
        assert codes(daemon) == {"file_missing": ["devices/disk1"]}
    finally:
        Path(f"{file}.away").rename(file)


def test_an_initiator_that_no_group_knows(daemon: Served) -> None:
    name = "iqn.2005-03.org.example:grouped"
    at = f"targets/iscsi/{name}"
    daemon.write("targets/iscsi/mgmt", f"add_target {name}\n")
    daemon.write(f"{at}/ini_groups/mgmt", "create hosts\n")
    daemon.write(f"{at}/ini_groups/hosts/luns/mgmt", "add disk0 0\n")
    daemon.write(f"{at}/ini_groups/hosts/initiators/mgmt", "add iqn.1999-01.org.example:*\n")
    daemon.write(f"{at}/luns/mgmt", "add disk1 0\n")
    daemon.write(f"{at}/enabled", "1\n")
    with Initiator.connect(HOST, daemon.port, isid=isid_of(9), timeout=20) as initiator:
        initiator.login(name)
        assert data(daemon)["problems"] == []
        daemon.write(f"{at}/luns/mgmt", "clear\n")
        (problem,) = data(daemon)["problems"]
    assert problem["code"] == "session_without_luns"
    assert problem["path"].startswith(f"{at}/sessions/")
    daemon.settled_descriptors()
    daemon.write("targets/iscsi/mgmt", f"del_target {name}\n")


def test_many_sessions_on_a_terminal_and_elsewhere(daemon: Served) -> None:
    with ExitStack() as stack:
        for number in range(1, 51):
            stack.enter_context(daemon.log_in(number, timeout=40))
        with Terminal(argv(daemon, "sessions"), ENVIRONMENT) as terminal:
            assert terminal.end() == 0
        lines = terminal.plain.splitlines()
        assert sum("naive" in line for line in lines) == 20
        assert "    and 30 more (see them with --all)" in [line.rstrip() for line in lines]
        assert all(len(line) <= 80 for line in lines)
        with Terminal(argv(daemon, "sessions", "--all"), ENVIRONMENT, columns=132) as terminal:
            assert terminal.end() == 0
        assert terminal.plain.count("naive") == 50
        assert status(daemon, "sessions").stdout.count("naive") == 50


def test_names_of_others_do_nothing_to_a_terminal(daemon: Served) -> None:
    name = b"bad\x1b[31m\x07\xff"
    daemon.write(f"{DIRECTORY}/ini_groups/mgmt", b"create " + name + b"\n")
    try:
        for environment in (ENVIRONMENT, {**ENVIRONMENT, "PYTHONIOENCODING": "ascii"}):
            done = status(daemon, "targets", environment=environment)
            assert (done.returncode, done.stderr) == (0, "")
            assert "bad\\x1b[31m\\x07\\udcff" in done.stdout
            assert "\x1b" not in done.stdout
        json.loads(status(daemon, "targets", "--json").stdout)
    finally:
        daemon.write(f"{DIRECTORY}/ini_groups/mgmt", b"del " + name + b"\n")


def test_a_reader_that_has_seen_enough(daemon: Served) -> None:
    script = f"{' '.join(argv(daemon, '--json'))} | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "{\n", "")


def test_where_nothing_runs(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "missing"):
        done = subprocess.run(
            [sys.executable, "-m", "scstfs", "status", "--mountpoint", str(place)],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == ExitStatus.NO_TREE
        assert done.stderr.startswith(f"scstfs: no SCST is running at {place}: ")
        assert done.stderr.count("\n") == 1


def documented(heading: str) -> set[str]:
    """The fields that a table of the page has, below a heading."""
    text = MANAGEMENT.read_text().partition(f"\n### {heading}\n")[2].partition("\n#")[0]
    return set(re.findall(r"^\| `([\w.\[\]]+)` ", text, re.MULTILINE))


def fields(value: Any, path: str = "") -> set[str]:
    """The fields of JSON, those of lists' items behind []."""
    if isinstance(value, dict):
        below = [fields(item, f"{path}.{key}" if path else key) for key, item in value.items()]
        return set().union(*below) | ({path} if path else set())
    if isinstance(value, list):
        items = [fields(item, f"{path}[]") for item in value]
        return set().union(*items, {path}) - {f"{path}[]"} if items else {path}
    return {path}


def test_all_problems_are_documented() -> None:
    assert documented("Problems") == set(CODES)


def test_the_schema_is_documented(daemon: Served) -> None:
    for file, text in PROVOKED["no_access"][0]:
        daemon.write(file, f"{text}\n")
    daemon.write(f"{DIRECTORY}/ini_groups/mgmt", "create g\n")
    daemon.write(f"{DIRECTORY}/ini_groups/g/luns/mgmt", "add disk0 0\n")
    try:
        with daemon.log_in(1):
            # This daemon is in no cluster.
            facts = {f"cluster[].{one.name}" for one in dataclasses.fields(ClusterFact)}
            assert documented("The JSON of status") == fields(data(daemon)) | facts
    finally:
        daemon.write(f"{DIRECTORY}/ini_groups/mgmt", "del g\n")
        daemon.write("device_groups/mgmt", "del dg\n")

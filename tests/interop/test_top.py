"""`scstfs top` of a tree that is mounted, with initiators at work."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from scstfs.errors import ExitStatus
from tests.interop.test_status import ENVIRONMENT, documented, fields
from tests.support.initiator import Initiator
from tests.support.mounted import REPOSITORY
from tests.support.served import DIRECTORY, TARGET, Served, served
from tests.support.terminal import Terminal

pytestmark = pytest.mark.slow

READ, WRITE = "280000000000000008 00", "2a0000000000000004 00"
BLOCK = 512


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as daemon:
        daemon.add_target(size=1 << 20)
        yield daemon


def argv(daemon: Served, *options: str) -> list[str]:
    command = [sys.executable, "-m", "scstfs", "top", *options]
    return daemon.argv_inside(*command, "--mountpoint", str(daemon.mountpoint))


def reports(daemon: Served, *options: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        argv(daemon, "--json", *options),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


class Load:
    """Commands that an initiator sends in a thread, and how many of each it has sent."""

    def __init__(self, initiator: Initiator) -> None:
        self.reads = self.writes = 0
        self._initiator = initiator
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.002):
            self.reads += 1
            self._initiator.command(READ, expect=8 * BLOCK)
            if self.reads % 2:
                self.writes += 1
                self._initiator.command(WRITE, data_out=bytes(4 * BLOCK))


def test_rates_of_what_an_initiator_does(daemon: Served) -> None:
    with daemon.log_in(1) as initiator, daemon.log_in(2), Load(initiator) as load:
        time.sleep(0.2)
        before = load.reads, load.writes
        (found,) = reports(daemon, "--once", "--interval", "1")
        after = load.reads, load.writes
    total, (session,) = found["total"], found["sessions"]
    assert session["target"] == TARGET
    seconds = found["seconds"]
    assert seconds >= 1
    # At most the load during the reading, and a large part of it: the program also had to start.
    assert 20 < total["reads_per_second"] * seconds <= after[0] - before[0]
    assert 10 < total["writes_per_second"] * seconds <= after[1] - before[1]
    assert total["read_bytes_per_second"] == pytest.approx(
        total["reads_per_second"] * 8 * BLOCK, rel=0.1
    )
    assert total["write_bytes_per_second"] == pytest.approx(
        total["writes_per_second"] * 4 * BLOCK, rel=0.1
    )
    for view in ("luns", "devices", "targets"):
        (row,) = found[view]
        for field, value in row.items():
            if field.endswith("_per_second"):
                assert value == session[field]
        assert row["estimated"] is False
    assert found["measure_latency"] is False
    assert total["read_latency_us"] is None


def test_latencies(daemon: Served) -> None:
    daemon.write("measure_latency", "1\n")
    with daemon.log_in(1) as initiator, Load(initiator):
        time.sleep(0.1)
        (found,) = reports(daemon, "--once", "--interval", "0.5")
    for row in (found["total"], *(found[view][0] for view in ("sessions", "luns", "devices"))):
        assert 1 < row["read_latency_us"] < 1e6
        assert 1 < row["write_latency_us"] < 1e6


def test_commands_that_wait_are_seen(daemon: Served) -> None:
    path = daemon.directory / "disk1"
    path.write_bytes(bytes(1 << 20))
    daemon.write("handlers/vdisk_fileio/mgmt", f"add_device disk1 filename={path}\n")
    daemon.write(f"{DIRECTORY}/luns/mgmt", "add disk1 1\n")
    with daemon.log_in(1) as initiator:
        initiator.command("000000000000", lun=1)
        daemon.write("devices/disk1/block", "1\n")
        tasks = [initiator.issue(READ, lun=1, expect=8 * BLOCK) for _ in range(3)]
        tasks.append(initiator.issue(READ, lun=0, expect=8 * BLOCK))
        (found,) = reports(daemon, "--once", "--interval", "0.2")
        daemon.write("devices/disk1/block", "0\n")
        for task in tasks:
            initiator.wait(task)
    assert found["sessions"][0]["depth"] == 3
    assert [(row["device"], row["lun"], row["depth"]) for row in found["luns"]] == [("disk1", 1, 3)]
    assert [(row["device"], row["depth"]) for row in found["devices"]] == [("disk1", 3)]


@contextmanager
def following(daemon: Served, *options: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        argv(daemon, *options),
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_sessions_and_targets_come_and_go(daemon: Served) -> None:
    other = "iqn.2005-03.org.example:other"
    with following(daemon, "--json", "--all", "--interval", "0.2") as process:
        assert process.stdout is not None

        def wait_for(view: str, count: int) -> None:
            for line in process.stdout or ():
                rows = [r for r in json.loads(line)[view] if r.get("driver", "iscsi") == "iscsi"]
                if len(rows) == count:
                    return
            raise AssertionError(process.stderr and process.stderr.read())

        wait_for("sessions", 0)
        with ExitStack() as stack:
            for number in range(1, 6):
                stack.enter_context(daemon.log_in(number))
            wait_for("sessions", 5)
            wait_for("luns", 5)
            daemon.write(f"{DIRECTORY}/luns/mgmt", "add disk0 7\n")
            wait_for("luns", 10)
            daemon.write(f"{DIRECTORY}/luns/mgmt", "del 7\n")
            wait_for("luns", 5)
            # The same names, another time.
            stack.close()
            for number in range(1, 6):
                stack.enter_context(daemon.log_in(number))
            wait_for("sessions", 5)
        wait_for("sessions", 0)
        daemon.write("targets/iscsi/mgmt", f"add_target {other}\n")
        daemon.write("targets/iscsi/mgmt", f"del_target {other}\n")
        wait_for("sessions", 0)


def test_it_ends_when_the_tree_goes_away(tmp_path: Path) -> None:
    with served(tmp_path) as daemon, following(daemon, "--interval", "0.2") as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert daemon.stop() == 0
        _rest, errors = process.communicate(timeout=30)
        assert re.fullmatch(r"scstfs: no SCST is running at \S+: .+\n", errors)
        assert process.returncode == ExitStatus.NO_TREE


def test_a_list_for_each_interval(daemon: Served) -> None:
    with (
        daemon.log_in(1) as initiator,
        Load(initiator),
        following(daemon, "--interval", "0.2", "--by", "devices") as process,
    ):
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(12)]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    headings = [line for line in lines if line.startswith("device ")]
    assert len(headings) >= 2
    assert all(line == line.rstrip() + "\n" for line in lines)
    assert any(line.startswith("disk0 ") for line in lines)


def test_keys_at_a_terminal(daemon: Served) -> None:
    with (
        daemon.log_in(1) as initiator,
        Load(initiator),
        Terminal(argv(daemon, "--interval", "0.3"), ENVIRONMENT) as terminal,
    ):
        terminal.wait_for(r"\nsession +r/s +w/s +rB/s +wB/s +depth +r time +w time\n.*:naive +\d")
        for key, heading in (("l", "LUN"), ("d", "device"), ("t", "target"), ("s", "session")):
            terminal.type(key)
            terminal.wait_for(rf"\n{heading} +r/s")
        terminal.type("o")
        terminal.wait_for("o order: bytes")
        terminal.type("a")
        terminal.wait_for(r"copy_manager_sess +0 ")
        terminal.type("q")
        assert terminal.end() == 0
        assert terminal.present_settings == terminal.settings
    assert len(terminal.pages) > 5
    for page in terminal.pages:
        assert len(page.splitlines()) <= 24
        assert all(len(line) <= 80 for line in page.splitlines()), page
    # The screen as it was before is back, with its cursor.
    assert terminal.text.rstrip().endswith("\x1b[?1049l")
    assert "\x1b[?25h" in terminal.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_leave_the_terminal_in_order(number: signal.Signals, daemon: Served) -> None:
    with Terminal(argv(daemon, "--interval", "0.3"), ENVIRONMENT) as terminal:
        terminal.wait_for("session +r/s")
        os.kill(terminal.process.pid, number)
        assert terminal.end() == (0 if number == signal.SIGINT else 128 + number)
        assert terminal.present_settings == terminal.settings
    assert terminal.text.rstrip().endswith("\x1b[?1049l")
    assert "Traceback" not in terminal.text


def test_what_is_idle_is_not_read_again_and_again(daemon: Served) -> None:
    script = """
import sys
from scstfs.admin.top.kept import Kept
from scstfs.admin.top.session_watch import SessionWatch

class Counting(Kept):
    reads = []
    def read(self, directory, name):
        self.reads.append(name)
        return super().read(directory, name)

kept = Counting(sys.argv[1], 1000)
watch = SessionWatch(kept)
for _look in range(3):
    Counting.reads = []
    watch.look()
print(len(watch.look()), *sorted(set(Counting.reads)))
"""
    with ExitStack() as stack:
        for number in range(1, 11):
            stack.enter_context(daemon.log_in(number))
        done = subprocess.run(
            daemon.argv_inside(sys.executable, "-c", script, str(daemon.mountpoint)),
            env=ENVIRONMENT,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
        )
    count, *names = done.stdout.split()
    assert count == "11"  # and the copy manager's
    assert names == [
        "active_commands",
        "measure_latency",
        "none_cmd_count",
        "read_cmd_count",
        "write_cmd_count",
    ]


def test_wrong_options(daemon: Served) -> None:
    for options in (["--interval", "0"], ["--interval", "x"], ["--interval", "nan"], ["--by", "x"]):
        done = subprocess.run(
            argv(daemon, *options), env=ENVIRONMENT, capture_output=True, text=True, check=False
        )
        assert done.returncode == ExitStatus.USAGE
        assert done.stderr.count("\n") == 1


def test_the_schema_is_documented(daemon: Served) -> None:
    with daemon.log_in(1) as initiator, Load(initiator):
        (found,) = reports(daemon, "--once", "--interval", "0.3")
    names = documented("The JSON of top")
    assert {name for name in fields(found) if "." not in name} <= names
    numbers = set(found["total"])
    assert names == set(found) | numbers
    named = {
        "sessions": {"driver", "target", "session"},
        "luns": {"driver", "target", "session", "lun", "device"},
        "devices": {"device"},
        "targets": {"driver", "target"},
    }
    for view, expected in named.items():
        (row,) = found[view]
        assert set(row) - numbers == expected

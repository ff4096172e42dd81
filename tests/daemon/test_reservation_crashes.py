"""Persistent reservations of the real daemon, killed while two initiators change them."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scstfs.scsi.sense import decode
from tests.support.initiator import ClosedError, Initiator, Task
from tests.support.iscsi_login import ISID, NAME
from tests.support.model_reservations import ModelReservations
from tests.support.mounted import Mounted
from tests.support.needs import need_mounts
from tests.support.replay_mount import portal
from tests.support.reservation_rounds import INITIATORS, Seen, Step, step
from tests.support.reservations import FULL_STATUS, KEYS, RESERVATION, pr_in

ROUNDS = int(os.environ.get("SCSTFS_DAEMON_CRASH_ROUNDS", "3"))
TARGET = "iqn.2005-03.org.example:disk"
_DIRECTORY = f"targets/iscsi/{TARGET}"
_CONFIGURATION = (
    ("handlers/vdisk_nullio/mgmt", "add_device disk size_mb=1"),
    ("targets/iscsi/mgmt", f"add_target {TARGET}"),
    (f"{_DIRECTORY}/luns/mgmt", "add disk 0"),
    (f"{_DIRECTORY}/enabled", "1"),
    ("targets/iscsi/enabled", "1"),
)


def start(directory: Path) -> Mounted:
    """A daemon with a disk that can hold reservations; after a kill with that which it had."""
    mountpoint = directory / "scst_tgt"
    mountpoint.mkdir(exist_ok=True)
    places = {
        "mountpoint": mountpoint,
        "state-dir": directory / "state",
        "pid-file": directory / "pid",
    }
    options = [f"--{option}={path}" for option, path in places.items()]
    argv = (sys.executable, "-m", "scstfs", "mount", "--portal", "127.0.0.1:0", *options)
    running = Mounted(argv, mountpoint, ready=": ready: ")
    if not (running.path / _DIRECTORY).exists():
        for name, text in _CONFIGURATION:
            running.write(name, text)
    return running


@contextmanager
def logged_in(running: Mounted) -> Iterator[list[Initiator]]:
    initiators = []
    try:
        for number in range(INITIATORS):
            one = Initiator.connect(
                *portal(running), name=f"{NAME}{number}", isid=ISID[:5] + bytes([number])
            )
            initiators.append(one)
            one.login(TARGET)
            settle(one)
        yield initiators
    finally:
        for one in initiators:
            one.close()


def settle(initiator: Initiator) -> None:
    """Take the unit attentions that are pending."""
    while initiator.command("000000000000").status:
        pass


def see(initiator: Initiator) -> Seen:
    data = [
        initiator.command(pr_in(action), expect=4096).data
        for action in (KEYS, RESERVATION, FULL_STATUS)
    ]
    return Seen.decode(*data)


def check(task: Task, planned: Step) -> None:
    condition = decode(task.sense)
    sense = None if condition is None else condition.triple
    assert (task.status, sense) == (planned.status, planned.sense)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_daemon_loses_nothing(tmp_path: Path) -> None:
    """``SCSTFS_DAEMON_CRASH_ROUNDS`` (3) rounds."""
    need_mounts()
    chance = random.Random("daemon")
    possible = [ModelReservations()]
    kept = 0
    for number in range(ROUNDS):
        with start(tmp_path) as running, logged_in(running) as initiators:
            found = see(initiators[0])
            left = [model.restarted() for model in possible]
            matching = [model for model in left if Seen.of(model) == found]
            assert matching, (number, found, [Seen.of(model) for model in left])
            model = matching[0]
            kept += bool(model.keys)
            for _ in range(chance.randint(5, 20)):
                planned = step(chance, model)
                one = initiators[planned.initiator]
                check(one.command(planned.cdb, data_out=planned.data), planned)
                model = planned.after
                for other in initiators:
                    settle(other)
                assert see(one) == Seen.of(model)
            planned = step(chance, model)
            one = initiators[planned.initiator]
            task = one.issue(planned.cdb, data_out=planned.data)
            time.sleep(chance.uniform(0, 0.01))
            os.kill(running.pid, signal.SIGKILL)
            possible = [model, planned.after]
            try:
                check(one.wait(task), planned)
            except (ClosedError, ConnectionError):
                continue
            possible = [planned.after]
    assert kept

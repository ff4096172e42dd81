"""The configuration changes while four sessions work at depth 32: nothing is lost or misdirected.

Every command gets exactly one status, or is given up by its own initiator, or its connection is
closed; what is on the disks is what the sessions can account for; and when they are gone the daemon
is as it was.
"""

from __future__ import annotations

import errno
import os
import random
import re
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support.initiator import Initiator
from tests.support.iscsi_login import NAME
from tests.support.load_session import BLOCK, OWN, LoadSession
from tests.support.mounted import Mounted
from tests.support.needs import need_mounts
from tests.support.replay_mount import portal

CHANGES = int(os.environ.get("SCSTFS_CHANGES", "65"))
SEED = os.environ.get("SCSTFS_CHANGES_SEED", "changes")
SESSIONS = 4
TARGET = "iqn.2005-03.org.example:disk"
TARGETS, DEVICES = "targets/iscsi", "handlers/vdisk_fileio/mgmt"
THIS = f"{TARGETS}/{TARGET}"
_TARGET_GROUP = "device_groups/dg/target_groups/tg"
DISK_SIZE = BLOCK * OWN * SESSIONS
#: What is behind each LUN; LUN 2 may also be disk3.
LUNS = {0: "disk0", 1: "disk1", 2: "disk2"}
#: Most growth of a daemon that continues (bytes).
GROWTH = 24 << 20


class Changes:
    """Random changes of the configuration, each of which must succeed."""

    def __init__(self, running: Mounted, directory: Path) -> None:
        self._running = running
        self._directory = directory
        self._chance = random.Random(SEED)
        self._enabled = True
        self._blocked: set[str] = set()
        self.made: Counter[str] = Counter()
        self._grouped: list[str] = []

    def write(self, name: str, text: str, *allowed: int) -> None:
        """Write to the tree; the errnos *allowed* do not matter."""
        try:
            self._running.write(name, text)
        except OSError as error:
            if error.errno not in allowed:
                raise

    def set_up(self) -> None:
        for number in range(4):
            self.add_device(f"disk{number}")
        self.write(f"{TARGETS}/mgmt", f"add_target {TARGET}")
        self.write(f"{THIS}/ini_groups/mgmt", "create group")
        for lun, disk in LUNS.items():
            for luns in self.sets():
                self.write(luns, f"add {disk} {lun}")
        self.write("device_groups/mgmt", "create dg")
        self.write("device_groups/dg/target_groups/mgmt", "create tg")
        self.write(f"{_TARGET_GROUP}/group_id", "1")
        self.write(f"{_TARGET_GROUP}/mgmt", f"add {TARGET}")
        self.write("device_groups/dg/devices/mgmt", "add disk0")
        self.write(f"{THIS}/enabled", "1")
        self.write(f"{TARGETS}/enabled", "1")

    def add_device(self, name: str) -> None:
        path = self._directory / name
        if not path.exists():
            path.touch()
            os.truncate(path, DISK_SIZE)
        self.write(DEVICES, f"add_device {name} filename={path}; blocksize={BLOCK}")

    @staticmethod
    def sets() -> tuple[str, str]:
        return f"{THIS}/luns/mgmt", f"{THIS}/ini_groups/group/luns/mgmt"

    # One change, and its undoing where that belongs together.

    def make(self, number: int) -> None:
        changes: list[Callable[[], None]] = [
            self._delete_and_add_lun,
            self._replace_lun,
            self._read_only_lun,
            self._clear_luns,
            self._move_initiator,
            self._delete_and_add_device,
            self._toggle_target,
            self._force_close,
            self._toggle_block,
            self._suspend,
            self._queue_depth,
            self._attribute,
            self._access_state,
        ]
        change = changes[number % len(changes)] if number < len(changes) else None
        change = change or self._chance.choice(changes)
        self.made[change.__name__] += 1
        change()

    def _delete_and_add_lun(self) -> None:
        luns, lun = self._chance.choice(self.sets()), self._chance.choice(list(LUNS))
        self.write(luns, f"del {lun}")
        self.write(luns, f"add {LUNS[lun]} {lun}")

    def _replace_lun(self) -> None:
        luns, lun = self._chance.choice(self.sets()), self._chance.choice(list(LUNS))
        verb = self._chance.choice(("replace", "replace_no_ua"))
        disk = self._chance.choice(("disk2", "disk3")) if lun == 2 else LUNS[lun]
        self.write(luns, f"{verb} {disk} {lun}")

    def _read_only_lun(self) -> None:
        self.write(self.sets()[0], "replace disk1 1 read_only=1")
        self.write(self.sets()[0], "replace disk1 1")

    def _clear_luns(self) -> None:
        luns = self._chance.choice(self.sets())
        self.write(luns, "clear")
        for lun, disk in LUNS.items():
            self.write(luns, f"add {disk} {lun}")

    def _move_initiator(self) -> None:
        mgmt = f"{THIS}/ini_groups/group/initiators/mgmt"
        name = f"{NAME}{self._chance.randrange(SESSIONS)}"
        if name in self._grouped:
            self._grouped.remove(name)
            self.write(mgmt, f"del {name}")
        else:
            self._grouped.append(name)
            self.write(mgmt, f"add {name}")

    def _delete_and_add_device(self) -> None:
        lun = self._chance.choice(list(LUNS))
        self.write(DEVICES, f"del_device {LUNS[lun]}")
        self._blocked.discard(LUNS[lun])
        self.add_device(LUNS[lun])
        for luns in self.sets():
            self.write(luns, f"add {LUNS[lun]} {lun}", errno.EEXIST)
        if lun == 0:
            self.write("device_groups/dg/devices/mgmt", "add disk0")

    def _toggle_target(self) -> None:
        self._enabled = not self._enabled
        self.write(f"{THIS}/enabled", f"{self._enabled:d}")

    def _force_close(self) -> None:
        sessions = os.listdir(self._running.path / THIS / "sessions")
        if sessions:
            name = f"{THIS}/sessions/{self._chance.choice(sessions)}/force_close"
            self.write(name, "1", errno.ENOENT, errno.ENODEV)

    def _toggle_block(self) -> None:
        disk = self._chance.choice(list(LUNS.values()))
        if disk in self._blocked:
            self._blocked.remove(disk)
            self.write(f"devices/{disk}/block", "0")
        else:
            self._blocked.add(disk)
            self.write(f"devices/{disk}/block", "1 1")

    def _suspend(self) -> None:
        self.write("suspend", "5")
        self.write("suspend", "-1")

    def _queue_depth(self) -> None:
        disk, depth = self._chance.choice(list(LUNS.values())), self._chance.choice((2, 16, 64))
        self.write(f"devices/{disk}/max_tgt_dev_commands", f"{depth}")

    def _attribute(self) -> None:
        disk = self._chance.choice(list(LUNS.values()))
        name, text = self._chance.choice(
            (
                (f"{THIS}/aen_disabled", self._chance.choice("01")),
                (f"{THIS}/addr_method", "FLAT"),
                (f"{THIS}/QueuedCommands", self._chance.choice(("8", "32", "128"))),
                (f"devices/{disk}/threads_num", self._chance.choice("138")),
                (
                    f"devices/{disk}/threads_pool_type",
                    self._chance.choice(("shared", "per_initiator")),
                ),
                (f"devices/{disk}/resync_size", "1"),
                (f"devices/{disk}/prod_id", f"{self._chance.randrange(100)}"),
            )
        )
        self.write(name, text)

    def _access_state(self) -> None:
        states = ("nonoptimized", "standby", "unavailable", "offline", "transitioning")
        self.write(f"{_TARGET_GROUP}/state", self._chance.choice(states))

    def settle(self) -> None:
        """Let all continue."""
        self.write(f"{_TARGET_GROUP}/state", "active")
        for disk in list(self._blocked):
            self.write(f"devices/{disk}/block", "0")
        self._blocked.clear()
        if not self._enabled:
            self._toggle_target()

    # What can be seen

    def resident(self) -> int:
        """Memory of the daemon (bytes)."""
        status = Path(f"/proc/{self._running.pid}/status").read_text()
        match = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert match is not None
        return int(match[1]) << 10

    def idle(self) -> bool:
        """No session has a command, says the tree."""
        root = self._running.path / THIS / "sessions"
        counters = [*root.glob("*/commands"), *root.glob("*/active_commands")]
        counters += root.glob("*/lun*/active_commands")
        assert counters
        return all(path.read_text() == "0\n" for path in counters)


def save_task_aborted_status(running: Mounted, changes: Changes) -> None:
    """Have commands that others abort end with TASK ABORTED (TAS of the control mode page)."""
    for disk in ("disk3", "disk2"):
        for luns in changes.sets():
            changes.write(luns, f"replace {disk} 2")
        _save_task_aborted_status(running)


def _save_task_aborted_status(running: Mounted) -> None:
    page = bytes.fromhex("00000000 0a0a2010 0040 000000000000")
    with Initiator.connect(*portal(running), name=f"{NAME}0") as initiator:
        initiator.login(TARGET)
        for lun in LUNS:
            while initiator.command("000000000000", lun=lun).status:
                pass
            cdb = struct.pack(">BBxxBx", 0x15, 0x11, len(page))
            assert initiator.command(cdb, lun=lun, data_out=page).status == 0
        initiator.logout()


def start(directory: Path) -> Mounted:
    mountpoint = directory / "scst_tgt"
    mountpoint.mkdir()
    places = {
        "mountpoint": mountpoint,
        "state-dir": directory / "state",
        "pid-file": directory / "pid",
    }
    options = [f"--{option}={path}" for option, path in places.items()]
    argv = (sys.executable, "-m", "scstfs", "mount", "--portal", "127.0.0.1:0", *options)
    return Mounted(argv, mountpoint, ready=": ready: ")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.each_engine
def test_nothing_is_lost_when_everything_changes(tmp_path: Path) -> None:
    """``SCSTFS_CHANGES`` (65) changes."""
    need_mounts()
    with start(tmp_path) as running:
        changes = Changes(running, tmp_path)
        changes.set_up()
        save_task_aborted_status(running, changes)
        sessions = [
            LoadSession(portal(running), TARGET, number, tuple(LUNS), frozenset((0, 1)), SEED)
            for number in range(SESSIONS)
        ]
        for session in sessions:
            session.start()
        before = 0
        faults: list[str] = []
        for number in range(CHANGES):
            goal = _issued(sessions) + 8
            changes.make(number)
            if number == CHANGES // 4:
                before = changes.resident()
            if number % 4 == 3:
                changes.settle()
            # A blocked device stops all clients in the end.
            _wait(partial(_have_issued, sessions, goal), 0.2)
            faults = [fault for session in sessions for fault in session.faults]
            if faults:
                break
        changes.settle()
        for session in sessions:
            session.stop(30)
        faults += [fault for session in sessions for fault in session.faults]
        seen = sum((session.seen for session in sessions), Counter())
        print(f"{dict(changes.made)}\n{dict(seen)}")
        assert not faults, "\n".join(faults[:10])
        accounted = sum(n for how, n in seen.items() if _is_an_end(how))
        assert accounted == seen["issued"]
        assert seen["GOOD"] > seen["issued"] / 10
        with Initiator.connect(*portal(running), name=f"{NAME}0") as initiator:
            initiator.login(TARGET)
            assert _wait(changes.idle, 5)
            initiator.logout()
        for session in sessions:
            for lun, disk in ((0, "disk0"), (1, "disk1")):
                verify(session, lun, tmp_path / disk)
        grown = changes.resident() - before
        print(f"resident memory grew by {grown >> 10} KiB")
        assert grown < GROWTH
        assert [fault for session in sessions for fault in session.faults] == []
        problems = [line for line in running.lines if "Traceback" in line or " ERROR " in line]
        assert not problems, problems
        assert running.stop() == 0


def _have_issued(sessions: list[LoadSession], goal: int) -> bool:
    return _issued(sessions) >= goal


def _issued(sessions: list[LoadSession]) -> int:
    return sum(session.seen["issued"] for session in sessions)


def _is_an_end(how: str) -> bool:
    return not how.startswith(("function ", "issued", "logins", "refused ", "closed")) or (
        how == "closed with"
    )


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


def verify(session: LoadSession, lun: int, disk: Path) -> None:
    """The session's blocks of a disk are what it expects."""
    with disk.open("rb") as file:
        for n in range(OWN):
            lba = session.session * OWN + n
            file.seek(lba * BLOCK)
            session.check_block(lun, lba, file.read(BLOCK))

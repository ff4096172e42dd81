"""A target under load while connections break, sessions are reinstated and targets are added and
removed.

`python -m tests.support.storm` runs for a few minutes and prints the result; a test runs a part of
it.
"""

from __future__ import annotations

import contextlib
import random
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from tests.support import iscsi_wire as wire
from tests.support.initiator import Initiator
from tests.support.iscsi_login import OPERATIONAL_KEYS
from tests.support.iscsi_wire import NO_TAG
from tests.support.served import DIRECTORY, HOST, TARGET, Served, isid_of, served
from tests.support.verified_load import BLOCK, LOST, REGION_BLOCKS, SECTORS, Client

SESSIONS = 8
DISK_SIZE = (SESSIONS + 1) * REGION_BLOCKS * BLOCK
"""Behind the regions of the clients is one that broken connections may write to."""
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Plan:
    """The amount of load."""

    broken: int = 1000
    reinstatements: int = 100
    toggles: int = 100
    warm_up_seconds: float = 3.0
    pause_seconds: float = 0.0
    seed: int = 1


@dataclass
class Report:
    """The result; memory in bytes."""

    seconds: float = 0.0
    operations: int = 0
    reconnects: int = 0
    broken: int = 0
    reinstatements: int = 0
    toggles: int = 0
    descriptors_before: int = 0
    descriptors_after: int = 0
    memory_before: int = 0
    memory_after: int = 0


class Storm:
    """A plan being carried out on a daemon with a target."""

    def __init__(self, daemon: Served, plan: Plan) -> None:
        self._daemon = daemon
        self._plan = plan
        self.report = Report()
        self._clients = [
            Client(number, partial(daemon.log_in, number), plan.seed, plan.pause_seconds)
            for number in range(SESSIONS)
        ]

    def run(self) -> Report:
        """Run all; raises a client's findings."""
        interval = sys.getswitchinterval()
        # Busy threads must not delay those that break connections.
        sys.setswitchinterval(0.0005)
        try:
            return self._run()
        finally:
            sys.setswitchinterval(interval)

    def _run(self) -> Report:
        report, daemon = self.report, self._daemon
        # First without a storm, for one-time allocations.
        self._load(lambda: time.sleep(self._plan.warm_up_seconds))
        report.descriptors_before = daemon.settled_descriptors()
        report.memory_before = daemon.memory
        calm = sum(client.operations for client in self._clients)
        began = time.monotonic()
        self._load(self._rage)
        report.seconds = time.monotonic() - began
        report.operations = sum(client.operations for client in self._clients) - calm
        report.reconnects = sum(client.reconnects for client in self._clients)
        report.descriptors_after = daemon.settled_descriptors(report.descriptors_before)
        report.memory_after = daemon.memory
        return report

    def _load(self, meanwhile: Callable[[], None]) -> None:
        """Run all clients during an event, and verify at the end."""
        stop = threading.Event()
        with ThreadPoolExecutor(SESSIONS) as pool:
            work = [pool.submit(client.run, stop) for client in self._clients]
            try:
                meanwhile()
            finally:
                stop.set()
            for future in work:
                future.result()

    def _rage(self) -> None:
        jobs = (self._break, self._break, self._reinstate, self._toggle)
        with ThreadPoolExecutor(len(jobs)) as pool:
            seed = self._plan.seed
            work = [pool.submit(job, random.Random(seed + at)) for at, job in enumerate(jobs)]
            for future in work:
                future.result()

    # Events

    def _break(self, dice: random.Random) -> None:
        """Open connections, break them at any byte, and open them again."""
        number = 1000 + dice.randrange(30000)
        for _ in range(self._plan.broken // 2):
            self._break_one(dice, number)
            self._log_in_and_leave(number)
            self.report.broken += 1

    def _break_one(self, dice: random.Random, number: int) -> None:
        initiator = Initiator.connect(HOST, self._daemon.port, isid=isid_of(number))
        with initiator:
            script = script_of(initiator)
            with contextlib.suppress(*LOST):
                initiator.send_bytes(script[: dice.randrange(1, len(script))])
                if dice.random() < 0.5:
                    initiator.sock.recv(dice.randrange(1, 4096))
            if dice.random() < 0.5:
                initiator.reset()

    def _reinstate(self, dice: random.Random) -> None:
        """Log in as one of the clients, which ends its session; the client then ends ours."""
        for _ in range(self._plan.reinstatements):
            self._log_in_and_leave(dice.randrange(SESSIONS))
            self.report.reinstatements += 1
            time.sleep(dice.random() * 0.05)

    def _toggle(self, dice: random.Random) -> None:
        for _ in range(self._plan.toggles):
            self._daemon.write(f"{DIRECTORY}/enabled", "0\n")
            time.sleep(dice.random() * 0.01)
            self._daemon.write(f"{DIRECTORY}/enabled", "1\n")
            self.report.toggles += 1
            time.sleep(dice.random() * 0.1)

    def _log_in_and_leave(self, number: int) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return self._daemon.log_in(number).close()
            except LOST:
                # The target is disabled, or another login has reinstated the session.
                assert time.monotonic() < deadline
                time.sleep(0.005)


def script_of(initiator: Initiator) -> bytes:
    """All that an initiator sends from its login to its logout, without waiting for answers."""
    initiator.offers = dict(OPERATIONAL_KEYS)
    login = initiator.login_pdu([*initiator.names(TARGET), *OPERATIONAL_KEYS], transit=True)
    sectors = SESSIONS * REGION_BLOCKS * SECTORS
    write, read = (struct.pack(">BBQIBB", code, 0, sectors, 128, 0, 0) for code in (0x8A, 0x88))
    commands = [
        initiator.prepare("000000000000"),
        initiator.prepare(write, data_out=bytes(65536), immediate_data=8192),
        initiator.prepare(read, expect=65536),
    ]
    unsolicited = initiator.data_out_pdus(commands[1], 8192, 65536 - 8192, NO_TAG)
    logout = initiator.request(wire.LOGOUT_REQUEST, {"cid": 0})
    pdus = [login, *(task.command for task in commands), *unsolicited, logout]
    return b"".join(map(initiator.encode, pdus))


def carry_out(directory: Path, plan: Plan) -> Report:
    """Run a plan with a new daemon, whose files are below a directory."""
    with served(directory) as daemon:
        daemon.add_target(size=DISK_SIZE)
        return Storm(daemon, plan).run()


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        for name, value in asdict(carry_out(Path(directory), Plan())).items():
            print(f"{name:20} {value:.1f}" if isinstance(value, float) else f"{name:20} {value}")


if __name__ == "__main__":
    main()

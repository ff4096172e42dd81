"""Connections that send garbage, half of something, or nothing, while an initiator is served."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.daemon.harness import PATIENCE, SCST_TGT, Daemon
from tests.daemon.target import (
    TARGET,
    content,
    descriptors,
    log_in,
    make_disk,
    read,
    resident,
    serving,
    settle,
    write,
)
from tests.support import iscsi_wire as wire
from tests.support.initiator import Initiator
from tests.support.iscsi_wire import Pdu
from tests.support.namespace import in_namespace
from tests.support.needs import need_mounts

pytestmark = pytest.mark.slow

STRANGERS = 200
ROUNDS = 12
GROWTH = 24 << 20
"""Bytes that the daemon may grow by in the last nine rounds. One receive buffer (64 KiB) left by
each of their sessions would be 37 MiB, one of 16 KiB by each connection 28; what malloc(3) does
with holes of 320 KiB makes up to 12 of difference between two rounds."""


@pytest.fixture(autouse=True)
def _possible() -> None:
    need_mounts()


@contextmanager
def being_served(initiator: Initiator) -> Iterator[None]:
    """Write and read in a thread meanwhile; everything must come back as it should."""
    stop = threading.Event()
    failures: list[BaseException] = []
    count = 0

    def run() -> None:
        nonlocal count
        try:
            while not stop.is_set():
                count += 1
                data = content(count % 16, count)
                lba = count % 16 * 128
                assert initiator.wait(write(initiator, lba, data)).status == 0
                assert read(initiator, lba, 128).data == data
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE)
    assert not failures, failures
    assert count > 10
    assert initiator.complaints == []


def visit(daemon: Daemon, number: int, dice: random.Random) -> socket.socket:
    """Connect, send the data, and do nothing more."""
    if number % 6 < 4:
        connection = daemon.connect()
        login = Pdu.make(wire.LOGIN_REQUEST, data=b"InitiatorName=iqn.x\0", immediate=True)
        match number % 6:
            case 1:
                connection.sendall(dice.randbytes(dice.randrange(1, 8192)))
            case 2:
                connection.sendall(bytes(login.header[:24]))
            case 3:  # the header of a login that will never have its text
                connection.sendall(bytes(login.header))
        return connection
    initiator = log_in(daemon, f"iqn.stranger{number}")
    if number % 6 == 4:
        initiator.sock.sendall(dice.randbytes(4096))
    else:  # a write whose data never comes
        task = initiator.prepare("2a000000000000008000", data_out=bytes(65536), unsolicited=65536)
        initiator.sock.sendall(bytes(task.command.header) + bytes(100))
    assert isinstance(initiator.sock, socket.socket)
    return initiator.sock


def names() -> set[str]:
    return {path.name for path in Path(SCST_TGT, "targets/iscsi", TARGET, "sessions").iterdir()}


def test_strangers_cost_nobody_anything(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk")

    def body() -> None:
        dice = random.Random(1)
        with serving(tmp_path, disk) as daemon, log_in(daemon) as initiator:
            settle(initiator)
            before, sessions = descriptors(daemon), names()
            sizes = []
            with being_served(initiator):
                for _ in range(ROUNDS):
                    with ExitStack() as stack:
                        for number in range(STRANGERS):
                            stack.enter_context(visit(daemon, number, dice))
                        assert descriptors(daemon) > before
                    deadline = time.monotonic() + PATIENCE
                    # Every look is a round trip through the daemon.
                    while descriptors(daemon) > before or names() != sessions:
                        assert time.monotonic() < deadline, names()
                    sizes.append(resident(daemon))
            assert sizes[-1] - sizes[2] < GROWTH, sizes
            assert daemon.stop()[0] == 0
            assert "Traceback" not in daemon.log
            assert "ERROR" not in daemon.log

    in_namespace(body)

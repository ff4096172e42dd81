"""What initiators, slow, broken or hostile, can cost the target and each other."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import signal
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scstfs.drivers.iscsi import connect, server, shared
from scstfs.iscsi.login import Login
from scstfs.log import RateLimited
from tests.support import iscsi_wire as wire
from tests.support.initiator import ClosedError, Initiator
from tests.support.iscsi_login import LoginError
from tests.support.iscsi_wire import FINAL, NO_TAG
from tests.support.live_target import TARGET, LiveTarget
from tests.support.served import HOST, Served, served

MIB = 1 << 20
DIRECTORY = f"targets/iscsi/{TARGET}"
DISK_SIZE = 256 * MIB
QUEUED_COMMANDS = 32
MAX_BURST = MIB
#: What a session may hold (bytes), and what measuring memory by pages and pools may be off by.
ALLOWED = QUEUED_COMMANDS * MAX_BURST
SLACK = 12 * MIB
#: Of a connection that has not said anything (bytes).
IDLE_CONNECTION = 48 * 1024
#: No command of another initiator may take longer (seconds), on a busy machine.
PROMPTLY = 1.0
OUT_OF_RESOURCES = 0x0302


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveTarget]:
    with LiveTarget(tmp_path) as live:
        live.add_target()
        yield live


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A whole daemon, whose memory is measured."""
    with served(tmp_path_factory.mktemp("served")) as daemon:
        daemon.add_target(size=DISK_SIZE)
        daemon.write(f"{DIRECTORY}/FirstBurstLength", f"{MAX_BURST}\n")
        yield daemon


# Time


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "TICK", 0.1)


@pytest.mark.slow
@pytest.mark.logs("data has not come for 2 s")
def test_data_has_to_come_within_rsp_timeout(ticks: None, live: LiveTarget) -> None:
    live.write(f"{DIRECTORY}/RspTimeout", "2\n")
    with live.log_in() as initiator:
        initiator.answer_r2ts = False
        began = time.monotonic()
        initiator.issue(write_16(0, 256), data_out=bytes(256 * 512))
        initiator.wait_closed()
        assert 1 < time.monotonic() - began < 5


@pytest.mark.slow
@pytest.mark.logs("answers have not been taken for 2 s")
def test_answers_have_to_be_taken_within_rsp_timeout(ticks: None, live: LiveTarget) -> None:
    live.write(f"{DIRECTORY}/RspTimeout", "2\n")
    with live.log_in() as initiator:
        for _ in range(QUEUED_COMMANDS):
            initiator.issue(read_10(0, 1024), expect=1024 * 512)
        deadline = time.monotonic() + 5
        while live.sessions():
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.logs("connection dropped because of an internal error")
def test_a_bug_in_one_connection_is_the_end_of_that_one_only(
    ticks: None, live: LiveTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    with live.log_in() as unlucky:
        (nexus,) = live.sessions()
        assert nexus.connection is not None
        with live.log_in(number=2) as bystander:

            def lose_patience(_now: float) -> None:
                raise RuntimeError

            monkeypatch.setattr(nexus.connection.functions, "lose_patience", lose_patience)
            assert unlucky.wait_closed() == []
            assert bystander.ping(b"x").data == b"x"
            assert [nexus.initiator for nexus in live.sessions()] == [bystander.name]


@pytest.mark.logs("login of an unknown initiator took too long")
def test_a_login_has_to_end_in_time(live: LiveTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = Login.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "timeout", 0.3)
    with live.initiator() as slow, live.initiator() as good:
        good.login(TARGET)
        raw = slow.encode(slow.login_pdu(slow.names(TARGET)))
        # A byte now and then does not make it longer.
        began = time.monotonic()
        slow.sock.settimeout(0.02)
        with contextlib.suppress(ClosedError):
            for byte in raw:
                slow.send_bytes(bytes([byte]))
                with contextlib.suppress(TimeoutError):
                    slow.receive()
        slow.sock.settimeout(5)
        assert slow.wait_closed() == []
        assert time.monotonic() - began < 2
        assert good.ping(b"x").data == b"x"


@pytest.mark.slow
@pytest.mark.logs("refused: there is no target")
def test_a_login_that_was_refused_did_not_take_too_long(
    live: LiveTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The initiator gets time to read the reason, even at the end of the time for the login."""
    defaults = Login.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "timeout", 0.3)
    with live.initiator() as initiator:
        with pytest.raises(LoginError):
            initiator.login("iqn.nothing")
        initiator.wait_closed()
        deadline = time.monotonic() + 5
        while live.call(lambda: len(live.server.shared.lobby)):
            assert time.monotonic() < deadline
            time.sleep(0.02)


# Connections


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
def test_a_thousand_connections_that_say_nothing_keep_nobody_out_and_cost_little(
    many_descriptors: None, daemon: Served
) -> None:
    number = shared.MAX_LOGINS + 100
    before = daemon.memory
    with contextlib.ExitStack() as stack:
        address = HOST, daemon.port
        idle = [stack.enter_context(socket.create_connection(address, 5)) for _ in range(number)]
        with daemon.log_in(1) as initiator:
            assert initiator.ping(b"x").data == b"x"
        # Those that came first had to go.
        assert idle[0].recv(1) == b""
        idle[-1].setblocking(False)
        with pytest.raises(BlockingIOError):
            idle[-1].recv(1)
        assert daemon.memory - before < number * IDLE_CONNECTION
    assert "login dropped: too many at a time" in daemon.log


@pytest.mark.slow
@pytest.mark.logs("cannot accept connections: Too many open files")
def test_no_descriptors_left_is_survived(live: LiveTarget) -> None:
    with live.initiator() as old, socket.socket() as sock, contextlib.ExitStack() as stack:
        old.login(TARGET)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 16, hard))
        try:
            # Whatever holes there are among the descriptors.
            with contextlib.suppress(OSError):
                while True:
                    stack.callback(os.close, os.dup(0))
            sock.connect((live.hosts[0], live.port))
            waiting = Initiator(sock, timeout=0.5)
            waiting.send(waiting.login_pdu(waiting.names(TARGET)))
            with pytest.raises(TimeoutError):
                waiting.receive()
            assert old.ping(b"x").data == b"x"
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        sock.settimeout(5)
        assert waiting.receive().opcode == wire.LOGIN_RESPONSE


@pytest.mark.slow
def test_signals_suspend_and_resume_logins(daemon: Served) -> None:
    with daemon.log_in(1) as old, socket.socket() as sock:
        os.kill(daemon.pid, signal.SIGUSR1)
        while "logins are suspended" not in daemon.log:
            time.sleep(0.01)
        sock.connect((HOST, daemon.port))
        with pytest.raises(LoginError) as caught:
            Initiator(sock).login(TARGET)
        assert caught.value.status == 0x0301
        assert old.ping(b"x").data == b"x"
        os.kill(daemon.pid, signal.SIGUSR2)
        while "logins are resumed" not in daemon.log:
            time.sleep(0.01)
        with daemon.log_in(2) as new:
            assert new.ping(b"x").data == b"x"


def test_dead_peers_are_found_by_tcp(live: LiveTarget) -> None:
    with live.log_in():
        (nexus,) = live.sessions()
        sock = nexus.wire.sock
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 50


class _Other:
    """A session that has a handle."""

    def __init__(self, tsih: int) -> None:
        self.tsih = tsih


@pytest.mark.logs("refused: there are too many sessions")
def test_a_session_without_a_handle_is_refused(
    live: LiveTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = {_Other(tsih): None for tsih in range(1, 1 << 16)}
    monkeypatch.setattr(live.server.sessions, "_all", lambda: iter(others))
    with live.initiator() as initiator, pytest.raises(LoginError) as refused:
        initiator.login(TARGET)
    assert refused.value.status == OUT_OF_RESOURCES
    # The only one that is free is found.
    del others[next(other for other in others if other.tsih == 4711)]
    with live.initiator() as initiator:
        initiator.login(TARGET)
        assert initiator.tsih == 4711
        monkeypatch.undo()


@pytest.mark.logs("refused", "suppressed")
def test_refused_logins_are_logged_with_who_and_why_but_not_without_end(
    live: LiveTarget, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connect, "_incidents", RateLimited(connect.log, burst=10))
    caplog.set_level(logging.INFO, "scstfs")
    for number in range(40):
        sock = live.connect()
        address, port = sock.getsockname()
        with Initiator(sock, name=f"iqn.i{number}") as initiator, pytest.raises(LoginError):
            initiator.login("iqn.nothing")
        if not number:
            assert (
                f"{address}:{port}: login of 'iqn.i0' refused: "
                "there is no target 'iqn.nothing' (status 0203)"
            ) in caplog.text
    assert caplog.text.count("refused") == 10


# Memory (RFC 7143 4.2.2.1: the window; 11.8: R2Ts)


def read_10(lba: int, blocks: int) -> bytes:
    return struct.pack(">BBIBHB", 0x28, 0, lba, 0, blocks, 0)


def read_16(lba: int, blocks: int) -> bytes:
    return struct.pack(">BBQIBB", 0x88, 0, lba, blocks, 0, 0)


def write_16(lba: int, blocks: int) -> bytes:
    return struct.pack(">BBQIBB", 0x8A, 0, lba, blocks, 0, 0)


class Neighbour:
    """Another initiator, which must not notice anything."""

    def __init__(self, daemon: Served) -> None:
        self._initiator = daemon.log_in(999)
        self.slowest = 0.0

    def look(self) -> None:
        began = time.monotonic()
        task = self._initiator.command(read_10(0, 8), expect=4096)
        assert (task.status, len(task.data)) == (0, 4096)
        self.slowest = max(self.slowest, time.monotonic() - began)

    def close(self) -> None:
        self._initiator.close()


@pytest.fixture
def neighbour(daemon: Served) -> Iterator[Neighbour]:
    neighbour = Neighbour(daemon)
    neighbour.look()
    yield neighbour
    neighbour.close()


@contextlib.contextmanager
def no_more_memory_than_allowed(daemon: Served, neighbour: Neighbour) -> Iterator[None]:
    daemon.reset_peak()
    before = daemon.memory
    yield
    grown = daemon.peak_memory - before
    assert grown <= ALLOWED + SLACK, f"{grown / MIB:.1f} MiB more"
    assert neighbour.slowest < PROMPTLY


@pytest.mark.slow
def test_write_data_that_never_ends_fills_no_more_than_the_window_allows(
    daemon: Served, neighbour: Neighbour
) -> None:
    """Every command of the window wants 8 MiB and gets all except the last bytes."""
    size = 8 * MIB
    piece = bytes(256 * 1024)
    sent = 0
    with (
        no_more_memory_than_allowed(daemon, neighbour),
        daemon.log_in(
            1, keys=[("MaxBurstLength", str(MAX_BURST)), ("MaxOutstandingR2T", "8")]
        ) as flood,
    ):
        flood.answer_r2ts = False
        tasks = [
            flood.issue(
                write_16(0, size // 512), data_out=bytes(size), immediate_data=0, unsolicited=0
            )
            for _ in range(QUEUED_COMMANDS)
        ]
        answered = dict.fromkeys(range(len(tasks)), 0)
        quiet = False
        while not quiet:
            quiet = not flood.drain(0.2)
            for number, task in enumerate(tasks):
                for r2t in task.r2ts[answered[number] :]:
                    answered[number] += 1
                    quiet = False
                    end = r2t["buffer_offset"] + r2t["desired_length"]
                    last = end == size
                    for at in range(r2t["buffer_offset"], end - (512 if last else 0), len(piece)):
                        length = min(len(piece), end - (512 if last else 0) - at)
                        pdu = wire.Pdu.make(
                            wire.DATA_OUT,
                            data=piece[:length],
                            flags=FINAL if at + length == end else 0,
                            itt=task.itt,
                            ttt=r2t["ttt"],
                            exp_stat_sn=flood.exp_stat_sn,
                            data_sn=(at - r2t["buffer_offset"]) // len(piece),
                            buffer_offset=at,
                        )
                        flood.send(pdu)
                        flood.record.clear()
                        sent += length
                    neighbour.look()
        assert not any(task.done for task in tasks)
    # It was a flood: it did fill what it is allowed to.
    assert ALLOWED // 2 <= sent <= ALLOWED + size
    assert_gone(daemon)


@pytest.mark.slow
@pytest.mark.parametrize("in_order", [True, False])
def test_data_that_nobody_asked_for_fills_no_more_than_the_window_allows(
    daemon: Served, neighbour: Neighbour, in_order: bool
) -> None:
    """First bursts of 1 MiB without an end, for commands in their turn and out of it."""
    segment = 256 * 1024
    data = bytes(4 * MIB)
    sent = 0
    with (
        no_more_memory_than_allowed(daemon, neighbour),
        daemon.log_in(
            2, keys=[("MaxBurstLength", str(MAX_BURST)), ("FirstBurstLength", str(MAX_BURST))]
        ) as flood,
    ):
        burst = int(flood.parameter("FirstBurstLength"))
        if not in_order:
            flood.cmd_sn += 1
        with contextlib.suppress(ClosedError, TimeoutError):
            flood.sock.settimeout(2)
            for _ in range(4 * QUEUED_COMMANDS):
                task = flood.prepare(
                    write_16(0, 8192), data_out=data, immediate_data=segment, unsolicited=burst
                )
                flood.send(task.command)
                for sn, at in enumerate(range(segment, burst - 512, segment)):
                    length = min(segment, burst - 512 - at)
                    flood.send(
                        wire.Pdu.make(
                            wire.DATA_OUT,
                            data=data[:length],
                            itt=task.itt,
                            ttt=NO_TAG,
                            exp_stat_sn=flood.exp_stat_sn,
                            data_sn=sn,
                            buffer_offset=at,
                        )
                    )
                    sent += length
                flood.record.clear()
                neighbour.look()
    assert sent >= ALLOWED // 2
    assert_gone(daemon)


@pytest.mark.slow
def test_answers_that_nobody_reads_fill_no_more_than_the_window_allows(
    daemon: Served, neighbour: Neighbour
) -> None:
    with (
        no_more_memory_than_allowed(daemon, neighbour),
        daemon.log_in(3, keys=[("MaxBurstLength", str(MAX_BURST))]) as deaf,
    ):
        sent = 0
        with contextlib.suppress(TimeoutError):
            deaf.sock.settimeout(1)
            while sent < 20 * QUEUED_COMMANDS:
                deaf.issue(read_10(0, 8192), expect=4 * MIB)
                deaf.issue(read_10(0, 8), expect=4096)
                sent += 2
                neighbour.look()
        for _ in range(50):
            neighbour.look()
    assert_gone(daemon)


def test_reads_that_waited_fill_no_more_than_the_window_allows(live: LiveTarget) -> None:
    """They were accepted before anything was read, and wait for each other's memory."""
    length = MIB
    live.write(f"{DIRECTORY}/QueuedCommands", "16\n")
    with live.log_in(keys=[("MaxBurstLength", str(length // 4))]) as initiator:
        allowed = 16 * length // 4
        (nexus,) = live.sessions()
        connection, device = nexus.connection, live.target().default_acg.luns[0].device
        assert connection is not None

        def thaw() -> int:
            device.tasks.thaw()
            return connection.replies.reading

        live.call(device.tasks.freeze)
        waiting = [initiator.issue(read_10(0, length // 512), expect=length) for _ in range(15)]
        initiator.ping()
        peak = live.call(thaw)
        assert allowed <= peak < allowed + length
        for task in waiting:
            assert initiator.wait(task).status == 0
            assert task.data == bytes(length)
        assert live.call(lambda: connection.replies.reading) == 0
        assert initiator.command(read_10(0, length // 512), expect=length).data == bytes(length)


@pytest.mark.slow
def test_reads_of_more_than_a_device_takes_are_refused(daemon: Served) -> None:
    length = 65 * MIB
    with daemon.log_in(1) as initiator:
        task = initiator.command(read_16(0, length // 512), expect=length)
        assert (task.status, task.sense[12:14]) == (2, b"\x24\x00")


def assert_gone(daemon: Served) -> None:
    """The broken session is gone; the neighbour's exists."""
    deadline = time.monotonic() + 10
    while len(daemon.sessions()) > 1:
        assert time.monotonic() < deadline
        time.sleep(0.02)

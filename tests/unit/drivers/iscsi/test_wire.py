"""The socket of a connection: what leaves in which order, and how it is waited for."""

from __future__ import annotations

import functools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from scstfs.aio import Engine
from scstfs.drivers.iscsi import wire as module
from scstfs.drivers.iscsi.wire import Flusher, Spawn, Wire
from scstfs.iscsi.chunks import Chunks
from scstfs.iscsi.receive import Receiver
from scstfs.iscsi.transmit import FilePart
from tests.support.live_target import listen

HEADER = bytes(range(48))


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a TCP connection; the first one blocks."""
    with listen("127.0.0.1") as listener:
        peer = socket.create_connection(listener.getsockname(), 5)
        own, _ = listener.accept()
    with peer, own:
        yield peer, own


def in_loop_soon(call: Callable[[], None]) -> None:
    trio.lowlevel.current_trio_token().run_sync_soon(call)


def no_writer(*_: object) -> None:
    pytest.fail("it would block")


@functools.cache
def disks() -> Engine:
    """Nothing is asked of it."""
    return Engine("threads", in_loop_soon)


def wire_of(own: socket.socket, spawn: Spawn = no_writer) -> Wire:
    return Wire(own, Flusher(in_loop_soon, disks()), Chunks(), spawn)


def received(peer: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = peer.recv(count - len(data))
        assert piece, "closed"
        data += piece
    return data


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(1 << 20))
    fd = os.open(path, os.O_RDWR)
    yield fd
    os.close(fd)


async def test_files_and_memory_leave_in_order(
    pair: tuple[socket.socket, socket.socket], file: int
) -> None:
    peer, own = pair
    given_back: list[int] = []
    wanted = HEADER + b"first\0\0\0"
    for number in range(3):
        wanted += HEADER + os.pread(file, 100_000, number * 4096)
    wanted += HEADER + b"last"
    async with trio.open_nursery() as nursery:
        wire = wire_of(own, nursery.start_soon)
        wire.tx.put(HEADER, b"first")
        for number in range(3):
            part = FilePart(file, number * 4096, 100_000)
            wire.tx.put_reference(HEADER, part, partial(given_back.append, number))
        wire.tx.put(HEADER, b"last")
        wire.flush()
        assert await trio.to_thread.run_sync(received, peer, len(wanted)) == wanted
        await wire.drain()
        wire.stop_writing()
    assert given_back == [0, 1, 2]


async def test_what_the_peer_does_not_take_waits(
    pair: tuple[socket.socket, socket.socket], file: int
) -> None:
    peer, own = pair
    count = 40
    async with trio.open_nursery() as nursery:
        wire = wire_of(own, nursery.start_soon)
        for _ in range(count):
            wire.tx.put_reference(HEADER, FilePart(file, 0, 1 << 20))
        wire.flush()
        assert wire.is_writing
        await wait_all_tasks_blocked()
        assert wire.tx.pending
        total = count * (len(HEADER) + (1 << 20))
        data = await trio.to_thread.run_sync(received, peer, total)
        await wire.drain()
        wire.stop_writing()
    content = os.pread(file, 1 << 20, 0)
    assert data == (HEADER + content) * count


async def test_a_file_that_is_too_short_ends_the_connection(
    pair: tuple[socket.socket, socket.socket], file: int
) -> None:
    _, own = pair
    wire = wire_of(own)
    wire.tx.put_reference(HEADER, FilePart(file, (1 << 20) - 4096, 8192))
    wire.flush()
    assert "shorter" in wire.reason or "Input/output" in wire.reason
    assert wire.scope.cancel_called


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one whenever a task waits for a socket in the event loop."""
    found: list[int] = []
    wait_readable = trio.lowlevel.wait_readable

    async def counted(sock: socket.socket) -> None:
        found.append(sock.fileno())
        await wait_readable(sock)

    monkeypatch.setattr(trio.lowlevel, "wait_readable", counted)
    return found


async def receive(wire: Wire, peer: socket.socket, *, is_idle: bool = True) -> None:
    """Receive what the peer sends a moment later."""

    def send() -> None:
        time.sleep(0.05)
        peer.sendall(b"x")

    sender = threading.Thread(target=send)
    sender.start()
    assert await wire.receive(Receiver(4096), is_idle=is_idle) == 1
    sender.join()


async def test_a_prompt_peer_is_waited_for_outside_the_loop(
    pair: tuple[socket.socket, socket.socket],
    sleeps: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peer, own = pair
    wire = wire_of(own)
    monkeypatch.setattr(module, "PROMPT", 30.0)
    await receive(wire, peer)
    assert len(sleeps) == 1
    # It was prompt.
    await receive(wire, peer)
    assert len(sleeps) == 1
    # It waits for an answer that another task sends.
    await receive(wire, peer, is_idle=False)
    assert len(sleeps) == 2


async def test_more_than_a_little_is_waited_for_asleep(
    pair: tuple[socket.socket, socket.socket],
    sleeps: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peer, own = pair
    wire = wire_of(own)
    monkeypatch.setattr(module, "PROMPT", 30.0)
    monkeypatch.setattr(module, "LITTLE", -1)
    monkeypatch.setattr(Wire, "_look_on", lambda *_: pytest.fail("awake"))
    await receive(wire, peer)
    await receive(wire, peer)
    assert len(sleeps) == 1


async def test_a_peer_that_is_slow_is_not_waited_for(
    pair: tuple[socket.socket, socket.socket],
    sleeps: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peer, own = pair
    wire = wire_of(own)
    monkeypatch.setattr(module, "PROMPT", 0.001)
    for times in range(1, 4):
        await receive(wire, peer)
        assert len(sleeps) == times


async def test_nobody_is_waited_for_while_others_are_busy(
    pair: tuple[socket.socket, socket.socket],
    sleeps: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peer, own = pair
    wire = wire_of(own)
    monkeypatch.setattr(module, "PROMPT", 30.0)
    await receive(wire, peer)
    wire.flusher.receiver = None
    await receive(wire, peer)
    assert len(sleeps) == 2


async def test_nothing_is_received_after_the_connection_was_closed(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its memory has been given back, and may hold other data."""
    peer, own = pair
    wire, rx = wire_of(own), Receiver(4096)

    async def closed_meanwhile(_sock: socket.socket) -> None:
        peer.sendall(b"x")
        wire.close("session reinstatement")

    monkeypatch.setattr(trio.lowlevel, "wait_readable", closed_meanwhile)
    with wire.scope:
        await wire.receive(rx)
    assert wire.scope.cancelled_caught
    assert rx.total == 0


async def test_polling_ends_as_soon_as_it_is_not_wanted_any_more(
    pair: tuple[socket.socket, socket.socket], sleeps: list[int]
) -> None:
    peer, own = pair
    wire, asked = wire_of(own), 0

    def poll() -> float:
        nonlocal asked
        asked += 1
        return 3600.0 if asked < 10 else 0.0

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.receive, Receiver(4096), poll)
        with trio.fail_after(5):
            while not sleeps:
                await trio.lowlevel.checkpoint()
        peer.sendall(b"x")
    assert asked == 10
    assert len(sleeps) == 1


@pytest.mark.logs("internal error")
async def test_a_bug_in_one_connection_does_not_keep_others_from_sending(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    peer, own = pair
    flusher = Flusher(in_loop_soon, disks())
    broken, good = (Wire(own, flusher, Chunks(), no_writer) for _ in range(2))

    def flush() -> None:
        raise RuntimeError

    monkeypatch.setattr(broken, "flush", flush)
    good.tx.put(HEADER)
    for wire in (broken, good):
        flusher.mark(wire)
    await wait_all_tasks_blocked()
    assert received(peer, len(HEADER)) == HEADER
    assert broken.scope.cancel_called
    assert not good.scope.cancel_called

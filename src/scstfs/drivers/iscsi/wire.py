"""The socket of one connection: one receive, many requests, one send.

A wire is driven by one task, the *pump*: it receives, has the requests processed and sends the
answers. When a send would block for the first time, a second task is started, the *writer*, which
continues when the socket accepts more. Answers that become ready elsewhere (worker threads,
management commands) are sent directly; the ``Flusher`` remembers the wires that have some.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
import time
from collections.abc import Callable
from typing import Final, TypeAlias

import trio

from scstfs.aio import Engine
from scstfs.core.histogram import NANO
from scstfs.core.nexus_times import Batches
from scstfs.errors import reason
from scstfs.iscsi.chunks import Chunks
from scstfs.iscsi.discovery import NetworkPortal
from scstfs.iscsi.receive import Receiver
from scstfs.iscsi.transmit import FilePart, Transmitter

log = logging.getLogger(__name__)

#: Receives without a pause before other tasks run; a receive of little data counts as one, any
#: other as MUCH.
TURNS: Final = 32
MUCH: Final = 4

#: TCP keepalive, as in SCST: seconds of silence before the first probe, seconds between probes, and
#: their number.
_KEEPALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 50),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 3),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2),
)

#: If only one connection is busy and its peer is this quick (seconds), the connection waits for the
#: next request without going through the event loop, which would cost more than the wait.
PROMPT: Final = 100e-6
#: Up to this many bytes moved between two requests, the connection polls for the next one. With
#: more it is better to sleep: requests pile up and can be answered together.
LITTLE: Final = 16 * 1024
#: Requests to disks that are little enough to look on what becomes of them.
FEW: Final = 4
#: File descriptors that select(2) takes.
_SELECTABLE: Final = 1024
#: If the peer may need this CPU, polling would keep it from sending.
_HAS_CPU_TO_SPARE: Final = len(os.sched_getaffinity(0)) > 1

#: Why a connection ended, in the usual case.
CLOSED_BY_PEER: Final = "closed by the initiator"
#: Some initiators close with a reset, for example because of unread data.
_CLOSED: Final = frozenset({errno.ECONNRESET, errno.EPIPE})

#: How long (seconds) a peer may take to close its side, and how much it may still send (bytes).
_LINGER: Final = 1.0
_LINGER_BYTES: Final = 1 << 20


Spawn: TypeAlias = Callable[..., object]
"""``(async function, *arguments)``: start a task that ends when the connection does."""


class _SocketWriter:
    """The task that waits for the socket to take more.

    It is in no nursery of the connection: leaving one by cancellation leaks memory (CPython keeps
    the names of methods that were looked up from C).
    """

    def __init__(self) -> None:
        self.scope = trio.CancelScope()
        self.idle = trio.lowlevel.ParkingLot()


class Flusher:
    """Batches of work, and the wires that have something to send at the end of the present one.

    What a batch wants of disks is handed over before that.
    """

    def __init__(self, wake: Callable[[Callable[[], None]], None], disks: Engine) -> None:
        """``wake`` schedules a call in the event loop soon."""
        self._wake = wake
        self.disks = disks
        self._ready: dict[Wire, None] = {}
        self._calls: list[Callable[[], None]] = []
        self._held = 0
        self._armed = False
        #: The wire that received last.
        self.receiver: Wire | None = None
        #: A request of the tree waits, which should not wait for the next batch.
        self.urgent: Callable[[], bool] = lambda: False

    def mark(self, wire: Wire) -> None:
        """``wire`` has something to send: at the end of the batch, or soon if there is none."""
        self._ready[wire] = None
        self._arm()

    def call_at_end(self, call: Callable[[], None]) -> None:
        """Have ``call`` lay out what is to be sent, when the batch is done, or soon without one."""
        self._calls.append(call)
        self._arm()

    def _arm(self) -> None:
        if not self._held and not self._armed:
            self._armed = True
            self._wake(self._flush)

    def hold(self) -> None:
        """A batch of work begins."""
        self._held += 1
        self.disks.hold()

    def release(self) -> None:
        """A batch of work is done: send."""
        self._held -= 1
        self.disks.release()
        if (self._ready or self._calls) and not self._held:
            self._flush()

    def _flush(self) -> None:
        self._armed = False
        calls, self._calls = self._calls, []
        self._held += 1
        for call in calls:
            try:
                call()
            except Exception:
                log.exception("answers could not be laid out")
        self._held -= 1
        ready, self._ready = self._ready, {}
        for wire in ready:
            try:
                wire.flush()
            except Exception:
                # A bug in one connection must not stop the others.
                wire.fail()


class Wire:
    """A non-blocking socket with the data that waits to be sent on it."""

    def __init__(self, sock: socket.socket, flusher: Flusher, chunks: Chunks, spawn: Spawn) -> None:
        """The caller closes ``sock``; raises OSError if it is not connected.

        PDUs are laid out in ``chunks``; ``spawn`` starts the writer.
        """
        self.sock = sock
        self.tx = Transmitter(chunks)
        self.flusher = flusher
        self.batches: Final = Batches()
        #: When the last send ended (ns, of time.perf_counter_ns).
        self._sent_at = 0
        #: The task of the connection runs in this scope: cancelling it ends the connection.
        self.scope = trio.CancelScope()
        #: Why the connection ended; for the log.
        self.reason = ""
        #: The peer gets time to read what was sent last.
        self.lingers = False
        self._blocked = False
        #: The pump sleeps until data arrives, and no chunk is borrowed meanwhile.
        self._rests = False
        #: The peer's last request came within PROMPT.
        self._is_prompt = False
        #: Bytes received and sent up to the last request.
        self._moved = 0
        self._spawn = spawn
        self._writer: _SocketWriter | None = None
        self._pump = trio.lowlevel.ParkingLot()
        self._turns = 0
        self.peer = NetworkPortal.of_socket(sock.getpeername())
        self.local = NetworkPortal.of_socket(sock.getsockname())
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for level, option, value in _KEEPALIVE:
            sock.setsockopt(level, option, value)

    @property
    def is_writing(self) -> bool:
        """Return whether there is more to send than the peer accepts at the moment."""
        return self._blocked

    def close(self, reason: str) -> None:
        """End the connection from this side; returns at once."""
        self.reason = self.reason or reason
        self.scope.cancel()
        self.stop_writing()

    def fail(self) -> None:
        """End the connection because of the exception being handled, a bug of ours."""
        log.exception("%s: connection dropped because of an internal error", self.peer)
        self.close("internal error")

    # Sending

    def flush(self) -> None:
        """Send what can be sent without waiting; never raises."""
        tx = self.tx
        while tx.pending and not self._blocked:
            laid_out = tx.laid_out
            try:
                if laid_out is not None:
                    # In the common case this is all.
                    sent, wanted = self.sock.send(laid_out), len(laid_out)
                else:
                    sent, wanted = self._send_some()
            except BlockingIOError:
                sent, wanted = 0, 1
            except OSError as error:
                self.close(lost(error))
                return
            tx.sent(sent)
            if sent < wanted:
                self._blocked = True
                self._write_later()
        self._sent_at = time.perf_counter_ns() if self._blocked else self.batches.sent()
        if self._rests:
            tx.rest()
        elif self._pump:
            self._pump.unpark_all()

    def _send_some(self) -> tuple[int, int]:
        """Send the next data; return the bytes sent and the bytes offered."""
        buffers = self.tx.buffers()
        if not buffers:
            return self._send_file(self.tx.file_part)
        wanted = sum(map(len, buffers))
        # Data from a file should share TCP segments with the header before it.
        flags = socket.MSG_MORE if wanted < self.tx.pending else 0
        if len(buffers) == 1:
            return self.sock.send(buffers[0], flags), wanted
        return self.sock.sendmsg(buffers, (), flags), wanted

    def _send_file(self, part: FilePart | None) -> tuple[int, int]:
        assert part is not None
        sent = os.sendfile(self.sock.fileno(), part.fd, part.offset, part.length)
        if not sent:
            # The header with its status has been sent already.
            raise OSError(errno.EIO, "the file is shorter than the device")
        return sent, sent

    def _write_later(self) -> None:
        if self._writer is None:
            self._writer = _SocketWriter()
            self._spawn(self._write, self._writer)
        else:
            self._writer.idle.unpark_all()

    async def _write(self, writer: _SocketWriter) -> None:
        with writer.scope:
            try:
                while True:
                    if not self._blocked:
                        await writer.idle.park()
                    try:
                        await trio.lowlevel.wait_writable(self.sock)
                    except trio.ClosedResourceError:
                        # It was not the writer that was to be roused.
                        continue
                    self._blocked = False
                    self.flush()
            except Exception:
                self.fail()

    def stop_writing(self) -> None:
        """Stop the writer: from now on data is sent only if the socket accepts it at once."""
        if self._writer is not None:
            self._writer.scope.cancel()

    async def send_all(self, data: bytes) -> None:
        """Send ``data`` before anything else; for the login phase.  Raises OSError."""
        view = memoryview(data)
        while view:
            try:
                view = view[self.sock.send(view) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self.sock)

    async def drain(self) -> None:
        """Wait until everything has been sent."""
        self.flush()
        while self.tx.pending:
            await self._pump.park()

    async def linger(self) -> None:
        """Close our side, and wait a while for the peer to close its own.

        The last data sent would be lost if the socket were closed while received data is unread.
        """
        left = _LINGER_BYTES
        try:
            self.sock.shutdown(socket.SHUT_WR)
            with trio.move_on_after(_LINGER):
                while left > 0:
                    await trio.lowlevel.wait_readable(self.sock)
                    count = len(self.sock.recv(4096))
                    if not count:
                        return
                    left -= count
        except OSError:
            # The peer has gone already.
            return

    # Receiving

    async def receive(
        self, rx: Receiver, poll: Callable[[], float] | None = None, *, is_idle: bool = False
    ) -> int:
        """Receive available data into ``rx``, waiting if there is none; returns 0 at the end.

        ``poll`` is how long (seconds) to poll for more before sleeping; ``is_idle``: nothing is
        under way that the peer may wait for. Raises OSError.
        """
        buffers = rx.buffers()
        count = self._receive_now(buffers)
        if count is not None:
            # It was already there when the last answers had been sent.
            self.batches.received = self._sent_at
        else:
            soon = self._receive_soon if is_idle else self._wait_for_disk
            count = soon(rx, buffers)
        if count is None:
            if poll is not None:
                count = await self._poll(buffers, poll)
            if count is None:
                del buffers  # they are in a chunk that will be given back
                count = await self._receive_later(rx, is_idle=is_idle)
            self._turns = 0
        else:
            await self.take_turn(1 if count <= LITTLE else MUCH)
        self.flusher.receiver = self
        rx.received(count)
        return count

    def rouse(self) -> None:
        """Have ``receive`` return 0 if it waits: the connection goes on without the peer."""
        trio.lowlevel.notify_closing(self.sock)
        self._pump.unpark_all()

    def _receive_soon(self, rx: Receiver, buffers: list[memoryview]) -> int | None:
        """Poll for the next request if it is expected soon and no other task waits.

        After a peer was too slow, this stops until it is quick again.
        """
        moved = rx.total + self.tx.sent_total
        is_little = moved - self._moved <= LITTLE
        self._moved = moved
        if not self._is_prompt or self.flusher.receiver is not self:
            return None
        if is_little and _HAS_CPU_TO_SPARE:
            count = self._look_on(buffers)
        else:
            count = self._sleep_briefly(buffers)
        self._is_prompt = count is not None
        return count

    def _wait_for_disk(self, rx: Receiver, buffers: list[memoryview]) -> int | None:
        """Wait for what disks do, where that is little and soon done, and for the next request."""
        disks = self.flusher.disks
        is_worth_it = disks.is_prompt and 0 < disks.under_way <= FEW and _HAS_CPU_TO_SPARE
        if not is_worth_it or self.flusher.receiver is not self:
            return None
        end = time.perf_counter() + PROMPT
        while time.perf_counter() < end:
            if disks.drain():
                return self._look_on(buffers)
        return None

    def _look_on(self, buffers: list[memoryview]) -> int | None:
        end = time.perf_counter_ns() + PROMPT * NANO
        while (now := time.perf_counter_ns()) < end:
            count = self._receive_now(buffers)
            if count is not None:
                self.batches.received = now
                return count
        return None

    def _sleep_briefly(self, buffers: list[memoryview]) -> int | None:
        if self.sock.fileno() < _SELECTABLE:
            select.select((self.sock,), (), (), PROMPT)
        self.batches.received = time.perf_counter_ns()
        return self._receive_now(buffers)

    async def _receive_later(self, rx: Receiver, *, is_idle: bool) -> int:
        began = time.perf_counter_ns()
        self._rests = True
        self.tx.rest()
        while True:
            rx.rest()
            try:
                await trio.lowlevel.wait_readable(self.sock)
            except trio.ClosedResourceError:
                self._rests = False
                return 0
            if self.scope.cancel_called:
                # Closed after data arrived and before this task ran: the memory for the rest of a
                # data segment has another owner by now.
                await trio.lowlevel.checkpoint()
            count = self._receive_now(rx.buffers())
            if count is not None:
                self._rests = False
                self.batches.received = now = time.perf_counter_ns()
                self._is_prompt = is_idle and now - began < PROMPT * NANO
                return count

    async def take_turn(self, weight: int = MUCH) -> None:
        """Let other tasks run now and then, even if there is much to do here."""
        self._turns += weight
        if self._turns >= TURNS or self.flusher.urgent():
            self._turns = 0
            await trio.lowlevel.checkpoint()

    async def _poll(self, buffers: list[memoryview], duration: Callable[[], float]) -> int | None:
        began = time.perf_counter()
        # It may have been changed meanwhile.
        while time.perf_counter() - began < duration():
            await trio.lowlevel.checkpoint()
            count = self._receive_now(buffers)
            if count is not None:
                self.batches.received = time.perf_counter_ns()
                return count
        return None

    def _receive_now(self, buffers: list[memoryview]) -> int | None:
        try:
            if len(buffers) == 1:
                return self.sock.recv_into(buffers[0])
            return self.sock.recvmsg_into(buffers)[0]
        except BlockingIOError:
            return None

    async def wait_for_room(self, has_room: Callable[[], bool]) -> None:
        """Wait until enough has been sent to process more requests."""
        if has_room():
            await self.take_turn()
        await self.wait_until(has_room)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for what sending, or ``rouse``, brings about."""
        while not condition():
            await self._pump.park()


def lost(error: OSError) -> str:
    """The reason for the log why a connection whose socket failed has ended."""
    return CLOSED_BY_PEER if error.errno in _CLOSED else reason(error)

"""Logging: one tree of loggers, `scstfs.*`, written by its own thread.

Every module logs to `logging.getLogger(__name__)`; only the command line calls `setup`. A line is
`TIME LEVEL logger: text` on a terminal or in a file. When stderr is the journal, entries go to the
journal's socket, with fields for the target, the device and the initiator concerned; if there is no
such socket, lines have the priority prefixes of sd-daemon(3). A process in the background logs to
the journal, or else to syslog.

stderr may be a pipe that is not read, or a terminal stopped with Ctrl-S. That must not stop the
target, so messages pass through a bounded queue; messages that do not fit are counted and dropped.
"""

from __future__ import annotations

import logging
import os
import queue
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, TextIO, TypeAlias

from scstfs import journal
from scstfs.journal import LogSocket
from scstfs.latest import LatestLines

LEVELS: Final[Mapping[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

# logging level -> syslog priority (RFC 5424 6.2.1), highest level first
_PRIORITIES: Final = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
    (logging.NOTSET, 7),
)

_PLAIN_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_SHORT_FORMAT: Final = "%(name)s: %(message)s"
_NAME: Final = "scstfs"

_QUEUE_LINES: Final = 4096
_FLUSH_SECONDS: Final = 0.5
_RECENT_BYTES: Final = 32 << 10
_RECENT_TEXT: Final = 300


# Subjects of messages


@dataclass(frozen=True, slots=True)
class Subject:
    """A name in a message, with its fields for the journal.

    Other subjects of messages have `log_fields`, too.
    """

    text: str
    log_fields: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the text in the message."""
        return self.text


def target_fields(name: str) -> dict[str, str]:
    """Return the fields of a message about a target."""
    return {"SCST_TARGET": name}


def device_fields(name: str) -> dict[str, str]:
    """Return the fields of a message about a device."""
    return {"SCST_DEVICE": name}


def initiator_fields(name: str) -> dict[str, str]:
    """Return the fields of a message about an initiator."""
    return {"SCST_INITIATOR": name}


def _fields_of(record: logging.LogRecord) -> dict[str, str]:
    arguments = record.args if isinstance(record.args, tuple) else ()
    found: dict[str, str] = {}
    for argument in arguments:
        found |= getattr(argument, "log_fields", {})
    return found


# Encoding


def priority(record: logging.LogRecord) -> int:
    """Return the syslog priority of a record (RFC 5424 6.2.1)."""
    return next(number for level, number in _PRIORITIES if record.levelno >= level)


Encode: TypeAlias = Callable[[logging.LogRecord], Iterable[bytes]]
"""What is sent for a record, in one or several messages."""


def _as_line(record: logging.LogRecord) -> list[bytes]:
    text = logging.Formatter(_PLAIN_FORMAT).format(record)
    return [f"{text}\n".encode(errors="backslashreplace")]


def _short_lines(record: logging.LogRecord) -> list[str]:
    return logging.Formatter(_SHORT_FORMAT).format(record).splitlines() or [""]


def _as_prefixed_lines(record: logging.LogRecord) -> list[bytes]:
    """`<N>` before every line, also before each line of a traceback."""
    lines = (f"<{priority(record)}>{line}\n" for line in _short_lines(record))
    return ["".join(lines).encode(errors="backslashreplace")]


def _as_syslog(record: logging.LogRecord) -> list[bytes]:
    return journal.syslog_lines(priority(record), _NAME, _short_lines(record))


def _as_journal_entry(record: logging.LogRecord) -> list[bytes]:
    fields = {
        "MESSAGE": logging.Formatter("%(message)s").format(record),
        "PRIORITY": str(priority(record)),
        "SYSLOG_IDENTIFIER": _NAME,
        "LOGGER": record.name,
        "CODE_FILE": record.pathname,
        "CODE_LINE": str(record.lineno),
        **_fields_of(record),
    }
    return [journal.journal_entry(fields)]


# The latest lines


class _Recent(logging.Handler):
    """Keeps the latest messages, for programs that show them."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: Final = LatestLines(_RECENT_BYTES)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message."""
        try:
            text = record.getMessage()
        except Exception:
            self.handleError(record)
            return
        self.lines.add((round(record.created, 3), record.levelname, text[:_RECENT_TEXT]))


_recent: Final = _Recent()


def recent() -> str:
    """The latest messages, a line of JSON for each, the newest last.

    Each is a list: when (seconds since the epoch), level, text.
    """
    return _recent.lines.text


# Where it goes


class Sink(Protocol):
    """Where messages go."""

    def send(self, message: bytes) -> None:
        """Send a message; may block. Raises OSError if the reader is gone."""

    def close(self) -> None:
        """Close it."""


class FileSink:
    """A file, pipe or terminal."""

    def __init__(self, fd: int) -> None:
        """Use a duplicate of `fd`, which stays the caller's."""
        self._fd = os.dup(fd)
        self._writable = select.poll()
        self._writable.register(self._fd, select.POLLOUT)

    def send(self, message: bytes) -> None:
        """See Sink."""
        while message:
            try:
                message = message[os.write(self._fd, message) :]
            except BlockingIOError:  # another process has set it to non-blocking
                self._writable.poll()

    def close(self) -> None:
        """See Sink."""
        os.close(self._fd)


class BackgroundHandler(logging.Handler):
    """Hands records to a sink without ever blocking: a thread does the sending."""

    def __init__(self, sink: Sink, encode: Encode, capacity: int = _QUEUE_LINES) -> None:
        """The thread starts with the first record: before that, the process may change.

        Args:
            sink: where messages go; it is closed with this.
            encode: makes messages of a record.
            capacity: messages that may wait; more are dropped and counted.
        """
        super().__init__()
        self._sink = sink
        self._encode = encode
        self._queue: queue.Queue[bytes | None] = queue.Queue(capacity)
        self._lost = 0
        self._closed = False
        self._started = False
        self._thread = threading.Thread(target=self._drain, name="log", daemon=True)

    def _start(self) -> None:
        self._started = True
        # The thread must never be the one the kernel picks to take a signal.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record; tell of lost ones as soon as there is room again.

        logging.Handler calls it under its lock.
        """
        try:
            if not self._started:
                self._start()
            if self._lost:
                text = f"({self._lost} log lines lost: they are not being read)"
                self._put(_record(logging.WARNING, text))
                self._lost = 0
            self._put(record)
        except queue.Full:
            self._lost += 1
        except Exception:
            self.handleError(record)

    def _put(self, record: logging.LogRecord) -> None:
        for message in self._encode(record):
            self._queue.put_nowait(message)

    def close(self, timeout: float = _FLUSH_SECONDS) -> None:
        """Send what is queued, for at most `timeout` seconds; later records are lost."""
        if self._closed:
            return
        self._closed = True
        super().close()
        if not self._started:
            self._sink.close()
            return
        try:
            self._queue.put(None, timeout=timeout)
        except queue.Full:
            return
        self._thread.join(timeout)
        if not self._thread.is_alive():
            self._sink.close()

    def _drain(self) -> None:
        while (message := self._queue.get()) is not None:
            try:
                self._sink.send(message)
            except OSError:  # closed, or its reader is gone
                continue


def _record(level: int, text: str) -> logging.LogRecord:
    return logging.LogRecord(_NAME, level, __file__, 0, text, None, None)


class Log:
    """The set-up made by `setup`: where lines go, until `close` takes it down again."""

    def __init__(self, handler: logging.Handler, level: int) -> None:
        """Install `handler`, with `level` for the `scstfs` tree."""
        self._handler = handler
        root, tree = logging.getLogger(), logging.getLogger(_NAME)
        self._levels = ((root, root.level), (tree, tree.level))
        root.addHandler(handler)
        root.addHandler(_recent)
        root.setLevel(logging.WARNING)
        tree.setLevel(level)

    def announce(self, text: str) -> None:
        """Write a line whatever the level, for what a user waits to see."""
        self._handler.handle(_record(logging.INFO, text))

    def close(self) -> None:
        """Stop logging, after a bounded wait for what is still queued."""
        for handler in (self._handler, _recent):
            logging.getLogger().removeHandler(handler)
        for logger, level in self._levels:
            logger.setLevel(level)
        self._handler.close()


def setup(
    level: int, stream: TextIO | None = None, environment: Mapping[str, str] = os.environ
) -> Log:
    """Send the `scstfs` tree at `level` and above, and warnings of all others, to stderr.

    Args:
        level: threshold of the `scstfs` tree, a value of `LEVELS`.
        stream: instead of stderr; must have a file descriptor.
        environment: where $JOURNAL_STREAM is looked for (systemd.exec(5)).
    """
    fd = (stream or sys.stderr).fileno()
    if not _is_journal(fd, environment):
        handler = BackgroundHandler(FileSink(fd), _as_line)
    else:
        handler = _connected(journal.JOURNAL, _as_journal_entry) or BackgroundHandler(
            FileSink(fd), _as_prefixed_lines
        )
    return Log(handler, level)


def setup_for_background(level: int) -> Log:
    """Send the same to the system's log: the journal, or else syslog, or else nowhere."""
    handler = _connected(journal.JOURNAL, _as_journal_entry) or _connected(
        journal.SYSLOG, _as_syslog
    )
    return Log(handler or logging.NullHandler(), level)


def _connected(path: str, encode: Encode) -> BackgroundHandler | None:
    try:
        return BackgroundHandler(LogSocket(path), encode)
    except OSError:
        return None


def _is_journal(fd: int, environment: Mapping[str, str]) -> bool:
    """Say whether `fd` is the journal's stream, which $JOURNAL_STREAM names as DEVICE:INODE."""
    try:
        stat = os.fstat(fd)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}"


class RateLimited:
    """A logger for messages that a peer can provoke: at most `burst` of them each `interval`.

    What is suppressed is counted, and the count is logged with the next message that passes.
    The rate is that of the kernel's printk_ratelimit().
    """

    def __init__(
        self,
        logger: logging.Logger,
        burst: int = 10,
        interval: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with a full allowance.

        Args:
            logger: where messages go.
            burst: messages let through per interval.
            interval: seconds.
            clock: monotonic seconds.
        """
        self._logger = logger
        self._burst = burst
        self._interval = interval
        self._clock = clock
        self._until = float("-inf")
        self._passed = 0
        self._suppressed = 0

    def log(self, level: int, message: str, *args: object) -> None:
        """Log like `logging.Logger.log`, unless there were too many just now."""
        if not self._logger.isEnabledFor(level):
            return
        now = self._clock()
        if now >= self._until:
            self._until = now + self._interval
            self._passed = 0
        if self._passed >= self._burst:
            self._suppressed += 1
            return
        self._passed += 1
        if self._suppressed:
            self._logger.log(level, "%d similar messages suppressed", self._suppressed)
            self._suppressed = 0
        self._logger.log(level, message, *args)

    def info(self, message: str, *args: object) -> None:
        """`log` at INFO."""
        self.log(logging.INFO, message, *args)

    def warning(self, message: str, *args: object) -> None:
        """`log` at WARNING."""
        self.log(logging.WARNING, message, *args)

"""Logging: one tree of loggers, `scstfs.*`, written to stderr by a thread of its own.

Every module logs to `logging.getLogger(__name__)`; only the command line calls `setup`. A line is
`TIME LEVEL logger: text` on a terminal or in a file, and `<N>logger: text` (the priority prefixes
of sd-daemon(3)) when stderr is the journal.

stderr may be a pipe nobody reads or a terminal stopped with Ctrl-S. A target that stops answering
its initiators because of that would be absurd, so lines pass through a bounded queue, and what
does not fit is counted and dropped.
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
from collections.abc import Callable, Mapping
from typing import Final, TextIO

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
_JOURNAL_FORMAT: Final = "%(name)s: %(message)s"

_QUEUE_LINES: Final = 4096
_FLUSH_SECONDS: Final = 0.5


class JournalFormatter(logging.Formatter):
    """Puts `<N>` before every line, also before each line of a traceback."""

    def __init__(self) -> None:
        """Use the journal's line format: it keeps the time itself."""
        super().__init__(_JOURNAL_FORMAT)

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's text, each line with its priority prefix."""
        priority = next(n for level, n in _PRIORITIES if record.levelno >= level)
        lines = super().format(record).splitlines() or [""]
        return "\n".join(f"<{priority}>{line}" for line in lines)


class BackgroundStream:
    """A text stream whose `write` never blocks: a thread does the writing."""

    def __init__(self, fd: int, capacity: int = _QUEUE_LINES) -> None:
        """Start the thread.

        Args:
            fd: descriptor to write to; a duplicate is used, it stays the caller's.
            capacity: writes that may wait; more are dropped and counted.
        """
        self._fd = os.dup(fd)
        self._queue: queue.Queue[str | None] = queue.Queue(capacity)
        self._lost = 0
        self._closed = False
        self._thread = threading.Thread(target=self._drain, name="log", daemon=True)
        # The thread must never be the one the kernel picks to take a signal.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def write(self, text: str) -> int:
        """Queue `text`; tell of lost lines as soon as there is room again."""
        try:
            if self._lost:
                self._queue.put_nowait(f"({self._lost} log lines lost: stderr is not being read)\n")
                self._lost = 0
            self._queue.put_nowait(text)
        except queue.Full:
            self._lost += 1
        return len(text)

    def flush(self) -> None:
        """Do nothing: waiting here is what this class is there to avoid."""

    def close(self, timeout: float = _FLUSH_SECONDS) -> None:
        """Write out what is queued, for at most `timeout` seconds; later writes are lost."""
        if self._closed:
            return
        self._closed = True
        try:
            self._queue.put(None, timeout=timeout)
        except queue.Full:
            return
        self._thread.join(timeout)
        if not self._thread.is_alive():
            os.close(self._fd)

    def _drain(self) -> None:
        writable = select.poll()
        writable.register(self._fd, select.POLLOUT)
        while (text := self._queue.get()) is not None:
            data = text.encode(errors="backslashreplace")
            try:
                while data:
                    try:
                        data = data[os.write(self._fd, data) :]
                    except BlockingIOError:  # somebody who has it as well does not want to wait
                        writable.poll()
            except OSError:  # stderr is closed or its reader is gone: nobody is left to tell
                continue


class _Handler(logging.StreamHandler[BackgroundStream]):
    """Closes its stream with itself, as logging.shutdown() does before the process ends."""

    def close(self) -> None:
        self.stream.close()
        super().close()


class Log:
    """The set-up made by `setup`: where lines go, until `close` takes it down again."""

    def __init__(self, handler: logging.Handler, level: int) -> None:
        """Install `handler`, with `level` for the `scstfs` tree."""
        self._handler = handler
        root, tree = logging.getLogger(), logging.getLogger("scstfs")
        self._levels = ((root, root.level), (tree, tree.level))
        root.addHandler(handler)
        root.setLevel(logging.WARNING)
        tree.setLevel(level)

    def announce(self, text: str) -> None:
        """Write a line whatever the level, for what a user waits to see."""
        self._handler.handle(
            logging.LogRecord("scstfs", logging.INFO, __file__, 0, text, None, None)
        )

    def close(self) -> None:
        """Stop logging, after a bounded wait for what is still queued."""
        logging.getLogger().removeHandler(self._handler)
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
    handler = _Handler(BackgroundStream(fd))
    handler.setFormatter(
        JournalFormatter() if _is_journal(fd, environment) else logging.Formatter(_PLAIN_FORMAT)
    )
    return Log(handler, level)


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

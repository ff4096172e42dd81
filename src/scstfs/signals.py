"""Signals, waited for in a thread of their own.

The event loop of a storage target may be stuck, in a read from a dead disk for instance, and a
signal handler of Python runs only when the main thread gets to it. So signals are blocked
everywhere and taken by a thread with sigwait(3). It passes them on to the event loop, and after a
stop signal it watches the clock: if the process has not ended in time, it calls the last resort and
ends the process. After a failed task others may hang, so the code that sees the failure tells the
thread with `failed`.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final

import trio

from scstfs.aio import apart
from scstfs.errors import ExitStatus

log: Final = logging.getLogger(__name__)

STOP: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
USER: Final = frozenset({signal.SIGUSR1, signal.SIGUSR2})

# Seconds for an orderly end after the second signal.
_HURRY: Final = 1.0


class SignalWatch:
    """Catches signals while its context is entered, by the main thread, outside of trio.

    Attributes:
        stop: set by the first SIGTERM, SIGINT or SIGHUP. SIGHUP stays ignored if it was (nohup).
        at_once: set by the second.
        last_resort: called in the thread when the process outlives `patience`; then the process
            exits, without any further clean-up.
    """

    def __init__(self, patience: float) -> None:
        """Watch with `patience` seconds between the first stop signal and the last resort."""
        self.stop = trio.Event()
        self.at_once = trio.Event()
        self.last_resort: Callable[[], None] = lambda: None
        self._patience = patience
        self._user: dict[int, Callable[[], None]] = {}
        self._token: trio.lowlevel.TrioToken | None = None
        self._early: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._done = False
        self._error: BaseException | None = None
        self._may_exit = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="signals", daemon=True)
        self._stop_signals = set(STOP)
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
            self._stop_signals.discard(signal.SIGHUP)
        self._watched = self._stop_signals | USER

    def connect(self) -> None:
        """Pass signals on to the calling trio run; earlier ones are passed on now."""
        with self._lock:
            self._token = trio.lowlevel.current_trio_token()
            early, self._early = self._early, []
        for call in early:
            call()

    def on_user_signal(self, signum: signal.Signals, call: Callable[[], None]) -> None:
        """Call `call` in the event loop for each SIGUSR1 or SIGUSR2, which else does nothing."""
        self._user[signum] = call

    def failed(self, error: BaseException) -> None:
        """Watch the clock from now on, because of `error`, which is leaving the loop."""
        self._error = error
        self._wake(signal.SIGTERM)

    def _wake(self, signum: signal.Signals) -> None:
        if self._thread.ident is not None:
            signal.pthread_kill(self._thread.ident, signum)

    def __enter__(self) -> SignalWatch:
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._watched)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._done = True
        self._wake(signal.SIGUSR1)
        self._may_exit.set()
        self._thread.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _watch(self) -> None:
        try:
            if self._wait_for_stop():
                self._wait_for_end()
        finally:
            # __exit__ sends a signal to this thread, which must exist to receive it.
            self._may_exit.wait()

    def _wait_for_stop(self) -> bool:
        """Return at a stop signal, or False at the end of the context."""
        while True:
            signum = signal.sigwait(self._watched)
            if self._done:
                return False
            if signum in self._stop_signals:
                log.info("stopping: %s", self._error or signal.Signals(signum).name)
                return True
            self._in_loop(self._user.get(signum, lambda: None))

    def _wait_for_end(self) -> None:
        """Return at the end of the context; if that takes too long, end the process."""
        self._in_loop(self.stop.set)
        deadline = time.monotonic() + self._patience
        while (left := deadline - time.monotonic()) > 0:
            info = signal.sigtimedwait(self._watched, left)
            if self._done:
                return
            if info is not None and info.si_signo in self._stop_signals:
                self._in_loop(self.at_once.set)
                deadline = min(deadline, time.monotonic() + _HURRY)
        log.warning("giving up on work that does not end", exc_info=self._error)
        try:
            self.last_resort()
            logging.shutdown()  # flushes
        finally:
            apart.leave_behind()
            os._exit(ExitStatus.OK if self._error is None else ExitStatus.BUG)

    def _in_loop(self, call: Callable[[], None]) -> None:
        with self._lock:
            if self._token is None:
                self._early.append(call)
                return
        try:
            self._token.run_sync_soon(call)
        except trio.RunFinishedError:
            pass  # the end is near anyway

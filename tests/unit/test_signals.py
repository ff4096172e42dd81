"""The signal thread, in child processes: it changes signal masks and may end its process."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

import pytest
import trio

from scstfs.signals import SignalWatch
from tests.support.namespace import fork

STOP_SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


def in_child(body: Callable[[], None]) -> None:
    failure = fork(body)()
    if failure:
        raise AssertionError(failure)


@pytest.mark.parametrize("signum", STOP_SIGNALS, ids=lambda s: s.name)
def test_a_stop_signal_sets_the_event(signum: signal.Signals) -> None:
    def body() -> None:
        async def main() -> None:
            watch.connect()
            os.kill(os.getpid(), signum)
            with trio.fail_after(5):
                await watch.stop.wait()
            assert not watch.at_once.is_set()

        with SignalWatch(patience=60) as watch:
            trio.run(main)

    in_child(body)


def test_a_signal_before_the_loop_runs_is_not_lost() -> None:
    def body() -> None:
        async def main() -> None:
            watch.connect()
            with trio.fail_after(5):
                await watch.stop.wait()

        with SignalWatch(patience=60) as watch:
            os.kill(os.getpid(), signal.SIGTERM)
            trio.run(main)

    in_child(body)


def test_a_second_signal_is_in_a_hurry() -> None:
    def body() -> None:
        async def main() -> None:
            watch.connect()
            os.kill(os.getpid(), signal.SIGTERM)
            with trio.fail_after(5):
                await watch.stop.wait()
                os.kill(os.getpid(), signal.SIGINT)
                await watch.at_once.wait()

        with SignalWatch(patience=60) as watch:
            trio.run(main)

    in_child(body)


def test_user_signals_run_their_calls_in_the_loop_and_nothing_else() -> None:
    def body() -> None:
        async def main() -> None:
            watch.connect()
            called = trio.Event()
            os.kill(os.getpid(), signal.SIGUSR2)  # no handler: ignored
            watch.on_user_signal(signal.SIGUSR1, called.set)
            os.kill(os.getpid(), signal.SIGUSR1)
            with trio.fail_after(5):
                await called.wait()
            assert not watch.stop.is_set()

        with SignalWatch(patience=60) as watch:
            trio.run(main)

    in_child(body)


def test_sighup_stays_ignored_under_nohup() -> None:
    def body() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

        async def main() -> None:
            watch.connect()
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            with trio.fail_after(5):
                await watch.stop.wait()
            assert not watch.at_once.is_set()

        with SignalWatch(patience=60) as watch:
            trio.run(main)

    in_child(body)


def exit_of_stuck_process(
    last_resort: Callable[[], None], second_signal: bool
) -> tuple[int, float]:
    """Exit status and seconds of a process whose event loop hangs after a stop signal."""
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)

        async def main() -> None:
            watch.connect()
            os.kill(os.getpid(), signal.SIGTERM)
            if second_signal:
                await watch.stop.wait()
                os.kill(os.getpid(), signal.SIGTERM)
            while True:  # as in a read from a disk that does not answer
                time.sleep(60)

        with SignalWatch(patience=60 if second_signal else 0.05) as watch:
            watch.last_resort = last_resort
            trio.run(main)
        os._exit(99)
    started = time.monotonic()
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), time.monotonic() - started


def test_a_stuck_loop_meets_the_last_resort() -> None:
    reader, writer = os.pipe()

    def unmount() -> None:
        os.write(writer, b"unmounted")

    status, _ = exit_of_stuck_process(unmount, False)
    os.close(writer)
    assert status == 0
    assert os.read(reader, 100) == b"unmounted"
    os.close(reader)


@pytest.mark.slow
def test_a_stuck_loop_and_a_second_signal_end_soon() -> None:
    status, seconds = exit_of_stuck_process(lambda: None, True)
    assert status == 0
    assert seconds < 3


def test_a_failure_ends_the_process_with_another_status() -> None:
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        with SignalWatch(patience=0.05) as watch:
            watch.failed(ZeroDivisionError("bug"))
            time.sleep(60)
        os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


def test_a_failing_last_resort_still_ends_the_process() -> None:
    def fails() -> None:
        raise OSError("no")

    assert exit_of_stuck_process(fails, False)[0] == 0


def test_masks_are_restored_and_the_thread_is_gone() -> None:
    def body() -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        for _ in range(50):
            with SignalWatch(patience=60):
                assert signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, [])
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
        assert threading.active_count() == 1

    in_child(body)

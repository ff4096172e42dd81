"""Signals that ask a program to end while it does something that must not stay half done."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Final, NoReturn

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def interrupted_once() -> Iterator[None]:
    """The first of SIGINT, SIGTERM and SIGHUP raises; those that follow it are ignored for good.

    So what undoes the work is not interrupted itself, and then the program ends. Raises
    KeyboardInterrupt for SIGINT and SystemExit, with the status that shells have for such an end,
    for the others. What the caller of the program has ignored stays ignored.
    """
    is_ending = False

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        nonlocal is_ending
        is_ending = True
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    before = {
        number: handler
        for number in _SIGNALS
        if (handler := signal.getsignal(number)) not in (signal.SIG_IGN, None)
    }
    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        if not is_ending:
            for number, handler in before.items():
                signal.signal(number, handler)

"""Signals that end a program during a change that must not remain incomplete."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Final, NoReturn

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def interrupted_once() -> Iterator[None]:
    """The first SIGINT, SIGTERM or SIGHUP raises; later ones are ignored until the end.

    So the rollback is not interrupted. Raises KeyboardInterrupt for SIGINT, and SystemExit with the
    shell's status for a signal (128 + its number) for the others. Signals that the program's caller
    ignores stay ignored.
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

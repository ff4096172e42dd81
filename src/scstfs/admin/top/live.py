"""A terminal that shows report after report, and reads keys."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import termios
import time
import tty
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Final, NoReturn, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from scstfs.admin.top.report import Order, Page, Report, View
from scstfs.admin.top.top_text import render

_QUIT: Final = "q"
_ALL: Final = "a"
_ORDER: Final = "o"
_VIEWS: Final[Mapping[str, View]] = {view.value[0]: view for view in View}
_HELP: Final = "  ".join(
    ("q quit", *(f"{key} {view.value}" for key, view in _VIEWS.items()), "a idle too", "o order: ")
)


class _Quit(Exception):  # noqa: N818 - it is what the user wants
    """q was pressed."""


class Screen:
    """A full-screen terminal.

    Args:
        mountpoint: of the tree.
        page: what is shown first.
        output: the terminal.
        keyboard: the terminal; if it is something else, no keys are read.
    """

    def __init__(self, mountpoint: str, page: Page, output: TextIO, keyboard: TextIO) -> None:
        self._mountpoint = mountpoint
        self._page = page
        self._console = Console(file=output, highlight=False, markup=False)
        self._live = Live(console=self._console, screen=True, auto_refresh=False)
        self._keyboard = keyboard if keyboard.isatty() else None
        self._report: Report | None = None
        self._settings = None if self._keyboard is None else termios.tcgetattr(self._keyboard)

    def restore(self) -> None:
        """Restore the terminal, from another thread than that of `run`."""
        self._live.stop()
        if self._keyboard is not None and self._settings is not None:
            termios.tcsetattr(self._keyboard, termios.TCSADRAIN, self._settings)

    def run(self, reports: Callable[[Callable[[float], None]], Iterator[Report]]) -> None:
        """Show reports; *reports* is called with a function for waiting and yields them.

        Returns when q is pressed.
        """
        with _terminated_in_order(), _unbuffered(self._keyboard), self._live:
            self._draw()
            with contextlib.suppress(_Quit):
                for report in reports(self._wait):
                    self._report = report
                    self._draw()

    def _draw(self) -> None:
        width, height = self._console.size
        page = self._page._replace(width=width, height=height - 1)
        lines = [Text("looking ...")]
        if self._report is not None:
            lines = render(self._report, page, self._mountpoint)
        lines += [Text("")] * (height - 1 - len(lines))
        lines.append(Text(f"{_HELP}{page.order.value}"[:width], "dim"))
        self._live.update(Group(*lines), refresh=True)

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if self._keyboard is None:
                time.sleep(left)
            elif select.select([self._keyboard], [], [], left)[0]:
                typed = os.read(self._keyboard.fileno(), 64)
                if not typed:
                    raise _Quit  # the terminal is gone
                for key in typed.decode("ascii", "replace"):
                    self._press(key)
                self._draw()

    def _press(self, key: str) -> None:
        page = self._page
        if key == _QUIT:
            raise _Quit
        if key in _VIEWS:
            self._page = page._replace(view=_VIEWS[key])
        elif key == _ALL:
            self._page = page._replace(all=not page.all)
        elif key == _ORDER:
            orders = list(Order)
            after = orders[(orders.index(page.order) + 1) % len(orders)]
            self._page = page._replace(order=after)


@contextlib.contextmanager
def _unbuffered(keyboard: TextIO | None) -> Iterator[None]:
    """Read keys unbuffered and without echo; afterwards restore the terminal."""
    if keyboard is None:
        yield
        return
    fd = keyboard.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _terminated_in_order() -> Iterator[None]:
    """Restore the terminal also after SIGTERM and SIGHUP."""

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

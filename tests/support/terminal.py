"""A program at a terminal of a given size."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from typing import Final

_CONTROL: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]")


def _plain(text: str) -> str:
    return _CONTROL.sub("", text).replace("\r\n", "\n")


_HOME: Final = "\x1b[H"


class Terminal:
    """A program whose standard streams are a terminal.

    Attributes:
        text: its output so far.
    """

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        columns: int = 80,
        lines: int = 24,
    ) -> None:
        self.text = ""
        self._fd, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.settings = termios.tcgetattr(other)
        self._other = other
        environment = {**environment, "TERM": "xterm"}
        environment.pop("COLUMNS", None)
        self.process = subprocess.Popen(
            argv, stdin=other, stdout=other, stderr=other, env=environment, start_new_session=True
        )

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._fd)
        os.close(self._other)

    @property
    def present_settings(self) -> list[object]:
        """The present settings of the terminal, from termios."""
        return termios.tcgetattr(self._other)

    @property
    def plain(self) -> str:
        """Its output, without colours and positions."""
        return _plain(self.text)

    @property
    def pages(self) -> list[str]:
        """Its output after each move to the upper left corner."""
        return [_plain(page) for page in self.text.split(_HOME)[1:]]

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._fd, keys.encode())

    def wait_for(self, pattern: str, seconds: float = 30.0) -> re.Match[str]:
        """Wait until a text appears in the output since the last time."""
        start = len(self.text)
        deadline = time.monotonic() + seconds
        while True:
            match = re.search(pattern, _plain(self.text[start:]))
            if match is not None:
                return match
            assert time.monotonic() < deadline, self.plain
            self._read(0.05)

    def end(self, seconds: float = 30.0) -> int:
        """Wait for the end of the program; the exit status."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.plain
            self._read(0.05)
        while self._read(0):
            pass
        return self.process.returncode

    def _read(self, seconds: float) -> bool:
        if not select.select([self._fd], [], [], seconds)[0]:
            return False
        self.text += os.read(self._fd, 65536).decode(errors="replace")
        return True

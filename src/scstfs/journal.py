"""The system's log: systemd's journal in its native protocol, or any syslog daemon (RFC 3164).

Both take datagrams on a socket in the file system. An entry of the journal is a set of fields that
can be searched: ``journalctl SCST_DEVICE=disk1``.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import socket
from collections.abc import Iterable, Mapping
from typing import Final

JOURNAL: Final = "/run/systemd/journal/socket"
SYSLOG: Final = "/dev/log"

_FACILITY: Final = 3  # daemon (RFC 3164 4.1.1)
_TOO_LONG: Final = frozenset({errno.EMSGSIZE, errno.ENOBUFS})
_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def journal_entry(fields: Mapping[str, str]) -> bytes:
    """Return an entry of the journal; names are of capital letters, digits and underscores."""
    parts: list[bytes] = []
    for name, value in fields.items():
        data = value.encode(errors="backslashreplace")
        if b"\n" in data:
            parts += name.encode(), b"\n", len(data).to_bytes(8, "little"), data, b"\n"
        else:
            parts += name.encode(), b"=", data, b"\n"
    return b"".join(parts)


def syslog_lines(priority: int, tag: str, lines: Iterable[str]) -> list[bytes]:
    """Return a message for each line; the daemon adds time and host."""
    prefix = f"<{_FACILITY << 3 | priority}>{tag}[{os.getpid()}]: "
    return [(prefix + line).encode(errors="backslashreplace") for line in lines]


class LogSocket:
    """A connection to one of the two, which survives their restart."""

    def __init__(self, path: str) -> None:
        """Connect to the socket at `path`. Raises OSError."""
        self._path = path
        self._socket = self._connect()

    def send(self, message: bytes) -> None:
        """Send a message; blocks until the other end takes it. Raises OSError."""
        try:
            self._send(message)
        except ConnectionError:
            self._socket.close()
            self._socket = self._connect()
            self._send(message)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _connect(self) -> socket.socket:
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            connected.connect(self._path)
        except OSError:
            connected.close()
            raise
        return connected

    def _send(self, message: bytes) -> None:
        try:
            self._socket.send(message)
        except OSError as error:
            if error.errno not in _TOO_LONG or self._path == SYSLOG:
                raise
            self._send_as_file(message)

    def _send_as_file(self, message: bytes) -> None:
        """Send a message that is too long for a datagram as a sealed file in memory."""
        fd = os.memfd_create("journal-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.write(fd, message)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
            rights = socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd])
            self._socket.sendmsg([], [rights])
        finally:
            os.close(fd)

"""Tells the service manager about our state: the sd_notify(3) protocol without a library.

One datagram of `NAME=VALUE` lines goes to the socket named by $NOTIFY_SOCKET, a path or, after a
leading `@`, an abstract name. Without the variable nothing is sent. A failed notification must not
disturb the service, so failures are only logged at DEBUG.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from typing import Final

log: Final = logging.getLogger(__name__)

_VARIABLE: Final = "NOTIFY_SOCKET"
# Seconds to wait while the manager's queue is full: a lost READY=1 would fail the start, and a
# manager that never reads must not hold up the daemon.
_PATIENCE: Final = 0.5


class Notifier:
    """Sends state changes to one notification socket, or nowhere."""

    def __init__(self, address: str | None) -> None:
        """Send to `address`, a value of $NOTIFY_SOCKET; None or "" sends nothing."""
        self._address = "\0" + address[1:] if address and address[0] == "@" else address

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Notifier:
        """Return the notifier for the service manager that started this process, if one did."""
        return cls(environment.get(_VARIABLE))

    def ready(self, status: str) -> None:
        """Say that start-up is complete: READY=1 and a status text for `systemctl status`."""
        self._send({"READY": "1", "STATUS": status})

    def stopping(self) -> None:
        """Say that shutting down has begun: STOPPING=1."""
        self._send({"STOPPING": "1", "STATUS": "closing sessions"})

    def _send(self, fields: Mapping[str, str]) -> None:
        if not self._address:
            return
        datagram = "\n".join(f"{name}={' '.join(value.split())}" for name, value in fields.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(_PATIENCE)
                sock.sendto(datagram.encode(), self._address)
        except OSError as error:
            log.debug("cannot notify the service manager at %r: %s", self._address, error)

"""The socket for state change notifications and entity status inquiries (RFC 4171 2.6, 2.5)."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable
from typing import Final

import trio

from scstfs.drivers.iscsi.isns.link import IsnsLink, LinkLostError, numeric
from scstfs.iscsi.isns import Message
from scstfs.log import RateLimited

log = logging.getLogger(__name__)
_incidents: Final = RateLimited(log)

#: Connections at a time; a server needs one.
_MOST_CONNECTIONS: Final = 8
#: Seconds to wait if there are no file descriptors.
_SCARCE_PAUSE: Final = 1.0


class Inquiries:
    """Listens for connections from the server only."""

    def __init__(self, address: str, server: str, told: Callable[[Message], None]) -> None:
        """Listen at ``address`` for connections from ``server``, both numeric; raises OSError.

        ``told`` is called with each message.
        """
        self._server = server
        self._told = told
        self._connections = 0
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.bind((address, 0))
            listener.listen(_MOST_CONNECTIONS)
        except BaseException:
            listener.close()
            raise
        self.port: int = listener.getsockname()[1]
        self._listener = trio.socket.from_stdlib_socket(listener)

    def close(self) -> None:
        """Listen no more."""
        self._listener.close()

    async def run(self) -> None:
        """Answer the server, until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                try:
                    sock, name = await self._listener.accept()
                except OSError as error:
                    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                        await trio.sleep(_SCARCE_PAUSE)
                    continue
                if numeric(name) != self._server or self._connections >= _MOST_CONNECTIONS:
                    _incidents.warning("iSNS: connection from %s refused", numeric(name))
                    sock.close()
                    continue
                self._connections += 1
                nursery.start_soon(self._serve, sock)

    async def _serve(self, sock: trio.socket.SocketType) -> None:
        try:
            with sock:
                await IsnsLink(sock, self._told).run()
        except LinkLostError as end:
            log.debug("iSNS: connection from %s ended: %s", self._server, end)
        finally:
            self._connections -= 1

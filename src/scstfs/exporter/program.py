"""The main function of `scstfs exporter`."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from argparse import Namespace
from typing import Final

from scstfs.admin.mistakes import Mistake, MistakeKind
from scstfs.admin.top.kept import permitted
from scstfs.exporter.listening import Protection, check, listen, read_users

SOCKET: Final = "SCSTFS_EXPORTER_SOCKET"
"""The environment variable with the descriptor of a socket that listens already, for `scstfs mount
--metrics`. Standard input then ends with the daemon.
"""

_STOP_SECONDS: Final = 1
_MOST_CONNECTIONS: Final = 256


def _end_with_input() -> None:
    """End this process when its standard input ends: the daemon that has started it is gone."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    # The daemon's threads, of which one has started this process, take no signals.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
    threading.Thread(target=wait, daemon=True).start()


def run(arguments: Namespace) -> None:
    """Serve until a signal.

    Raises Mistake if that is impossible, or not permitted without protection.
    """
    users = {} if arguments.auth_file is None else read_users(arguments.auth_file)
    protection = Protection(
        users,
        arguments.tls_certificate,
        arguments.tls_key,
        frozenset(map(str.lower, arguments.names)),
    )
    inherited = os.environ.get(SOCKET)
    if inherited is None:
        check(arguments.listen, protection, insecure=arguments.insecure)
    try:
        import uvicorn

        from scstfs.exporter.app import Exporter
    except ImportError as error:
        message = f"the module {error.name} is missing: pip install 'scstfs[metrics]'"
        raise Mistake(MistakeKind.USAGE, message) from None
    if inherited is None:
        sock = listen(arguments.listen)
    else:
        sock = socket.socket(fileno=int(inherited))
        _end_with_input()
    exporter = Exporter(arguments.mountpoint, permitted(), arguments.most_luns)
    config = uvicorn.Config(
        exporter.application(protection),
        access_log=False,
        limit_concurrency=_MOST_CONNECTIONS,
        log_level="warning",
        ssl_certfile=protection.certificate,
        ssl_keyfile=protection.key,
        server_header=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
        ws="none",
    )
    try:
        config.load()
    except (OSError, ValueError) as error:
        message = f"cannot use {protection.certificate} and {protection.key}: {error}"
        raise Mistake(MistakeKind.USAGE, message) from None
    scheme = "http" if protection.certificate is None else "https"
    if inherited is None:
        host, port = sock.getsockname()[:2]
        shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        print(f"serving {arguments.mountpoint} at {scheme}://{shown}/", flush=True)
    uvicorn.Server(config).run(sockets=[sock])

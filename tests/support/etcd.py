"""A real etcd for tests: one member in this network namespace."""

from __future__ import annotations

import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.needs import need_programs

_PATIENCE: Final = 20.0


def free_ports(number: int) -> list[int]:
    """Ports of loopback that nobody uses."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    try:
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


class Member:
    """A member of an etcd, which can be stopped, continued, killed and started again."""

    def __init__(
        self, directory: Path, argv: list[str], url: str, tls: ssl.SSLContext | None = None
    ) -> None:
        """``tls`` is what it takes to talk to it."""
        self.tls = tls
        self.directory = directory
        self.url = url
        self._argv = argv
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "log").open("ab") as output:
            self.process = subprocess.Popen(self._argv, stdout=output, stderr=output)

    def is_healthy(self) -> bool:
        health = f"{self.url}/health"
        try:
            with urllib.request.urlopen(health, timeout=1, context=self.tls) as answer:
                return b"true" in answer.read()
        except OSError:
            return False

    def wait_until_healthy(self) -> None:
        end = time.monotonic() + _PATIENCE
        while not self.is_healthy():
            assert time.monotonic() < end, (self.directory / "log").read_text()[-3000:]
            time.sleep(0.05)

    def send(self, signum: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(signum)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def member_argv(
    directory: Path, name: str, client: str, peer: str, cluster: dict[str, str], *options: str
) -> list[str]:
    """The command line of a member; its log is quiet, and it does not wait for the disk.

    What a test loses with its power does not matter.
    """
    return [
        "etcd",
        *("--name", name, "--data-dir", str(directory / "data")),
        *("--listen-client-urls", client, "--advertise-client-urls", client),
        *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
        *("--initial-cluster", ",".join(f"{one}={url}" for one, url in cluster.items())),
        *("--log-level", "warn", "--logger", "zap"),
        *options,
    ]


@contextmanager
def one_member(
    directory: Path, *options: str, tls: ssl.SSLContext | None = None
) -> Iterator[Member]:
    """An etcd of one member on free ports of loopback, over TLS if *tls* talks to it."""
    need_programs("etcd")
    ports = free_ports(2)
    client = f"{'http' if tls is None else 'https'}://127.0.0.1:{ports[0]}"
    peer = f"http://127.0.0.1:{ports[1]}"
    argv = member_argv(directory, "one", client, peer, {"one": peer}, *options)
    member = Member(directory, argv, client, tls)
    member.start()
    try:
        member.wait_until_healthy()
        yield member
    finally:
        member.kill()
        shutil.rmtree(directory, ignore_errors=True)

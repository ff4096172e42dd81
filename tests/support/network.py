"""A small network for tests: hosts in network namespaces of their own, on one bridge.

Nothing of the machine's network changes. A namespace lives as long as the process that holds it, so
nothing is left when the test ends, however it ends. The kernel needs no modules for faults: a host
sends to an address of the link layer that nobody has, which is a cable that is cut in one
direction.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

_CLONE_NEWNET: Final = 0x40000000
_PR_SET_PDEATHSIG: Final = 1
#: Documentation (RFC 5737), so that documented commands can be run.
_NET: Final = "192.0.2"
_NOBODY: Final = "02:00:00:00:ff:ff"


def _hold_namespace() -> subprocess.Popen[bytes]:
    """A process that does nothing in a new network namespace."""

    def die_with_parent() -> None:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    process = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "ip link set lo up; echo; exec sleep infinity"],
        stdout=subprocess.PIPE,
        preexec_fn=die_with_parent,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


class Host:
    """A host: its name, its address, and its namespace."""

    def __init__(self, number: int, name: str) -> None:
        self.name = name
        self.address = f"{_NET}.{number}"
        self.hardware = f"02:00:00:00:00:{number:02x}"
        self.holder = _hold_namespace()

    def inside(self, *argv: str) -> list[str]:
        """*argv*, to be run in the host's network."""
        return ["nsenter", f"--target={self.holder.pid}", "--net", *argv]

    def run(self, *argv: str) -> None:
        subprocess.run(self.inside(*argv), check=True, capture_output=True)

    def connect(self, address: str, port: int, timeout: float = 5.0) -> socket.socket:
        """A connection from this host."""
        result: list[Any] = []

        def body() -> None:
            fd = os.open(f"/proc/{self.holder.pid}/ns/net", os.O_RDONLY)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(fd, _CLONE_NEWNET) < 0:
                    raise OSError(ctypes.get_errno(), "setns")
                result.append(socket.create_connection((address, port), timeout))
            except OSError as error:
                result.append(error)
            finally:
                os.close(fd)

        # The namespace is a thread's: one that ends takes it along.
        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        if isinstance(result[0], OSError):
            raise result[0]
        sock: socket.socket = result[0]
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock


class Network:
    """The bridge and its hosts."""

    def __init__(self, names: Sequence[str]) -> None:
        self._hub = _hold_namespace()
        self.hosts = {name: Host(number, name) for number, name in enumerate(names, 1)}
        self._in_hub("ip", "link", "add", "bridge", "type", "bridge")
        self._in_hub("ip", "link", "set", "bridge", "up")
        for number, host in enumerate(self.hosts.values(), 1):
            port, pid = f"port{number}", str(host.holder.pid)
            peer = ("peer", "name", "eth0", "address", host.hardware, "netns", pid)
            self._in_hub("ip", "link", "add", port, "type", "veth", *peer)
            self._in_hub("ip", "link", "set", port, "master", "bridge", "up")
            host.run("ip", "address", "add", f"{host.address}/24", "dev", "eth0")
            host.run("ip", "link", "set", "eth0", "up")
        for name in self.hosts:
            self.mend(name)

    def _in_hub(self, *argv: str) -> None:
        subprocess.run(
            ["nsenter", f"--target={self._hub.pid}", "--net", *argv],
            check=True,
            capture_output=True,
        )

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def _teach(self, host: Host, other: Host, hardware: str) -> None:
        entry = (other.address, "lladdr", hardware, "nud", "permanent", "dev", "eth0")
        host.run("ip", "neighbour", "replace", *entry)

    def mute(self, name: str, *others: str) -> None:
        """What a host sends to others, or to all, is lost."""
        self._change(name, others, lost=True, sent=True)

    def deafen(self, name: str, *others: str) -> None:
        """What others, or all, send to a host is lost."""
        self._change(name, others, lost=True, sent=False)

    def isolate(self, name: str, *others: str) -> None:
        """Both."""
        self.mute(name, *others)
        self.deafen(name, *others)

    def mend(self, name: str) -> None:
        """Nothing is lost between a host and all others."""
        self._change(name, (), lost=False, sent=True)
        self._change(name, (), lost=False, sent=False)

    def _change(self, name: str, others: Sequence[str], *, lost: bool, sent: bool) -> None:
        host = self.hosts[name]
        for other in others or self.hosts:
            if other == name:
                continue
            here, there = (host, self.hosts[other]) if sent else (self.hosts[other], host)
            self._teach(here, there, _NOBODY if lost else there.hardware)

    def close(self) -> None:
        for process in (*(host.holder for host in self.hosts.values()), self._hub):
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


@contextmanager
def network(*names: str) -> Iterator[Network]:
    """Hosts of these names that reach each other."""
    made = Network(names)
    try:
        yield made
    finally:
        made.close()

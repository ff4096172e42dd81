"""A whole cluster: etcd with three members, nodes, and a host for initiators, each in a network
namespace of its own.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.support.etcd import Member, member_argv
from tests.support.initiator import Initiator
from tests.support.iscsi_login import ISID
from tests.support.mounted import Mounted
from tests.support.needs import need_mounts, need_programs
from tests.support.network import Host, Network, network

CLUSTER: Final = "storage"
CLIENT: Final = "client"
PORT: Final = 3260
SIZE: Final = 4 << 20
PATIENCE: Final = 20.0
TTL: Final = 3


def wait_until(condition: Callable[[], bool], seconds: float = PATIENCE, what: str = "") -> None:
    """Wait until ``condition`` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what or "in vain"
        time.sleep(0.01)


class NodeProcess:
    """A node: a daemon in its own network, with the shared disk and one target."""

    def __init__(self, world: World, name: str, number: int) -> None:
        self.world = world
        self.name = name
        self.number = number
        self.host: Host = world.network[name]
        self.directory = world.directory / name
        self.target = f"iqn.2005-03.org.example:{name}"
        self.daemon: Mounted | None = None
        self.is_stopped = False
        #: A command that gives the node another clock.
        self.clock: tuple[str, ...] = ()

    def start(self, *, disks: tuple[str, ...] = ("disk",), options: tuple[str, ...] = ()) -> None:
        mountpoint = self.directory / "scst_tgt"
        mountpoint.mkdir(parents=True, exist_ok=True)
        argv = [
            *self.clock,
            *self.host.inside(sys.executable, "-m", "scstfs", "mount"),
            *("--mountpoint", str(mountpoint), "--state-dir", str(self.directory / "state")),
            *("--pid-file", "", "--portal", f"{self.host.address}:{PORT}", "--resume", "never"),
            *("--etcd", ",".join(member.url for member in self.world.members)),
            *("--node", self.name, "--log-level", "debug", *options),
        ]
        self.daemon = Mounted(argv, mountpoint, ready=": ready: ")
        self.write("cluster_name", CLUSTER)
        for disk in disks:
            self.write(
                "handlers/vdisk_fileio/mgmt",
                f"add_device {disk} filename={self.world.file(disk)}; "
                f"t10_dev_id={disk}; cluster_mode=1",
            )
        self.write("targets/iscsi/mgmt", f"add_target {self.target}")
        self.write(f"targets/iscsi/{self.target}/rel_tgt_id", str(self.number))
        for lun, disk in enumerate(disks):
            self.write(f"targets/iscsi/{self.target}/luns/mgmt", f"add {disk} {lun}")
        self.write(f"targets/iscsi/{self.target}/enabled", "1")
        self.write("targets/iscsi/enabled", "1")

    @property
    def running(self) -> Mounted:
        assert self.daemon is not None
        return self.daemon

    def write(self, path: str, text: str) -> None:
        self.running.write(path, f"{text}\n")

    def status(self) -> str:
        return self.running.read("cluster_status")

    def is_open(self) -> bool:
        units = re.findall(r"^unit .* state=(\w+)", self.status(), re.MULTILINE)
        return bool(units) and set(units) == {"open"} and "state=member" in self.status()

    def wait_until_open(self, seconds: float = PATIENCE) -> None:
        wait_until(self.is_open, seconds, f"{self.name} does not open:\n{self.status()}")

    @property
    def url(self) -> str:
        return f"iscsi://{self.host.address}:{PORT}/{self.target}/0"

    # Faults

    def pause(self) -> None:
        os.kill(self.running.pid, signal.SIGSTOP)
        self.is_stopped = True

    def go_on(self) -> None:
        if self.is_stopped:
            os.kill(self.running.pid, signal.SIGCONT)
            self.is_stopped = False

    def kill(self) -> None:
        os.kill(self.running.pid, signal.SIGKILL)
        self.running.stop()
        self.daemon, self.is_stopped = None, False

    def stop(self) -> None:
        if self.daemon is not None:
            self.go_on()
            self.daemon.stop()
            assert "Traceback" not in self.daemon.log, self.daemon.log
            self.daemon = None

    # Initiators

    def log_in(self, number: int, *, timeout: float = 30.0, **options: Any) -> Initiator:
        """An initiator port in full-feature phase, without a pending unit attention."""
        sock = self.world.network[CLIENT].connect(self.host.address, PORT)
        name = f"iqn.2005-03.org.example:initiator{number}"
        isid = ISID[:5] + bytes([number])
        initiator = Initiator(sock, name=name, isid=isid, timeout=timeout)
        try:
            initiator.login(self.target, **options)
            while initiator.command(bytes(6)).status:
                pass
        except BaseException:
            initiator.close()
            raise
        return initiator


class World:
    """See the module's text."""

    def __init__(self, directory: Path, net: Network, names: tuple[str, ...]) -> None:
        self.directory = directory
        self.network = net
        self.members: list[Member] = []
        hosts = [host for host in net.hosts.values() if host.name.startswith("etcd")]
        peers = {host.name: f"http://{host.address}:2380" for host in hosts}
        for host in hosts:
            client, place = f"http://{host.address}:2379", directory / host.name
            argv = member_argv(place, host.name, client, peers[host.name], peers)
            self.members.append(Member(place, host.inside(*argv), client))
        self.nodes = [NodeProcess(self, name, number) for number, name in enumerate(names, 1)]

    def file(self, disk: str) -> Path:
        """The file of a disk."""
        path = self.directory / disk
        if not path.exists():
            with path.open("wb") as opened:
                opened.truncate(SIZE)
        return path

    def start_etcd(self) -> None:
        for member in self.members:
            member.start()
        wait_until(self.etcd_answers, what="etcd does not answer")

    def move_leader(self, chance: random.Random) -> None:
        """Make another member of etcd the leader."""
        urls = ",".join(member.url for member in self.members)
        status = self._etcdctl(urls, "endpoint", "status", "-w", "fields")
        values = re.findall(r'^"(MemberID|Leader)" : (\d+)$', status, re.MULTILINE)
        members = [int(value) for name, value in values if name == "MemberID"]
        leaders = {int(value) for name, value in values if name == "Leader"} - {0}
        if len(leaders) != 1:
            return
        (leader,) = leaders
        others = [member for member in members if member != leader]
        if others and leader in members:
            url = self.members[members.index(leader)].url
            self._etcdctl(url, "move-leader", f"{chance.choice(others):x}")

    def _etcdctl(self, urls: str, *argv: str) -> str:
        command = ("etcdctl", "--endpoints", urls, "--command-timeout=2s", *argv)
        done = subprocess.run(
            self.network[CLIENT].inside(*command),
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "ETCDCTL_API": "3"},
        )
        return done.stdout

    def mend(self) -> None:
        """Undo all faults: everything runs, and is connected."""
        for name in self.network.hosts:
            self.network.mend(name)
        for member in self.members:
            if member.process is None:
                member.start()
            member.send(signal.SIGCONT)
        for node in self.nodes:
            if node.daemon is None:
                node.start()
            node.go_on()

    def etcd_answers(self) -> bool:
        urls = ",".join(member.url for member in self.members)
        argv = self.network[CLIENT].inside(
            "etcdctl", "--endpoints", urls, "--dial-timeout=1s", "put", "/test", "1"
        )
        done = subprocess.run(
            argv, check=False, capture_output=True, env={**os.environ, "ETCDCTL_API": "3"}
        )
        return done.returncode == 0

    def close(self) -> None:
        for node in self.nodes:
            node.stop()
        for member in self.members:
            member.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


@contextmanager
def world(directory: Path, *names: str, members: int = 3) -> Iterator[World]:
    """A running etcd, and nodes that have not been started."""
    need_mounts()
    need_programs("etcd", "etcdctl", "nsenter", "ip")
    etcd = [f"etcd{number}" for number in range(1, members + 1)]
    with network(*names, *etcd, CLIENT) as net:
        made = World(directory, net, names)
        try:
            made.start_etcd()
            yield made
        finally:
            made.close()

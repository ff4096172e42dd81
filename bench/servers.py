"""The compared targets, each with one logical unit over the same file.

Each runs on a free loopback port, independent of other programs on the machine, and is stopped
afterwards.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

BLOCK_SIZE: Final = 4096
"""Block size of both logical units, so that random addresses have the same alignment."""

# Control ports name sockets in /run/tgtd; the usual daemon has 0.
_CONTROL_PORTS: Final = itertools.count(1000 + os.getpid() % 30000)

_HOST: Final = "127.0.0.1"
_START_SECONDS: Final = 15.0
_STOP_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Server:
    """A running target; `pid` is its process id, 0 if it is not needed."""

    name: str
    port: int
    target: str
    lun: int
    pid: int

    def cpu_seconds(self) -> float:
        """CPU time that it has used so far, user and system, of all its threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        user, system = fields[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of its portal."""
        return _HOST, self.port

    @property
    def url(self) -> str:
        """The URL of the logical unit for libiscsi's programs."""
        return f"iscsi://{_HOST}:{self.port}/{self.target}/{self.lun}"


Start = Callable[[Path], contextlib.AbstractContextManager[Server]]


def _free_port() -> int:
    with socket.create_server((_HOST, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _end(process: subprocess.Popen[str]) -> None:
    """Wait for a process that was asked to stop; kill it if it does not."""
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def tgt(file: Path, backing: str = "rdwr") -> Iterator[Server]:
    """Run Debian's tgtd, on a control port of its own, over `file`.

    `backing` is its kind of backing store: `rdwr` by threads, `aio` by libaio with O_DIRECT.
    """
    port, control = _free_port(), str(next(_CONTROL_PORTS))
    name = "iqn.2007-05.com.example:tgt"

    def tgtadm(*arguments: str) -> bool:
        argv = ["tgtadm", "-C", control, "--lld", "iscsi", *arguments]
        return subprocess.run(argv, check=False, capture_output=True).returncode == 0

    def configure(*arguments: str) -> None:
        if not tgtadm(*arguments):
            raise SystemExit(f"tgtadm refuses {' '.join(arguments)}")

    daemon = subprocess.Popen(
        ["tgtd", "--foreground", "-C", control, "--iscsi", f"portal={_HOST}:{port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    target = ("--mode", "target", "--tid", "1")
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not tgtadm("--mode", "target", "--op", "show"):
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("tgtd does not start")
            time.sleep(_POLL_SECONDS)
        configure(*target, "--op", "new", "--targetname", name)
        lun = ("--mode", "logicalunit", "--tid", "1", "--lun", "1", "--op", "new")
        store = ("--backing-store", str(file), "--bstype", backing)
        configure(*lun, *store, "--blocksize", str(BLOCK_SIZE))
        for digest in ("HeaderDigest", "DataDigest"):  # used where the initiator wants them
            configure(*target, "--op", "update", "--name", digest, "--value", "None,CRC32C")
        configure(*target, "--op", "bind", "--initiator-address", "ALL")
        yield Server("tgt", port, name, 1, daemon.pid)
    finally:
        tgtadm(*target, "--op", "delete", "--force")
        tgtadm("--mode", "system", "--op", "delete")
        _end(daemon)
        for leftover in (f"socket.{control}", f"socket.{control}.lock"):
            Path("/run/tgtd", leftover).unlink(missing_ok=True)


@contextlib.contextmanager
def daemon(place: str | None = None) -> Iterator[tuple[Path, int, int]]:
    """Run this scstfs, its tree mounted in a namespace of its own; yield tree, port and pid.

    The tree is at `place`, or else in its own directory.
    """
    with tempfile.TemporaryDirectory(prefix="scstfs-bench.") as directory:
        mountpoint = Path(place or f"{directory}/tree")
        if place is None:
            mountpoint.mkdir()
        argv = ["unshare", "--mount", sys.executable, "-m", "scstfs", "mount"]
        argv += ["--mountpoint", str(mountpoint), "--state-dir", f"{directory}/state"]
        argv += ["--portal", f"{_HOST}:0", "--pid-file", "", "--log-level", "warning"]
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
            try:
                port = _port_when_ready(process)
                # The mount is seen only in the daemon's namespace, which is entered through /proc.
                yield Path(f"/proc/{process.pid}/root{mountpoint}"), port, process.pid
            finally:
                process.terminate()
                _end(process)


@contextlib.contextmanager
def scstfs(
    file: Path, parameters: str = "", others: Mapping[str, Path] = MappingProxyType({})
) -> Iterator[Server]:
    """Run this scstfs over `file`: vdisk_blockio over block devices, else vdisk_fileio.

    `parameters` are more of those of add_device, each ended by a semicolon.  `others` are files,
    by the names of their devices, that become LUNs from 1 on.
    """
    name = "iqn.2007-05.com.example:scstfs"
    with daemon() as (tree, port, pid):
        for path, command in _scst_configuration(name, file, parameters).items():
            (tree / path).write_text(command + "\n")
        for lun, (device, other) in enumerate(others.items(), 1):
            add = f"add_device {device} filename={other}; blocksize={BLOCK_SIZE}\n"
            (tree / "handlers/vdisk_fileio/mgmt").write_text(add)
            (tree / f"targets/iscsi/{name}/luns/mgmt").write_text(f"add {device} {lun}\n")
        yield Server("scstfs", port, name, 0, pid)


def _port_when_ready(daemon: subprocess.Popen[str]) -> int:
    for line in daemon.stderr or ():
        if match := re.search(rf": ready: .* on {re.escape(_HOST)}:(\d+)", line):
            return int(match[1])
        print(line, end="", file=sys.stderr)
    raise SystemExit("scstfs does not start")


def _scst_configuration(target: str, file: Path, parameters: str) -> Mapping[str, str]:
    """Return what is written to which file of the tree, in this order."""
    device = f"add_device disk filename={file}; {parameters} blocksize={BLOCK_SIZE}"
    handler = "vdisk_blockio" if file.is_block_device() else "vdisk_fileio"
    return {
        f"handlers/{handler}/mgmt": device,
        "targets/iscsi/mgmt": f"add_target {target}",
        f"targets/iscsi/{target}/luns/mgmt": "add disk 0",
        f"targets/iscsi/{target}/HeaderDigest": "None,CRC32C",
        f"targets/iscsi/{target}/DataDigest": "None,CRC32C",
        f"targets/iscsi/{target}/enabled": "1",
        "targets/iscsi/enabled": "1",
    }


@contextlib.contextmanager
def bare(file: Path) -> Iterator[Server]:
    """Run the least that a target can do (bare.c) over `file`; only `bench.load` can use it."""
    with tempfile.TemporaryDirectory(prefix="scstfs-bench.") as directory:
        program = Path(directory, "bare")
        source = Path(__file__).with_name("bare.c")
        argv = ["cc", "-O2", "-o", str(program), str(source), "-lpthread"]
        subprocess.run(argv, check=True)
        process = subprocess.Popen([program, file], stdout=subprocess.PIPE, text=True)
        try:
            port = int(process.stdout.readline() if process.stdout else "")
            yield Server("bare C", port, "iqn.2007-05.com.example:bare", 0, process.pid)
        finally:
            process.terminate()
            _end(process)


SERVERS: Final[Mapping[str, Start]] = {"scstfs": scstfs, "tgt": tgt}


@contextlib.contextmanager
def running(file: Path, names: Iterable[str]) -> Iterator[tuple[Server, ...]]:
    """Run several targets over the same `file`."""
    with contextlib.ExitStack() as stack:
        yield tuple(stack.enter_context(SERVERS[name](file)) for name in names)

"""The set-ups of docs/cluster.md, run as they are written."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.world import CLIENT, PATIENCE, World, wait_until, world
from tests.support.loop import loop_device
from tests.support.mounted import Mounted
from tests.support.needs import need_programs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120), pytest.mark.full]

PAGE = Path(__file__).parents[2] / "docs" / "cluster.md"
SCST_TGT = Path("/sys/kernel/scst_tgt")
SIZE = 16 << 20
MOVING = "192.0.2.100"


def blocks(heading: str) -> list[str]:
    """The blocks of code below a heading."""
    text = PAGE.read_text().partition(f"\n### {heading}")[2]
    text = re.split(r"^##", text, maxsplit=1, flags=re.MULTILINE)[0]
    return re.findall(r"^```(?:sh)?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


class Machine:
    """A node with its own files in /etc, where documented commands are run."""

    def __init__(self, pair: World, name: str, disk: str, configuration: str) -> None:
        self.host = pair.network[name]
        self.directory = pair.directory / f"{name}-files"
        self.directory.mkdir(exist_ok=True)
        file = self.directory / "scst.conf"
        file.write_text(configuration.replace("/dev/mapper/disk1", disk))
        self.file = str(file)
        self.daemon: Mounted | None = None

    def mount(self, command: str, name: str) -> None:
        """Run `scstfs mount`, with files of its own."""
        command = command.replace("\\\n", " ").replace("--node a", f"--node {name}")
        words = shlex.split(command)
        assert words[:2] == ["scstfs", "mount"]
        words[words.index("--config") + 1] = self.file
        argv = [sys.executable, "-m", *words, "--state-dir", str(self.directory / "state")]
        argv += ["--pid-file", "", "--resume", "never"]
        self.daemon = Mounted(self.host.inside(*argv), SCST_TGT, ready=": ready: ")

    def run(self, script: str) -> None:
        assert self.daemon is not None
        argv = ["nsenter", f"--target={self.daemon.pid}", "--mount", "--net", "sh", "-ec", script]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr

    def read(self, path: str) -> str:
        assert self.daemon is not None
        return self.daemon.read(path)

    def stop(self) -> None:
        if self.daemon is not None:
            assert self.daemon.stop() == 0, self.daemon.log
            self.daemon = None

    def kill(self) -> None:
        assert self.daemon is not None
        self.daemon._process.kill()
        self.daemon.stop()
        self.daemon = None


@contextmanager
def machines(tmp_path: Path, first: str, second: str) -> Iterator[tuple[World, Machine, Machine]]:
    need_programs("iscsi-ls", "losetup")
    with world(tmp_path / "world", "a", "b") as pair:
        image = tmp_path / "image"
        with image.open("wb") as file:
            file.truncate(SIZE)
        # Each machine has a device of its own for the disk, and uses that alone.
        with loop_device(image) as one, loop_device(image) as other:
            a, b = Machine(pair, "a", one, first), Machine(pair, "b", other, second)
            try:
                yield pair, a, b
            finally:
                a.stop()
                b.stop()


def luns(pair: World, address: str) -> str:
    argv = pair.network[CLIENT].inside("iscsi-ls", "--show-luns", f"iscsi://{address}:3260")
    try:
        done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=3)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout


def announce(pair: World) -> None:
    """What IPaddr2 does when an address has moved: nobody remembers where it was."""
    pair.network[CLIENT].run("ip", "neighbour", "flush", "to", MOVING)


def test_one_address_that_moves(tmp_path: Path) -> None:
    configuration, on_a, on_b, activate, deactivate = blocks("Active and passive")
    with machines(tmp_path, configuration, configuration) as (pair, a, b):
        a.mount(on_a, "a")
        b.mount(on_b, "b")
        a.run(activate)
        wait_until(lambda: "DIRECT_ACCESS" in luns(pair, MOVING), what="nothing at a")
        a.run(deactivate)
        b.run(activate)
        announce(pair)
        wait_until(lambda: "DIRECT_ACCESS" in luns(pair, MOVING), what="nothing at b")
        # The active node dies: its port is free after some seconds.
        b.run("ip address del 192.0.2.100/24 dev eth0")
        b.kill()
        started = time.monotonic()
        a.run(activate)
        assert 1 < time.monotonic() - started < 6
        announce(pair)
        wait_until(lambda: "DIRECT_ACCESS" in luns(pair, MOVING), what="nothing at a")


def test_two_paths_and_alua(tmp_path: Path) -> None:
    configuration, start, switch = blocks("Active on both nodes")
    swapped = (
        configuration.replace("a {\n        rel_tgt_id 1", "b {\n        rel_tgt_id 2")
        .replace("example:a\n", "example:a {\n            rel_tgt_id 1\n        }\n")
        .replace("example:b {\n            rel_tgt_id 2\n        }", "example:b")
    )
    with machines(tmp_path, configuration, swapped) as (pair, a, b):
        a.mount(start, "a")
        b.mount(start, "b")
        for address in ("192.0.2.1", "192.0.2.2"):
            wait_until(lambda address=address: "DIRECT_ACCESS" in luns(pair, address))  # type: ignore[misc]
        groups = "device_groups/disks/target_groups"
        b.run(switch)
        for machine in (a, b):
            assert machine.read(f"{groups}/a/state").startswith("nonoptimized")
            assert machine.read(f"{groups}/b/state").startswith("active")

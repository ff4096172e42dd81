"""Containers made by hand, as rootless container engines make them: for tests of manifests."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from contrib.package.machine import Machine

USER: Final = 100_000
"""An ordinary user: nobody's, so that nothing else on the machine is theirs."""

_DEVICES: Final[Mapping[str, tuple[int, int]]] = {
    "/dev/null": (1, 3),
    "/dev/zero": (1, 5),
    "/dev/urandom": (1, 9),
}
"""Devices that every container has."""

_ENTER: Final = """
mount --bind "$root" "$root"
cd "$root"
mount --rbind /sys sys
mount -t proc proc proc
for directory in $tmpfs; do mount -t tmpfs tmpfs ".$directory"; done
for directory in $volumes; do mount --bind ".$directory" ".$directory"; done
[ -z "$read_only" ] || mount -o remount,bind,ro .
ip link set lo up
pivot_root . mnt
umount --lazy /mnt
cd /
exec setpriv --bounding-set="$capabilities" --inh-caps=-all $no_new_privileges -- "$@"
"""


def instructions(containerfile: str) -> Iterator[tuple[str, str]]:
    """Yield the instructions of a Containerfile with their arguments."""
    text = re.sub(r"^#.*\n", "", containerfile, flags=re.MULTILINE).replace("\\\n", " ")
    for line in filter(None, text.splitlines()):
        name, _, rest = line.partition(" ")
        yield name, rest.strip()


@dataclass(frozen=True)
class Image:
    """What a Containerfile makes.

    Attributes:
        machine: its files.
        command: the words of ENTRYPOINT and CMD.
    """

    machine: Machine
    command: list[str]

    @classmethod
    def build(cls, machine: Machine, containerfile: Path) -> Image:
        """Carry out a Containerfile on a machine that has what its FROM has."""
        command: list[str] = []
        for name, rest in instructions(containerfile.read_text()):
            match name:
                case "COPY":
                    pattern, place = rest.split()
                    for file in containerfile.parent.glob(pattern):
                        shutil.copy(file, machine.path(place))
                case "RUN":
                    machine.prepare(rest)
                case "ENTRYPOINT" | "CMD":
                    command += json.loads(rest)
                case _:
                    assert name in ("FROM", "VOLUME", "EXPOSE", "STOPSIGNAL"), name
        return cls(machine, command)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a container may do."""

    capabilities: Sequence[str]
    devices: Sequence[str]
    read_only: bool
    no_new_privileges: bool
    tmpfs: Sequence[str] = ()
    volumes: Sequence[str] = field(default=())
    """Directories that stay writable."""


@contextmanager
def running(image: Image, limits: Limits) -> Iterator[subprocess.Popen[str]]:
    """Run an image as an ordinary user, in namespaces of its own."""
    root = image.machine.root
    _own(root)
    _make_devices(root, limits.devices)
    wanted = [f"+{name.lower()}" for name in limits.capabilities]
    environment = {
        "PATH": os.environ["PATH"],
        "root": str(root),
        "tmpfs": " ".join(limits.tmpfs),
        "volumes": " ".join(limits.volumes),
        "read_only": "yes" if limits.read_only else "",
        "capabilities": ",".join(["-all", *wanted]),
        "no_new_privileges": "--no-new-privs" if limits.no_new_privileges else "",
    }
    argv = [
        *("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--"),
        *("unshare", "--user", "--map-root-user", "--mount", "--pid", "--net", "--ipc", "--uts"),
        *("--fork", "--kill-child", "sh", "-e", "-c", _ENTER, "sh", *image.command),
    ]
    process = subprocess.Popen(
        argv,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _own(root: Path) -> None:
    """Give all files to the user: to the container they are root's then."""
    subprocess.run(["chown", "-R", "-h", f"{USER}:{USER}", root], check=True)


def _make_devices(root: Path, devices: Sequence[str]) -> None:
    """Make the directory of devices, with those that all containers have and these."""
    directory = root / "dev"
    shutil.rmtree(directory)
    directory.mkdir()
    numbers = {name: os.makedev(*pair) for name, pair in _DEVICES.items()}
    numbers |= {name: os.stat(name).st_rdev for name in devices}
    for name, number in numbers.items():
        os.mknod(root / name.lstrip("/"), stat.S_IFCHR, number)
        (root / name.lstrip("/")).chmod(0o666)

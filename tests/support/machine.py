"""The machine of the recordings: its files, its block devices, its two CPUs.

`on_recorded_machine` runs a function in a child process whose root directory is the host's except
for ``/back``, ``/var/lib/scst`` and the block devices ``/dev/loop0`` and ``/dev/loop1``. On the
host, only two free loop devices are in use meanwhile.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

from scstfs.mounts import MountFlag, mount
from tests.support.namespace import in_namespace
from tests.support.needs import lacking, need_mounts

CPUS = 2
DISK_SIZE = 64 << 20
IMAGE_SIZE = 3 << 20

_LOOP_SET_FD = 0x4C00
_LOOP_SET_STATUS64 = 0x4C04
_LOOP_GET_FREE = 0x4C82
_AUTOCLEAR = 4
_STATUS64_SIZE = 232
_STATUS64_FLAGS = 52


def need_machine() -> None:
    """The test needs what `on_recorded_machine` needs."""
    need_mounts()
    if not os.access("/dev/loop-control", os.R_OK | os.W_OK):
        lacking("needs /dev/loop-control")


def on_recorded_machine(function: Callable[[], None]) -> None:
    """Run *function* there, in a child process; fail if it fails."""

    def body() -> None:
        with tempfile.TemporaryDirectory(prefix="scstfs-machine-") as directory:
            _enter(Path(directory), function)

    in_namespace(body)


def _enter(directory: Path, function: Callable[[], None]) -> None:
    back, state, root = (directory / name for name in ("back", "state", "root"))
    for path in (back, state, root):
        path.mkdir()
    for number in range(1, 6):
        _make_file(back / f"disk{number}", DISK_SIZE)
    _make_file(back / "image.iso", IMAGE_SIZE)
    for name in ("loop0", "loop1"):
        _make_file(directory / name, DISK_SIZE)
    _build_root(root, {"back": back})
    (root / "var/lib").mkdir(exist_ok=True)
    _bind_library(root, state, directory)
    # The descriptors keep the devices, which are released when they are closed.
    held = [_attach_loop(directory / name, root / "dev" / name) for name in ("loop0", "loop1")]
    here = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    os.chroot(root)
    os.chdir("/")
    try:
        function()
    finally:
        os.fchdir(here)
        os.chroot(".")
        for descriptor in held:
            os.close(descriptor)
        _unmount(root)


def _make_file(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def _build_root(root: Path, own: dict[str, Path]) -> None:
    """Mount the host's root directory below *root*, with our directories added."""
    mount("tmpfs", str(root), "tmpfs", MountFlag(0))
    for entry in os.scandir("/"):
        place = root / entry.name
        if entry.is_symlink():
            place.symlink_to(os.readlink(entry.path))
        elif entry.is_dir():
            place.mkdir()
            mount(entry.path, str(place), "", MountFlag.BIND | MountFlag.REC)
    for name, source in own.items():
        place = root / name
        place.mkdir(exist_ok=True)
        mount(str(source), str(place), "", MountFlag.BIND)


def _bind_library(root: Path, state: Path, directory: Path) -> None:
    """Mount *state* as /var/lib/scst, which the host may lack."""
    library = directory / "lib"
    (library / "scst").mkdir(parents=True)
    mount(str(library), str(root / "var/lib"), "", MountFlag.BIND)
    mount(str(state), str(root / "var/lib/scst"), "", MountFlag.BIND)


def _attach_loop(file: Path, place: Path) -> int:
    """Attach *file* to a free loop device and mount that at *place*; return its descriptor."""
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    backing = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        while True:
            number = fcntl.ioctl(control, _LOOP_GET_FREE)
            device = os.open(f"/dev/loop{number}", os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, _LOOP_SET_FD, backing)
            except OSError:
                # Another process was faster.
                os.close(device)
                continue
            break
    finally:
        os.close(backing)
        os.close(control)
    status = bytearray(_STATUS64_SIZE)
    struct.pack_into("=I", status, _STATUS64_FLAGS, _AUTOCLEAR)
    fcntl.ioctl(device, _LOOP_SET_STATUS64, bytes(status))
    mount(f"/dev/loop{number}", str(place), "", MountFlag.BIND)
    return device


def _unmount(root: Path) -> None:
    """Release everything, so that the temporary directory can be removed."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.umount2(os.fsencode(root), 2)

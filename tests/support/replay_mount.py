"""Replays a scenario on the mount of a real daemon, with initiators over loopback."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from pathlib import Path
from typing import Final

import trio

from scstfs.sysfs.text import PAGE_SIZE
from tests.support.mounted import Mounted
from tests.support.recordings import SCSI_DEVICES, SCST_USER, Record, differences, load, scenario
from tests.support.replay import Replay
from tests.support.replay_initiators import Sessions

MOUNT_POINT: Final = Path("/sys/kernel/scst_tgt")
LEFT_OUT: Final = (SCST_USER, SCSI_DEVICES)

_DAEMON: Final = (
    *(sys.executable, "-m", "scstfs", "mount"),
    *("--portal", "127.0.0.1:0", "--pid-file", ""),
)


def daemon() -> Mounted:
    """A daemon on a free port of loopback, for a recorded machine."""
    return Mounted(_DAEMON, MOUNT_POINT, ready=": ready: ")


def portal(running: Mounted) -> tuple[str, int]:
    """The portal of a daemon."""
    match = re.search(r" on (127\.0\.0\.1):(\d+)", running.log)
    assert match is not None, running.log
    return match[1], int(match[2])


def replay_on_mount(name: str, *, every_dump: bool = True) -> list[str]:
    """The differences between a daemon and the recording *name*, and its logged errors.

    For *every_dump* see `Replay`.
    """
    with daemon() as running:
        sessions = Sessions(*portal(running))
        files = MountedFiles(running.path)
        replay = Replay(files, initiators=sessions, every_dump=every_dump)
        try:
            actual = trio.run(replay.run, scenario(name))
        finally:
            sessions.close()
        status = running.stop()
    found = differences(load(name), actual, LEFT_OUT)
    found += [f"ended with status {status}"] * (status != 0)
    return found + [line for line in running.lines if "Traceback" in line or " ERROR " in line]


def _name(error: OSError) -> str:
    return errno.errorcode[error.errno or 0]


class MountedFiles:
    """A mounted tree (`tests.support.replay.Files`)."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)

    def _path(self, path: str) -> str:
        return os.path.join(self._root, path)

    def read(self, path: str) -> Record:
        """See Files."""
        return _read(self._path(path))

    async def write(self, path: str, data: bytes) -> Record:
        """See Files; truncates as a shell's redirection does."""
        try:
            descriptor = os.open(self._path(path), os.O_WRONLY | os.O_TRUNC)
        except OSError as error:
            return {"errno": _name(error), "at": "open"}
        try:
            return {"written": os.write(descriptor, data)}
        except OSError as error:
            return {"errno": _name(error)}
        finally:
            os.close(descriptor)

    def listing(self, path: str) -> Record:
        """See Files."""
        try:
            return {"names": sorted(os.listdir(self._path(path)))}
        except OSError as error:
            return {"errno": _name(error)}

    async def snapshot(self) -> dict[str, Record]:
        """See Files; relative to open directories, which saves look-ups of paths."""
        entries: dict[str, Record] = {}
        for directory, directories, files, descriptor in os.fwalk(self._root):
            for name in directories + files:
                path = os.path.relpath(os.path.join(directory, name), self._root)
                entries[path] = _describe(name, descriptor)
        return entries


def _read(path: str) -> Record:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        return {"errno": _name(error)}
    try:
        return _content(descriptor)
    finally:
        os.close(descriptor)


def _content(descriptor: int) -> Record:
    text = b""
    try:
        while True:
            part = os.read(descriptor, PAGE_SIZE)
            text += part
            # A text shorter than a page is complete.
            if len(part) < PAGE_SIZE:
                return {"text": text.decode("utf-8", "backslashreplace")}
    except OSError as error:
        return {"errno": _name(error)}


def _describe(name: str, directory: int) -> Record:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory)
    except OSError:
        # A link, or a file that cannot be read.
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            return {"link": os.readlink(name, dir_fd=directory)}
        return {"file": oct(stat.S_IMODE(status.st_mode)), "size": status.st_size}
    try:
        status = os.fstat(descriptor)
        mode = oct(stat.S_IMODE(status.st_mode))
        if stat.S_ISDIR(status.st_mode):
            return {"dir": mode}
        return {"file": mode, "size": status.st_size, **_content(descriptor)}
    finally:
        os.close(descriptor)

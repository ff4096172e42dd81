"""The kernel's mount table and the system calls that change it.

/proc/self/mountinfo (proc(5)) as records, and mount(2), umount2(2), open_tree(2), mount_setattr(2)
and move_mount(2) through the C library. The policy is in `scstfs.mountpoint`.
"""

from __future__ import annotations

import ctypes
import enum
import os
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

_LIBC: Final = ctypes.CDLL(None, use_errno=True)

_AT_FDCWD: Final = -100
_AT_EMPTY_PATH: Final = 0x1000
_AT_RECURSIVE: Final = 0x8000
_OPEN_TREE_CLONE: Final = 1
_MOVE_MOUNT_F_EMPTY_PATH: Final = 4
# System calls newer than Linux 5.1 have one number on every architecture.
_SYS_OPEN_TREE: Final = 428
_SYS_MOVE_MOUNT: Final = 429
_SYS_MOUNT_SETATTR: Final = 442

_MNT_DETACH: Final = 2
_UMOUNT_NOFOLLOW: Final = 8


class MountFlag(enum.IntFlag):
    """Flags of mount(2), there called MS_*."""

    NONE = 0
    RDONLY = 0x1
    NOSUID = 0x2
    NODEV = 0x4
    NOEXEC = 0x8
    REMOUNT = 0x20
    BIND = 0x1000
    REC = 0x4000
    PRIVATE = 0x40000


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of /proc/self/mountinfo."""

    id: int
    parent: int  # id of the mount this one is mounted on
    device: str  # MAJOR:MINOR of the file system
    root: str  # the mounted part of the file system
    path: str  # where
    fstype: str  # with its subtype, e.g. fuse.scstfs
    source: str


Table = Mapping[int, Mount]
"""Mounts by id."""


def _unescape(field: bytes) -> str:
    """Undo the octal escapes of mountinfo (blank, tab, newline, backslash)."""
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), field))


def parse_mountinfo(line: bytes) -> Mount:
    """Return the record of one line; the optional fields before " - " are skipped."""
    before, _, after = line.rstrip(b"\n").partition(b" - ")
    number, parent, device, root, path, *_ = before.split(b" ")
    fstype, source, *_ = after.split(b" ")
    return Mount(
        id=int(number),
        parent=int(parent),
        device=device.decode(),
        root=_unescape(root),
        path=_unescape(path),
        fstype=_unescape(fstype),
        source=_unescape(source),
    )


def table() -> Table:
    """Return the mounts this process can see now."""
    with open("/proc/self/mountinfo", "rb") as file:
        return {mount.id: mount for mount in map(parse_mountinfo, file)}


def subtree(mounts: Table, top: int) -> Iterator[Mount]:
    """Yield everything mounted below mount `top`, parents before children."""
    for mount in mounts.values():
        if mount.parent == top and mount.id != top:
            yield mount
            yield from subtree(mounts, mount.id)


def mount_at(path: str) -> Mount | None:
    """Return the mount whose root is visible at `path`, None if `path` is not the root of a mount.

    Of several mounted over each other it is the topmost. It accesses no file system, so it neither
    fails nor hangs on a FUSE mount whose daemon is dead or stuck.

    Args:
        path: absolute, without symbolic links.

    Raises:
        OSError: the path does not exist.
    """
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    try:
        with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
            number = next(int(line.split()[1]) for line in file if line.startswith(b"mnt_id:"))
    finally:
        os.close(fd)
    mount = table().get(number)
    return mount if mount and mount.path == path else None


def _check(result: int, path: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return result


def mount(source: str, target: str, fstype: str, flags: MountFlag, options: str = "") -> None:
    """mount(2). Raises OSError whose `filename` is `target`."""
    _check(
        _LIBC.mount(
            os.fsencode(source),
            os.fsencode(target),
            fstype.encode() or None,
            ctypes.c_ulong(flags),
            options.encode() or None,
        ),
        target,
    )


def bind(source: str, target: str) -> None:
    """Show the tree at `source`, with all that is mounted in it, at `target` as well."""
    mount(source, target, "", MountFlag.BIND | MountFlag.REC)


def make_private(path: str) -> None:
    """Stop the mounts at and below `path` from exchanging (un)mounts with other mounts."""
    mount("", path, "", MountFlag.REC | MountFlag.PRIVATE)


def detach(path: str) -> None:
    """Take the topmost mount at `path`, and all below it, out of the namespace at once.

    Processes that use it may continue (umount2 with MNT_DETACH). Follows no symbolic link.
    """
    _check(_LIBC.umount2(os.fsencode(path), _MNT_DETACH | _UMOUNT_NOFOLLOW), path)


def _syscall(number: int, path: str, *arguments: int | bytes) -> int:
    """Make a system call that may lack a function in the C library; errors name `path`."""
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return _check(int(_LIBC.syscall(ctypes.c_long(number), *words)), path)


def clone(path: str) -> int:
    """Return a descriptor of an unattached, private copy of the mounts at and below `path`."""
    flags = _OPEN_TREE_CLONE | _AT_RECURSIVE | os.O_CLOEXEC
    fd = _syscall(_SYS_OPEN_TREE, path, _AT_FDCWD, os.fsencode(path), flags)
    # struct mount_attr: attr_set, attr_clr, propagation, userns_fd
    attributes = struct.pack("QQQQ", 0, 0, MountFlag.PRIVATE, 0)
    try:
        flags = _AT_EMPTY_PATH | _AT_RECURSIVE
        _syscall(_SYS_MOUNT_SETATTR, path, fd, b"", flags, attributes, len(attributes))
    except OSError:
        os.close(fd)
        raise
    return fd


def attach(fd: int, path: str) -> None:
    """Mount the copy that `clone` returned at `path`. The caller still owns the descriptor."""
    target = os.fsencode(path)
    _syscall(_SYS_MOVE_MOUNT, path, fd, b"", _AT_FDCWD, target, _MOVE_MOUNT_F_EMPTY_PATH)

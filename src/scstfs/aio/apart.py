"""System calls that may wait for a disk for ever, in worker threads.

A thread that waits for a disk cannot be killed, and a program does not end before all of its
threads.  These functions have their calls made by a process of its own in the same memory and with
the same descriptors (native/apart.c), so that a disk that hangs does not keep scstfs from ending.
That costs some tens of microseconds each; what is done often is a request to the engine.

All of them raise OSError.
"""

from __future__ import annotations

import contextlib
import os
import struct
from dataclasses import dataclass
from typing import Any, Final

from scstfs.aio._native import ffi, lib
from scstfs.aio.address import address_of

_AT_FDCWD: Final = (1 << 64) - 100
_AT_EMPTY_PATH: Final = 0x1000
_STATX_BASIC: Final = 0x7FF
_STATX_SIZE: Final = 256
#: stx_mode, stx_ino, stx_size and stx_blocks; stx_rdev and stx_dev, major and minor.
_STATX: Final = struct.Struct("=28xH2xQQQ72xIIII")
_IOVEC: Final = struct.Struct("=QQ")
_STATFS_SIZE: Final = 256
_LONGEST_LINK: Final = 4096
#: An offset: where the last transfer ended (preadv2(2)).
HERE: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class FileStatus:
    """What stat(2) says of a file."""

    mode: int
    device: int
    inode: int
    #: Of the device that it is, if it is one.
    special: int
    size: int
    #: Bytes that it occupies.
    allocated: int


def call(number: int, *arguments: int, path: str | None = None) -> int:
    """Make a system call; returns what it returned.  Errors name ``path``, if there is one."""
    result: int = lib.disk_call(number, ffi.new("uint64_t[6]", list(arguments)))
    if result < 0:
        where = () if path is None else (path,)
        raise OSError(-result, os.strerror(-result), *where)
    return result


def waiting() -> int:
    """How many calls wait for a disk now, of these functions and of threads of the engine."""
    return int(lib.disk_calls())


def leave_behind() -> None:
    """The program is about to end: calls that it leaves behind shall keep nothing open but disks.

    Descriptors are shared with them.  Ports could not be used again, locks would be held, and who
    reads what the program prints would wait, for as long as a disk does not answer.
    """
    if not waiting():
        return
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in _opened:
            with contextlib.suppress(OSError):
                os.close(int(name))


#: Descriptors of disks: closing them may hang, too.
_opened: Final[set[int]] = set()


def open_file(path: str, flags: int, mode: int = 0) -> int:
    """open(2)."""
    name = ffi.new("char[]", os.fsencode(path))
    fd = call(lib.SYS_openat, _AT_FDCWD, _address(name), flags | os.O_CLOEXEC, mode, path=path)
    _opened.add(fd)
    return fd


def duplicate(fd: int) -> int:
    """dup(2), which itself does not wait."""
    copy = os.dup(fd)
    _opened.add(copy)
    return copy


def close(fd: int) -> None:
    """close(2)."""
    call(lib.SYS_close, fd)
    closed(fd)


def closed(fd: int) -> None:
    """A descriptor that ``open_file`` gave has been closed elsewhere."""
    _opened.discard(fd)


def status(fd: int) -> FileStatus:
    """fstat(2)."""
    return _status(fd, "", _AT_EMPTY_PATH)


def status_of(path: str) -> FileStatus:
    """stat(2)."""
    return _status(_AT_FDCWD, path, 0)


def _status(fd: int, path: str, flags: int) -> FileStatus:
    name, room = ffi.new("char[]", os.fsencode(path)), ffi.new("char[]", _STATX_SIZE)
    where = path or None
    call(lib.SYS_statx, fd, _address(name), flags, _STATX_BASIC, _address(room), path=where)
    mode, inode, size, blocks, *numbers = _STATX.unpack_from(ffi.buffer(room))
    special, device = os.makedev(*numbers[:2]), os.makedev(*numbers[2:])
    return FileStatus(mode, device, inode, special, size, blocks * 512)


def read(fd: int, memory: memoryview, offset: int, flags: int = 0) -> int:
    """preadv2(2) into one piece of memory; returns how many bytes there were."""
    return _move(lib.SYS_preadv2, fd, memory, offset, flags)


def write(fd: int, memory: memoryview, offset: int, flags: int = 0) -> int:
    """pwritev2(2) of one piece of memory; returns how many bytes were taken."""
    return _move(lib.SYS_pwritev2, fd, memory, offset, flags)


def _move(number: int, fd: int, memory: memoryview, offset: int, flags: int) -> int:
    vector = ffi.new("char[]", _IOVEC.pack(address_of(memory), len(memory)))
    # The upper half of the offset is for systems whose numbers are too short.
    return call(number, fd, _address(vector), 1, offset, 0, flags)


def flush(fd: int) -> None:
    """fdatasync(2)."""
    call(lib.SYS_fdatasync, fd)


def flush_everything(fd: int) -> None:
    """fsync(2)."""
    call(lib.SYS_fsync, fd)


def lock(fd: int, operation: int) -> None:
    """flock(2)."""
    call(lib.SYS_flock, fd, operation)


def truncate(fd: int, length: int) -> None:
    """ftruncate(2)."""
    call(lib.SYS_ftruncate, fd, length)


def allocate(fd: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2)."""
    call(lib.SYS_fallocate, fd, mode, offset, length)


def seek(fd: int, offset: int, whence: int) -> int:
    """lseek(2)."""
    return call(lib.SYS_lseek, fd, offset, whence)


def advise(fd: int, offset: int, length: int, advice: int) -> None:
    """posix_fadvise(2)."""
    call(lib.SYS_fadvise64, fd, offset, length, advice)


def control(fd: int, request: int, argument: bytes) -> bytes:
    """ioctl(2) with a structure; returns what became of it."""
    room = ffi.new("char[]", argument)
    call(lib.SYS_ioctl, fd, request, _address(room))
    return bytes(ffi.buffer(room, len(argument)))


def copy(source: int, source_offset: int, target: int, offset: int, length: int) -> int:
    """copy_file_range(2); returns how many bytes were copied."""
    offsets = ffi.new("uint64_t[2]", [source_offset, offset])
    first = _address(offsets)
    return call(lib.SYS_copy_file_range, source, first, target, first + 8, length, 0)


def file_system(fd: int) -> bytes:
    """fstatfs(2): its ``struct statfs``, and more room."""
    room = ffi.new("char[]", _STATFS_SIZE)
    call(lib.SYS_fstatfs, fd, _address(room))
    return bytes(ffi.buffer(room))


def make_directory(path: str, mode: int) -> None:
    """mkdir(2)."""
    name = ffi.new("char[]", os.fsencode(path))
    call(lib.SYS_mkdirat, _AT_FDCWD, _address(name), mode, path=path)


def unlink(path: str) -> None:
    """unlink(2)."""
    name = ffi.new("char[]", os.fsencode(path))
    call(lib.SYS_unlinkat, _AT_FDCWD, _address(name), 0, path=path)


def rename(path: str, to: str) -> None:
    """rename(2)."""
    names = [ffi.new("char[]", os.fsencode(name)) for name in (path, to)]
    old, new = map(_address, names)
    call(lib.SYS_renameat2, _AT_FDCWD, old, _AT_FDCWD, new, 0, path=path)


def link_target(path: str) -> str:
    """readlink(2)."""
    name, room = ffi.new("char[]", os.fsencode(path)), ffi.new("char[]", _LONGEST_LINK)
    arguments = (_AT_FDCWD, _address(name), _address(room), _LONGEST_LINK)
    length = call(lib.SYS_readlinkat, *arguments, path=path)
    return os.fsdecode(bytes(ffi.buffer(room, length)))


def _address(memory: Any) -> int:
    return int(ffi.cast("uintptr_t", memory))

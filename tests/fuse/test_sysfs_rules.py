"""A mounted tree answers system calls as the kernel's sysfs does.

The expectations were taken from a real sysfs (a network device's directory on Linux 6.18).
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.mounted import Mounted

LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100


def errno_of(action: Callable[[], object]) -> str:
    try:
        action()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "OK"


def renameat2(old: Path, new: Path, flags: int) -> None:
    if LIBC.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags):
        raise OSError(ctypes.get_errno(), "renameat2")


def open_close(path: Path, flags: int) -> None:
    os.close(os.open(path, flags))


ATTR, NEW, DIRECTORY = "devices/disk1/threads_num", "devices/disk1/new", "devices/disk1"

REFUSALS: list[tuple[str, Callable[[Path], object], str]] = [
    ("mkdir", lambda p: (p / NEW).mkdir(), "EPERM"),
    ("mkdir existing", lambda p: (p / ATTR).mkdir(), "EEXIST"),
    ("create", lambda p: os.open(p / NEW, os.O_CREAT | os.O_WRONLY), "EACCES"),
    (
        "create exclusively",
        lambda p: os.open(p / ATTR, os.O_CREAT | os.O_EXCL | os.O_WRONLY),
        "EEXIST",
    ),
    ("create in no directory", lambda p: os.open(p / "no/x", os.O_CREAT | os.O_WRONLY), "ENOENT"),
    ("mknod", lambda p: os.mknod(p / NEW), "EACCES"),
    ("mkfifo", lambda p: os.mkfifo(p / NEW), "EPERM"),
    ("symlink", lambda p: (p / NEW).symlink_to("x"), "EPERM"),
    ("link", lambda p: os.link(p / ATTR, p / NEW), "EPERM"),
    ("unlink", lambda p: (p / ATTR).unlink(), "EPERM"),
    ("unlink missing", lambda p: (p / NEW).unlink(), "ENOENT"),
    ("unlink a directory", lambda p: os.unlink(p / DIRECTORY), "EISDIR"),
    ("rmdir", lambda p: (p / DIRECTORY).rmdir(), "EPERM"),
    ("rmdir an attribute", lambda p: (p / ATTR).rmdir(), "ENOTDIR"),
    ("rename", lambda p: (p / ATTR).rename(p / NEW), "EPERM"),
    ("rename onto another", lambda p: (p / ATTR).rename(p / "sink"), "EPERM"),
    ("rename a directory", lambda p: (p / DIRECTORY).rename(p / "devices/new"), "EPERM"),
    ("rename with flags", lambda p: renameat2(p / ATTR, p / NEW, 1), "EINVAL"),
    ("truncate", lambda p: os.truncate(p / ATTR, 0), "OK"),
    ("truncate longer", lambda p: os.truncate(p / ATTR, 100), "OK"),
    ("write a read-only one", lambda p: os.open(p / "renders", os.O_WRONLY), "EACCES"),
    ("update a read-only one", lambda p: os.open(p / "renders", os.O_RDWR), "EACCES"),
    ("read a write-only one", lambda p: os.open(p / "devices/disk1/sync", os.O_RDONLY), "EACCES"),
    ("read, truncating", lambda p: open_close(p / "renders", os.O_TRUNC), "OK"),
    ("write a directory", lambda p: os.open(p / DIRECTORY, os.O_WRONLY), "EISDIR"),
    ("an attribute as directory", lambda p: os.open(p / ATTR, os.O_DIRECTORY), "ENOTDIR"),
    ("direct", lambda p: os.open(p / ATTR, os.O_DIRECT), "EINVAL"),
    ("temporary file", lambda p: os.open(p / DIRECTORY, os.O_TMPFILE | os.O_RDWR), "ENOTSUP"),
    ("getxattr", lambda p: os.getxattr(p / ATTR, "user.x"), "ENODATA"),
    ("getxattr security", lambda p: os.getxattr(p / ATTR, "security.selinux"), "ENODATA"),
    ("getxattr acl", lambda p: os.getxattr(p / ATTR, "system.posix_acl_access"), "ENOTSUP"),
    ("setxattr", lambda p: os.setxattr(p / ATTR, "user.x", b"1"), "ENOTSUP"),
    ("removexattr", lambda p: os.removexattr(p / ATTR, "user.x"), "ENOTSUP"),
    ("missing", lambda p: os.stat(p / "devices/nothing"), "ENOENT"),
    ("below an attribute", lambda p: os.stat(p / ATTR / "x"), "ENOTDIR"),
    ("readlink of an attribute", lambda p: (p / ATTR).readlink(), "EINVAL"),
    ("a bug in show", lambda p: (p / "crash").read_text(), "EIO"),
]


@pytest.mark.parametrize(
    ("action", "expected"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)
def test_system_call(shared: Mounted, action: Callable[[Path], object], expected: str) -> None:
    assert errno_of(lambda: action(shared.path)) == expected


@pytest.mark.parametrize(
    "flags",
    [
        os.O_WRONLY,
        os.O_WRONLY | os.O_TRUNC,
        os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
        os.O_WRONLY | os.O_APPEND,
        os.O_RDWR,
    ],
)
def test_every_way_to_open_for_writing(shared: Mounted, flags: int) -> None:
    path = shared.path / "devices/disk2/read_only"
    descriptor = os.open(path, flags, 0o644)
    assert os.write(descriptor, b"1\n") == 2
    assert errno_of(lambda: os.write(descriptor, b"2\n")) == "EINVAL"
    assert os.write(descriptor, b"1") == 1
    os.close(descriptor)
    assert path.read_text() == "1\n[key]\n"
    assert path.stat().st_size == 4096


@pytest.mark.parametrize(
    ("name", "mode", "size", "links"),
    [
        ("", stat.S_IFDIR | 0o755, 0, 6),
        ("devices", stat.S_IFDIR | 0o755, 0, 4),
        ("devices/disk1", stat.S_IFDIR | 0o755, 0, 2),
        ("devices/disk1/type", stat.S_IFREG | 0o444, 4096, 1),
        ("devices/disk1/comment", stat.S_IFREG | 0o644, 4096, 1),
        ("devices/disk1/sync", stat.S_IFREG | 0o200, 4096, 1),
        ("devices/disk1/IncomingUser", stat.S_IFREG | 0o600, 4096, 1),
        ("devices/disk1/group", stat.S_IFLNK | 0o777, 0, 1),
    ],
)
def test_stat(shared: Mounted, name: str, mode: int, size: int, links: int) -> None:
    found = (shared.path / name).lstat()
    assert (found.st_mode, found.st_size, found.st_nlink) == (mode, size, links)
    assert (found.st_uid, found.st_gid, found.st_blksize, found.st_blocks) == (0, 0, 4096, 0)
    assert found.st_mtime == found.st_ctime == found.st_atime > 1.6e9
    assert (shared.path / name).lstat() == found


def test_link_counts_are_never_old(toy: Mounted) -> None:
    devices = toy.path / "devices"
    before = devices.stat().st_nlink
    (devices / "mgmt").write_text("add new\n")
    assert devices.stat().st_nlink == before + 1
    assert (devices / "new").stat().st_nlink == 2
    (devices / "mgmt").write_text("del new\n")
    assert devices.stat().st_nlink == before


def test_file_system_statistics(shared: Mounted) -> None:
    found = os.statvfs(shared.path)
    assert (found.f_bsize, found.f_blocks, found.f_files, found.f_namemax) == (4096, 0, 0, 255)
    # Opened and written as it was, no space, no names: df(1) leaves it out like sysfs.
    assert (found.f_bfree, found.f_bavail, found.f_ffree) == (0, 0, 0)


def test_the_mount_table_reads_well(shared: Mounted) -> None:
    line = shared.sh(f"grep {shared.mountpoint} /proc/mounts").stdout.split()
    assert (line[0], line[2]) == ("scst_tgt", "fuse.scstfs")
    options = set(line[3].split(","))
    assert {"rw", "nosuid", "nodev", "noexec", "allow_other", "default_permissions"} <= options


def test_readdir_gives_types(shared: Mounted) -> None:
    with os.scandir(shared.path / "devices/disk1") as entries:
        kinds = {
            entry.name: (entry.is_symlink(), entry.is_file(follow_symlinks=False))
            for entry in entries
        }
    assert kinds["group"] == (True, False)
    assert kinds["type"] == (False, True)
    with os.scandir(shared.path) as entries:
        directories = {entry.name for entry in entries if entry.is_dir(follow_symlinks=False)}
    assert directories == {"devices", "groups", "gate_a", "gate_b"}
    assert sorted(os.listdir(shared.path / "devices")) == ["disk1", "disk2", "mgmt"]


def test_the_inode_numbers_of_readdir_and_stat_agree(shared: Mounted) -> None:
    directory = shared.path / "devices"
    descriptor = os.open(directory, os.O_RDONLY)
    with os.scandir(descriptor) as entries:
        numbers = {entry.name: entry.inode() for entry in entries}
    assert numbers == {name: (directory / name).lstat().st_ino for name in numbers}
    os.close(descriptor)


# --- reading ------------------------------------------------------------------------------------


def test_a_read_is_one_text_until_it_starts_over(shared: Mounted) -> None:
    descriptor = os.open(shared.path / "renders", os.O_RDONLY)
    first = os.read(descriptor, 10)
    while data := os.read(descriptor, 97):
        first += data
    number = int(first.split()[0])
    assert first == b"".join(b"%6d %d\n" % (number, line) for line in range(200))
    assert os.lseek(descriptor, 0, os.SEEK_END) == 4096
    assert os.read(descriptor, 10) == b""
    assert os.lseek(descriptor, 0, os.SEEK_SET) == 0
    again = os.read(descriptor, 100_000)
    assert int(again.split()[0]) > number
    # Anywhere else than where the last read ended is a new text as well.
    later = os.pread(descriptor, 6, 9)
    assert int(later) > int(again.split()[0])
    os.close(descriptor)


def test_single_bytes(shared: Mounted) -> None:
    path = shared.path / "devices/disk1/IncomingUser1"
    with path.open("rb", buffering=0) as file:
        text = b"".join(iter(lambda: file.read(1), b""))
    assert text == b"u2 secret\n[key]\n\n"


# --- writing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "taken", "seen"),
    [
        (b"one\n", 4, "one\n"),
        (b"\n", 1, "\n"),
        (b"no newline", 10, "no newline"),
        (b"cut\0here", 8, "cut"),
        (b"\0", 1, ""),
        (b"\xff\xfe", 2, "\xff\xfe"),
        (b"x" * 4096, 4096, "x" * 4096),
        (b"x" * 4097, 4096, "x" * 4096),
        (b"y" * 9000, 4096, "y" * 4096),
        (b"z" * 3_000_000, 4096, "z" * 4096),
    ],
    ids=lambda value: str(value)[:12],
)
def test_one_write_is_one_command(toy: Mounted, data: bytes, taken: int, seen: str) -> None:
    assert toy.write("sink", b"before") == 6
    assert toy.write("sink", data) == taken
    text = (toy.path / "sink").read_bytes()
    if len(seen) < 1000:
        assert json.loads(text) == ["before", seen]
    else:
        assert text == (b'["before", "' + seen.encode())[:4095]


def test_an_empty_write_succeeds_and_does_nothing(toy: Mounted) -> None:
    descriptor = os.open(toy.path / "sink", os.O_WRONLY)
    assert os.write(descriptor, b"") == 0
    assert os.writev(descriptor, [b"", b""]) == 0
    assert os.writev(descriptor, [b"a", b"b", b"c"]) == 3
    assert os.pwrite(descriptor, b"d", 1000) == 1
    os.close(descriptor)
    assert toy.read("sink") == '["abc", "d"]\n'


def test_a_refused_write_fails_and_close_does_not(shared: Mounted) -> None:
    descriptor = os.open(shared.path / "devices/mgmt", os.O_WRONLY)
    for _ in range(3):
        assert errno_of(lambda: os.write(descriptor, b"junk\n")) == "EINVAL"
        assert shared.read("last_sysfs_mgmt_res") == "-22\n"
    os.close(descriptor)


@pytest.mark.parametrize("name", ["devices/disk1/no_store", "crash_store"])
def test_no_store_and_a_bug_in_one_are_i_o_errors(shared: Mounted, name: str) -> None:
    assert errno_of(lambda: shared.write(name, b"1")) == "EIO"
    assert (shared.path / "devices/disk1/type").read_text() == "0 - disk\n"


def test_the_log_tells_why(toy: Mounted) -> None:
    assert errno_of(lambda: toy.write("devices/mgmt", b"Junk\n")) == "EINVAL"
    assert errno_of(lambda: toy.read("crash")) == "EIO"
    assert toy.stop() == 0
    assert 'INFO scstfs.fuse write devices/mgmt: EINVAL: Unknown action "Junk"' in toy.log
    assert "ERROR scstfs.fuse Internal error: read crash" in toy.log
    assert "ZeroDivisionError" in toy.log
    assert toy.log.count("Traceback") == 1


# --- chmod and its kin --------------------------------------------------------------------------


def test_chmod_chown_and_utime(toy: Mounted) -> None:
    path = toy.path / "devices/disk1/type"
    path.chmod(0o644)
    os.chown(path, 7, 8)
    os.utime(path, (1, 2))
    found = path.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (0o644, 7, 8)
    assert (found.st_atime, found.st_mtime) == (1, 2)
    # The mode now allows opening it; there is still no store.
    assert errno_of(lambda: toy.write("devices/disk1/type", b"x")) == "EIO"
    path.chmod(0)
    assert errno_of(path.read_text) == "EACCES"
    toy.write("devices/mgmt", b"del disk1")
    toy.write("devices/mgmt", b"add disk1")
    found = path.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o444, 0)

"""The handlers called directly, without a mount: the guard, handles, counting of lookups."""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pyfuse3
import pytest
import trio
import trio.testing

from scstfs.fuse.operations import MOUNT_OPTIONS, Operations
from scstfs.observable import Observable
from scstfs.sysfs.attr import Attr
from scstfs.sysfs.directory import DirType, Each, EachAttr, Link
from scstfs.sysfs.node import Tree
from tests.support.fuse_calls import (
    ROOT,
    Handler,
    Reader,
    code_of,
    ctx,
    find,
    open_file,
    read_some,
    run,
)
from tests.support.toytree import Device, Toy, build


@pytest.fixture
def toy_and_operations() -> tuple[Toy, Operations]:
    tree, toy = build()
    return toy, Operations(tree)


@pytest.fixture
def toy(toy_and_operations: tuple[Toy, Operations]) -> Toy:
    return toy_and_operations[0]


@pytest.fixture
def operations(toy_and_operations: tuple[Toy, Operations]) -> Operations:
    return toy_and_operations[1]


def change(operations: Operations, inode: int, **values: Any) -> pyfuse3.EntryAttributes:
    names = ("mode", "uid", "gid", "size", "atime", "mtime", "ctime")
    fields = SimpleNamespace(**{f"update_{name}": name in values for name in names})
    attr = pyfuse3.EntryAttributes()
    for name, value in values.items():
        setattr(attr, f"st_{name}_ns" if name.endswith("time") else f"st_{name}", value)
    entry = run(operations.setattr, inode, attr, fields, None, ctx())
    assert isinstance(entry, pyfuse3.EntryAttributes)
    return entry


# --- attributes of inodes -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "mode", "size", "links"),
    [
        ("devices", stat.S_IFDIR | 0o755, 0, 4),
        ("devices/disk1", stat.S_IFDIR | 0o755, 0, 2),
        ("devices/disk1/type", stat.S_IFREG | 0o444, 4096, 1),
        ("devices/disk1/sync", stat.S_IFREG | 0o200, 4096, 1),
        ("devices/disk1/group", stat.S_IFLNK | 0o777, 0, 1),
    ],
)
def test_getattr(operations: Operations, path: str, mode: int, size: int, links: int) -> None:
    number = find(operations, path)
    entry = run(operations.getattr, number, ctx())
    assert entry.st_ino == number
    assert (entry.st_mode, entry.st_size, entry.st_nlink) == (mode, size, links)
    assert (entry.st_uid, entry.st_gid, entry.st_blocks) == (0, 0, 0)
    again = run(operations.getattr, number, ctx())
    assert again.st_mtime_ns == entry.st_mtime_ns > 0


def test_lookup_counts_and_forget(operations: Operations) -> None:
    before = operations.statistics().inodes
    numbers = [find(operations, "devices") for _ in range(3)]
    assert len(set(numbers)) == 1
    assert operations.statistics().inodes.lookups == before.lookups + 3
    run(operations.forget, [(numbers[0], 2), (999, 1)])
    assert operations.statistics().inodes.lookups == before.lookups + 1
    run(operations.forget, [(numbers[0], 1)])
    assert operations.statistics().inodes == before
    assert code_of(operations.getattr, numbers[0], ctx()) == "ESTALE"


def test_a_missing_name_counts_nothing(operations: Operations) -> None:
    entry = run(operations.lookup, ROOT, b"nothing", ctx())
    assert (entry.st_ino, entry.entry_timeout) == (0, 1e8)
    assert operations.statistics().inodes == (1, 0, 0)


def test_chmod_and_chown_last_and_truncation_changes_nothing(operations: Operations) -> None:
    number = find(operations, "devices/disk1/threads_num")
    before = run(operations.getattr, number, ctx())
    entry = change(operations, number, size=100, mtime=5)
    assert (entry.st_size, entry.st_mtime_ns) == (4096, before.st_mtime_ns)
    assert operations.statistics().inodes.changed == 0
    change(operations, number, mode=stat.S_IFREG | 0o600, uid=1, gid=2)
    change(operations, number, atime=3, mtime=4)
    run(operations.forget, [(number, 1)])
    again = run(operations.getattr, find(operations, "devices/disk1/threads_num"), ctx())
    assert (again.st_mode, again.st_uid, again.st_gid) == (stat.S_IFREG | 0o600, 1, 2)
    assert (again.st_atime_ns, again.st_mtime_ns) == (3, 4)
    assert again.st_ctime_ns >= before.st_ctime_ns


@pytest.mark.parametrize(
    ("uid", "gid", "mask", "allowed"),
    [
        (0, 0, os.W_OK, True),
        (1, 5, os.R_OK | os.W_OK, True),
        (2, 6, os.R_OK, True),
        (2, 6, os.W_OK, False),
        (2, 5, os.R_OK, False),
        (2, 5, os.F_OK, True),
    ],
)
def test_access(operations: Operations, uid: int, gid: int, mask: int, allowed: bool) -> None:
    number = find(operations, "devices/disk1/threads_num")
    change(operations, number, mode=0o640, uid=1, gid=6)
    assert run(operations.access, number, mask, ctx(uid, gid)) is allowed


def test_readlink_and_statfs(operations: Operations) -> None:
    assert run(operations.readlink, find(operations, "groups/all!disk1"), ctx()) == (
        b"../devices/disk1"
    )
    assert code_of(operations.readlink, find(operations, "devices"), ctx()) == "EINVAL"
    data = run(operations.statfs, ctx())
    assert (data.f_bsize, data.f_namemax, data.f_files) == (4096, 255, 0)


# --- open, read, write --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "flags", "code"),
    [
        ("devices/disk1/type", os.O_WRONLY, "EACCES"),
        ("devices/disk1/type", os.O_RDWR, "EACCES"),
        ("devices/disk1/type", os.O_RDONLY, ""),
        ("devices/disk1/type", os.O_RDONLY | os.O_TRUNC, ""),
        ("devices/disk1/type", os.O_RDONLY | os.O_DIRECT, "EINVAL"),
        ("devices/disk1/sync", os.O_RDONLY, "EACCES"),
        ("devices/disk1/sync", os.O_RDWR, "EACCES"),
        ("devices/disk1/sync", os.O_WRONLY, ""),
        ("devices/mgmt", os.O_RDWR | os.O_TRUNC | os.O_CREAT | os.O_APPEND, ""),
    ],
)
def test_open(operations: Operations, path: str, flags: int, code: str) -> None:
    number = find(operations, path)
    if code:
        assert code_of(operations.open, number, flags, ctx()) == code
        assert operations.statistics().files == 0
    else:
        info = run(operations.open, number, flags, ctx())
        assert (info.direct_io, info.keep_cache) == (True, False)
        run(operations.release, info.fh)
        run(operations.release, info.fh)
        assert operations.statistics().files == 0


def test_reads_that_continue_get_one_text_and_others_a_new_one(operations: Operations) -> None:
    handle = open_file(operations, "renders")
    text = run(operations.read, handle, 0, 100)
    text += run(operations.read, handle, 100, 10**6)
    assert text == b"".join(b"%6d %d\n" % (1, line) for line in range(200))
    assert run(operations.read, handle, len(text), 100) == b""
    assert run(operations.read, handle, 0, 6) == b"     2"
    assert run(operations.read, handle, 5, 4) == b"3 0\n"
    assert run(operations.read, handle, 9, 6) == b"     3"
    assert run(operations.read, handle, 10**6, 6) == b""


def test_two_descriptors_have_a_text_each(operations: Operations) -> None:
    first, second = (open_file(operations, "renders") for _ in range(2))
    assert run(operations.read, first, 0, 8) == b"     1 0"
    assert run(operations.read, second, 0, 8) == b"     2 0"
    assert run(operations.read, first, 8, 7) == b"\n     1"


def test_what_is_gone_answers_enodev(operations: Operations, toy: Toy) -> None:
    number = find(operations, "devices/disk1/threads_num")
    fresh, begun, ended = (
        open_file(operations, "devices/disk1/threads_num", os.O_RDWR) for _ in range(3)
    )
    run(operations.read, begun, 0, 1)
    run(operations.read, ended, 0, 100)
    del toy.devices["disk1"]
    assert code_of(operations.read, fresh, 0, 100) == "ENODEV"
    assert run(operations.read, begun, 1, 100) == b"\n"
    assert code_of(operations.read, begun, 2, 100) == "ENODEV"
    assert code_of(operations.read, ended, 2, 100) == "ENODEV"
    assert code_of(operations.write, fresh, 0, b"1") == "ENODEV"
    assert code_of(operations.open, number, os.O_RDONLY, ctx()) == "ENODEV"
    assert run(operations.getattr, number, ctx()).st_size == 4096


def test_write_ignores_the_offset_and_counts_a_page(operations: Operations, toy: Toy) -> None:
    handle = open_file(operations, "sink", os.O_WRONLY | os.O_APPEND)
    assert run(operations.write, handle, 4096, b"one\n") == 4
    assert run(operations.write, handle, 4100, b"x" * 5000) == 4096
    assert toy.writes == [b"one\n", b"x" * 4096]


def test_a_slow_store_holds_nobody_else_up(operations: Operations, toy: Toy) -> None:
    enter = open_file(operations, "gate_a/enter", os.O_WRONLY)
    leave = open_file(operations, "gate_a/open", os.O_WRONLY)
    other = open_file(operations, "sink", os.O_RDWR)

    async def play() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(operations.write, enter, 0, b"1")
            await trio.testing.wait_all_tasks_blocked()
            assert toy.gates["a"].waiting == 1
            assert await operations.write(other, 0, b"x") == 1
            assert await operations.read(other, 0, 100) == b'["x"]\n'
            await operations.write(leave, 0, b"1")

    trio.run(play)
    assert toy.gates["a"].waiting == 0


def test_cancellation_passes(operations: Operations, toy: Toy) -> None:
    enter = open_file(operations, "gate_a/enter", os.O_WRONLY)

    async def play() -> bool:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(operations.write, enter, 0, b"1")
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        return scope.cancelled_caught

    assert trio.run(play)
    assert toy.gates["a"].waiting == 0
    assert toy.result.pending == 0


# --- directories --------------------------------------------------------------------------------


@pytest.mark.parametrize("room", [1, 2, 3, 100])
def test_readdir_gives_every_entry_once(operations: Operations, room: int) -> None:
    number = find(operations, "devices")
    handle = run(operations.opendir, number, ctx())
    reader = Reader(0)
    while read_some(operations, handle, reader, room):
        pass
    directory, regular = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o644
    assert [(name, mode) for name, _, mode in reader.entries] == [
        (".", directory),
        ("..", directory),
        ("mgmt", regular),
        ("disk1", directory),
        ("disk2", directory),
    ]
    assert [inode for _, inode, _ in reader.entries[:2]] == [number, ROOT]
    # Dots are not counted; each other entry is counted once, for the kernel to forget.
    assert operations.statistics().inodes == (5, 4, 0)
    run(operations.forget, [(inode, 1) for _, inode, _ in reader.entries[2:]])
    assert operations.statistics().inodes == (2, 1, 0)
    run(operations.releasedir, handle)
    run(operations.releasedir, handle)
    assert operations.statistics().directories == 0


def test_readdir_while_entries_come_and_go(operations: Operations, toy: Toy) -> None:
    handle = run(operations.opendir, find(operations, "devices"), ctx())
    reader = Reader(0)
    assert read_some(operations, handle, reader, 4) == 4
    del toy.devices["disk1"]
    del toy.devices["disk2"]
    toy.devices["d3"] = Device("d3")
    assert read_some(operations, handle, reader, 10) == 0
    again = Reader(0)
    read_some(operations, handle, again, 10)
    assert [name for name, _, _ in again.entries] == [".", "..", "mgmt", "d3"]


def test_the_directory_of_a_gone_object_is_empty(operations: Operations, toy: Toy) -> None:
    number = find(operations, "devices/disk1")
    del toy.devices["disk1"]
    handle = run(operations.opendir, number, ctx())
    reader = Reader(0)
    read_some(operations, handle, reader, 10)
    assert [name for name, _, _ in reader.entries] == [".", ".."]
    assert code_of(operations.lookup, number, b"type", ctx()) == "ENOENT"
    assert run(operations.getattr, number, ctx()).st_nlink == 2


def test_an_error_in_the_middle_takes_the_counts_back(operations: Operations) -> None:
    handle = run(operations.opendir, find(operations, "devices"), ctx())
    before = operations.statistics().inodes
    taken = 0

    def reply(name: bytes, entry: pyfuse3.EntryAttributes, next_id: int) -> bool:
        nonlocal taken
        taken += 1
        if taken > 4:
            raise MemoryError
        return True

    directory = operations._directories[handle]
    directory.listing = operations._list(directory.inode)
    with pytest.raises(MemoryError):
        operations._reply_entries(directory, 0, reply)
    assert operations.statistics().inodes.lookups == before.lookups


# --- what sysfs refuses -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("handler", "arguments", "code"),
    [
        ("create", (ROOT, b"x", 0o644, os.O_WRONLY, ctx()), "EACCES"),
        ("mknod", (ROOT, b"x", stat.S_IFREG | 0o644, 0, ctx()), "EACCES"),
        ("mknod", (ROOT, b"x", stat.S_IFIFO | 0o644, 0, ctx()), "EPERM"),
        ("mkdir", (ROOT, b"x", 0o755, ctx()), "EPERM"),
        ("symlink", (ROOT, b"x", b"y", ctx()), "EPERM"),
        ("link", (ROOT, ROOT, b"x", ctx()), "EPERM"),
        ("unlink", (ROOT, b"sink", ctx()), "EPERM"),
        ("rmdir", (ROOT, b"devices", ctx()), "EPERM"),
        ("rename", (ROOT, b"sink", ROOT, b"x", 0, ctx()), "EPERM"),
        ("rename", (ROOT, b"sink", ROOT, b"x", 1, ctx()), "EINVAL"),
        ("getxattr", (ROOT, b"user.x", ctx()), "ENODATA"),
        ("getxattr", (ROOT, b"system.posix_acl_access", ctx()), "ENOTSUP"),
        ("setxattr", (ROOT, b"user.x", b"y", ctx()), "ENOTSUP"),
        ("removexattr", (ROOT, b"user.x", ctx()), "ENOTSUP"),
    ],
)
def test_refusals(
    operations: Operations, handler: str, arguments: tuple[Any, ...], code: str
) -> None:
    assert code_of(getattr(operations, handler), *arguments) == code


def test_there_are_no_extended_attributes(operations: Operations) -> None:
    assert run(operations.listxattr, ROOT, ctx()) == []


def test_other_texts_are_for_root_and_for_the_user_that_mounted(
    operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = find(operations, "devices/disk1")
    name = b"user.scst.note"
    assert run(operations.getxattr, number, name, ctx()) == b"about disk1"
    assert code_of(operations.getxattr, number, name, ctx(uid=1000)) == "ENODATA"
    assert code_of(operations.getxattr, ROOT, name, ctx()) == "ENODATA"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert run(operations.getxattr, number, name, ctx(uid=1000)) == b"about disk1"
    assert code_of(operations.getxattr, number, name, ctx(uid=1001)) == "ENODATA"


def test_why_a_write_was_refused_can_be_read_and_is_not_listed(operations: Operations) -> None:
    number = find(operations, "devices/disk1/threads_num")
    handle = open_file(operations, "devices/disk1/threads_num", os.O_WRONLY)
    name = b"user.scst.last_error"
    assert code_of(operations.getxattr, number, name, ctx()) == "ENODATA"
    assert code_of(operations.write, handle, 0, b"101") == "ENOMEM"
    assert run(operations.getxattr, number, name, ctx()) == b"ENOMEM: Too many threads"
    assert run(operations.write, handle, 0, b"1") == 1
    assert run(operations.getxattr, number, name, ctx()) == b"ENOMEM: Too many threads"
    assert run(operations.listxattr, number, ctx()) == []
    other = find(operations, "devices/disk1/read_only")
    assert code_of(operations.getxattr, other, name, ctx()) == "ENODATA"


def test_root_can_read_all_there_is_in_a_directory_at_once(operations: Operations) -> None:
    name = b"user.scst.entries"
    number = find(operations, "devices/disk1")
    file = find(operations, "devices/disk1/threads_num")
    handle = open_file(operations, "devices/disk1/threads_num")
    text = run(operations.read, handle, 0, 4096)
    entry = b"threads_num\x00100644\0" + text
    assert entry in run(operations.getxattr, number, name, ctx())
    change(operations, file, mode=stat.S_IFREG | 0o640)
    changed = entry.replace(b"100644", b"100640")
    assert changed in run(operations.getxattr, number, name, ctx())
    assert code_of(operations.getxattr, number, name, ctx(uid=1000)) == "ENODATA"
    assert code_of(operations.getxattr, file, name, ctx()) == "ENODATA"


# --- the guard ----------------------------------------------------------------------------------


class Hostile:
    """A root object whose requests are never answered."""

    def __getattr__(self, name: str) -> Any:
        raise ZeroDivisionError(name)


def bug(obj: Any, *_more: Any) -> Any:
    return obj.anything


def silent(_obj: object) -> Observable:
    return Observable()


HOSTILE: DirType[Any] = DirType(
    "hostile",
    (
        Attr(name="show", mode=0o644, show=bug, key=bug, parse=bytes, store=bug),
        Attr(name="parse", mode=0o200, parse=lambda data: bug(Hostile()), store=bug),
        Attr(name="hidden", mode=0o444, show=bug, visible=bug),
        Link(name="link", target=bug, visible=lambda obj: True),
        Each(children=bug, follows=silent, get=bug, dirtype=DirType("empty", ())),
        EachAttr(
            children=bug, follows=silent, get=bug, attr=Attr(name="user", mode=0o600, show=bug)
        ),
    ),
)


@pytest.fixture
def hostile() -> Operations:
    return Operations(Tree(HOSTILE, Hostile()))


@pytest.mark.logs("Internal error: ")
@pytest.mark.parametrize(
    "call",
    [
        lambda ops: ops.lookup(ROOT, b"hidden", ctx()),
        lambda ops: ops.lookup(ROOT, b"link", ctx()),
        lambda ops: ops.lookup(ROOT, b"other", ctx()),
        lambda ops: ops.getattr(ROOT, ctx()),
        lambda ops: ops.readdir(1, 0, None),
        lambda ops: ops.read(2, 0, 100),
        lambda ops: ops.write(2, 0, b"x"),
        lambda ops: ops.write(3, 0, b"x"),
        lambda ops: ops.setattr(ROOT, None, None, None, ctx()),
        lambda ops: ops.access(ROOT, None, None),
        lambda ops: ops.open(ROOT, None, ctx()),
        lambda ops: ops.readlink([], None),
        lambda ops: ops.opendir([], None),
        lambda ops: ops.releasedir([]),
        lambda ops: ops.release([]),
    ],
)
def test_a_bug_is_an_i_o_error_and_a_traceback(
    hostile: Operations, call: Callable[[Operations], Handler], caplog: pytest.LogCaptureFixture
) -> None:
    async def play() -> None:
        await hostile.opendir(ROOT, ctx())
        for name, flags in ((b"show", os.O_RDWR), (b"parse", os.O_WRONLY)):
            inode = (await hostile.lookup(ROOT, name, ctx())).st_ino
            await hostile.open(inode, flags, ctx())
        with pytest.raises(pyfuse3.FUSEError) as error:
            await call(hostile)
        codes.append(errno.errorcode[error.value.errno])

    codes: list[str] = []
    trio.run(play)
    assert codes == ["EIO"]
    record = caplog.records[-1]
    assert record.levelno == logging.ERROR
    assert record.message.startswith("Internal error: ")
    assert "\nTraceback (most recent call last):\n" in record.message


@pytest.mark.logs("Internal error: forget ")
def test_a_bug_met_aside_fails_nobody(caplog: pytest.LogCaptureFixture) -> None:
    obj: dict[str, Any] = {"a": "one", "b": "two"}

    def get(obj: dict[str, Any], name: str) -> Any:
        return obj[name]

    row: Attr[str, None] = Attr(name="NAME", mode=0o644, show=str)
    kind: DirType[Any] = DirType("kind", (EachAttr(children=dict, get=get, attr=row),))
    operations = Operations(Tree(kind, obj))
    first = find(operations, "a")
    change(operations, first, mode=0o700)
    del obj["a"]  # get now raises KeyError for it
    run(operations.forget, [(first, 1)])
    assert find(operations, "b")
    assert [record.message.splitlines()[0] for record in caplog.records] == [
        "Internal error: forget "
    ]


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda ops: ops.read(99, 0, 1), "EBADF"),
        (lambda ops: ops.write(99, 0, b"x"), "EBADF"),
        (lambda ops: ops.readdir(99, 0, None), "EBADF"),
        (lambda ops: ops.opendir(99, None), "ESTALE"),
        (lambda ops: ops.open(99, 0, None), "ESTALE"),
        (lambda ops: ops.lookup(99, b"x", None), "ESTALE"),
    ],
)
def test_numbers_nobody_has_given_out(
    operations: Operations, call: Callable[[Operations], Handler], code: str
) -> None:
    async def play() -> None:
        await call(operations)

    assert code_of(play) == code


def test_why_a_command_was_refused_goes_to_the_given_log(caplog: pytest.LogCaptureFixture) -> None:
    tree, _ = build()
    operations = Operations(tree, logging.getLogger("scstfs.elsewhere"))
    handle = open_file(operations, "devices/mgmt", os.O_WRONLY)
    caplog.set_level(logging.INFO)
    assert code_of(operations.write, handle, 0, b"add\xa0disk1\n") == "EEXIST"
    assert code_of(operations.write, handle, 0, "bad\x1b\udcff".encode("utf-8", "replace")) == (
        "EINVAL"
    )
    assert [(record.name, record.levelname, record.message) for record in caplog.records] == [
        (
            "scstfs.elsewhere",
            "INFO",
            "write devices/mgmt: EEXIST: Device disk1 already exists",
        ),
        (
            "scstfs.elsewhere",
            "INFO",
            'write devices/mgmt: EINVAL: Unknown action "bad\\x1b?"',
        ),
    ]


def test_an_errno_without_a_reason_is_not_logged(
    operations: Operations, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "scstfs")
    assert code_of(operations.create, ROOT, b"nothing", 0o644, os.O_WRONLY, ctx()) == "EACCES"
    assert caplog.records == []


def test_mount_options_let_everybody_look() -> None:
    assert {"allow_other", "default_permissions", "fsname=scst_tgt"} <= MOUNT_OPTIONS
    assert "nosuid" in MOUNT_OPTIONS
    # The daemon sets the subtype, by which it recognizes its file systems.
    assert not [option for option in MOUNT_OPTIONS if option.startswith("subtype")]

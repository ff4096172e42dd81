"""What the kernel may keep of the tree, and that it gets notices in time when that changes."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
import trio
import trio.testing

from scstfs.fuse.notices import Notices
from scstfs.fuse.operations import Operations
from scstfs.sysfs.attr import Attr
from scstfs.sysfs.directory import DirType, Each
from scstfs.sysfs.node import Tree
from tests.support.fuse_calls import ROOT, Reader, code_of, ctx, find, open_file, read_some, run
from tests.support.toytree import Toy, build


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


@pytest.mark.parametrize(
    ("path", "links"),
    [("devices", 4), ("devices/disk1", 2), ("devices/disk1/type", 1), ("devices/disk1/group", 1)],
)
def test_names_and_attributes_are_kept(operations: Operations, path: str, links: int) -> None:
    parent, _, name = path.rpartition("/")
    number = find(operations, parent) if parent else int(ROOT)
    entry = run(operations.lookup, number, name.encode(), ctx())
    told = run(operations.getattr, entry.st_ino, ctx())
    for answer in (entry, told):
        assert (answer.entry_timeout, answer.attr_timeout) == (1e8, 1e8)
        assert answer.st_nlink == links


def test_the_root_is_asked_for_now_and_then(operations: Operations) -> None:
    assert run(operations.getattr, ROOT, ctx()).attr_timeout == 0.1


def test_link_counts_follow(operations: Operations, toy: Toy) -> None:
    number = find(operations, "devices")
    assert run(operations.getattr, number, ctx()).st_nlink == 4
    del toy.devices["disk1"]
    assert run(operations.getattr, number, ctx()).st_nlink == 3


def test_what_comes_and_goes_by_itself_is_not_kept() -> None:
    leaf: DirType[object] = DirType("leaf", ())
    row: Attr[Any, None] = Attr(name="version", mode=0o444, show=str)
    sessions: dict[str, object] = {"one": object()}
    dirtype: DirType[dict[str, object]] = DirType(
        "root", (row, Each(children=dict, get=dict.get, dirtype=leaf, volatile=True))
    )
    operations = Operations(Tree(dirtype, sessions))
    assert run(operations.lookup, ROOT, b"version", ctx()).entry_timeout == 1e8
    assert run(operations.lookup, ROOT, b"one", ctx()).entry_timeout == 0
    assert code_of(operations.lookup, ROOT, b"two", ctx()) == "ENOENT"
    assert run(operations.getattr, ROOT, ctx()).st_nlink == 3
    handle = run(operations.opendir, ROOT, ctx())
    assert read_some(operations, handle, Reader(0), 10) == 4
    sessions["two"] = object()
    assert read_some(operations, handle, Reader(0), 10) == 5
    assert run(operations.getattr, ROOT, ctx()).st_nlink == 4


def test_a_write_is_answered_when_the_kernel_knows_of_what_changed() -> None:
    tree, _toy = build()
    events: list[object] = []
    gate = threading.Event()

    def drop_name(directory: int, name: bytes) -> None:
        gate.wait(5)
        events.append((directory, name))

    operations = Operations(tree, notices=Notices(drop_name, events.append))
    devices, disk = find(operations, "devices"), find(operations, "devices/disk1")
    mgmt = open_file(operations, "devices/mgmt", os.O_WRONLY)

    async def write(data: bytes) -> None:
        await operations.write(mgmt, 0, data)
        events.append("written")

    async def play() -> None:
        with operations._notices.delivering():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(write, b"del disk1")
                await trio.testing.wait_all_tasks_blocked()
                # Requests of the kernel meanwhile are answered with the present state.
                assert (await operations.lookup(devices, b"disk1", ctx())).st_ino == 0
                assert events == []
                gate.set()

    trio.run(play)
    assert events == [(devices, b"disk1"), devices, "written"]
    assert code_of(operations.lookup, disk, b"type", ctx()) == "ENOENT"

from __future__ import annotations

import pyfuse3
import pytest

from scstfs.fuse.inodes import ROOT_NUMBER, InodeTable
from scstfs.sysfs.node import Tree
from tests.support.toytree import Device, Toy, build, set_read_only


@pytest.fixture
def toy_tree() -> tuple[Tree, Toy]:
    return build()


@pytest.fixture
def tree(toy_tree: tuple[Tree, Toy]) -> Tree:
    return toy_tree[0]


@pytest.fixture
def toy(toy_tree: tuple[Tree, Toy]) -> Toy:
    return toy_tree[1]


@pytest.fixture
def table(tree: Tree) -> InodeTable:
    return InodeTable(tree.root, time_ns=7, changed=lambda inode, names: None)


def look_up(table: InodeTable, tree: Tree, path: str) -> int:
    inode = table.intern(tree.resolve(path))
    inode.lookups += 1
    return inode.number


def test_the_root_is_number_1_and_never_forgotten(table: InodeTable, tree: Tree) -> None:
    assert table.root.number == ROOT_NUMBER == 1
    table.forget(ROOT_NUMBER, 5)
    assert table.get(ROOT_NUMBER) is table.root
    assert table.intern(tree.root) is table.root


def test_a_number_means_the_same_node_until_it_is_forgotten(table: InodeTable, tree: Tree) -> None:
    first = look_up(table, tree, "devices/disk1")
    assert look_up(table, tree, "devices/disk1") == first
    table.forget(first, 1)
    inode = table.get(first)
    assert inode is not None
    assert (inode.node.path, inode.lookups) == ("devices/disk1", 1)
    table.forget(first, 1)
    assert table.get(first) is None
    assert look_up(table, tree, "devices/disk1") != first


def test_a_replaced_object_gets_another_number_while_the_old_is_held(
    table: InodeTable, tree: Tree, toy: Toy
) -> None:
    old = look_up(table, tree, "devices/disk1/type")
    toy.devices["disk1"] = Device("disk1")
    new = look_up(table, tree, "devices/disk1/type")
    assert new != old
    held = table.get(old)
    assert held is not None
    assert not held.node.alive()


def test_an_inode_without_lookups_is_released(table: InodeTable, tree: Tree) -> None:
    inode = table.intern(tree.resolve("devices"))
    table.release(inode)
    assert table.get(inode.number) is None
    assert table.statistics() == (1, 0, 0)


def test_forgetting_too_much_or_the_unknown_does_no_harm(table: InodeTable, tree: Tree) -> None:
    number = look_up(table, tree, "devices")
    table.forget(number, 100)
    table.forget(number, 1)
    table.forget(12345, 1)
    assert table.statistics() == (1, 0, 0)


def test_new_inodes_have_default_attributes(table: InodeTable, tree: Tree) -> None:
    inode = table.intern(tree.resolve("devices/disk1/sync"))
    assert (inode.mode, inode.uid, inode.gid) == (0o200, 0, 0)
    assert (inode.atime_ns, inode.mtime_ns, inode.ctime_ns) == (7, 7, 7)


def test_changed_attributes_outlast_the_kernels_memory_but_not_the_object(
    table: InodeTable, tree: Tree, toy: Toy
) -> None:
    number = look_up(table, tree, "devices/disk1/type")
    inode = table.get(number)
    assert inode is not None
    inode.mode, inode.changed = 0o400, True
    table.forget(number, 1)
    again = table.intern(tree.resolve("devices/disk1/type"))
    assert (again.number, again.mode) == (number, 0o400)
    del toy.devices["disk1"]
    again.lookups = 1
    table.forget(number, 1)
    assert table.get(number) is None


def test_changes_in_directories_that_have_a_number_are_told(tree: Tree, toy: Toy) -> None:
    told: list[tuple[str, list[str]]] = []
    table = InodeTable(tree.root, 0, lambda inode, names: told.append((inode.node.path, [*names])))
    toy.devices["d3"] = Device("d3")
    assert told == []
    numbers = [look_up(table, tree, path) for path in ("devices", "groups", "devices/disk1")]
    toy.devices["d4"] = toy.devices["d3"]
    set_read_only(toy.devices["disk1"], 1)
    toy.devices["disk1"].users["IncomingUser2"] = "u3 secret"
    assert told == [
        ("devices", ["d4"]),
        ("groups", ["all!d4"]),
        ("devices/disk1", ["comment"]),
        ("devices/disk1", ["IncomingUser2"]),
    ]
    for number in numbers:
        table.forget(number, 1)
    del toy.devices["d4"]
    assert len(told) == 4
    assert not toy.devices._observers


def test_what_was_worked_out_of_a_directory_is_forgotten_when_it_changes(
    table: InodeTable, tree: Tree, toy: Toy
) -> None:
    inode = table.intern(tree.resolve("devices"))
    inode.entry, inode.listing = pyfuse3.EntryAttributes(), []
    toy.devices["d3"] = Device("d3")
    assert inode.entry is None
    assert inode.listing is None

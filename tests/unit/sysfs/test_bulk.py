"""All entries of a directory at once."""

from __future__ import annotations

import stat

import pytest

from scstfs.sysfs import bulk
from scstfs.sysfs.attr import Attr
from scstfs.sysfs.errors import SysfsError
from scstfs.sysfs.node import Node, NodeKind
from tests.support.toytree import build
from tests.support.whole import Whole

Told = dict[str, tuple[int, bytes | None]]


def told(directory: Node) -> Told:
    """Of each entry its type and mode, and its text if that is not left out."""
    given = bulk.entries(directory, lambda node: node.mode)
    assert given is not None
    parts = given.split(b"\0") if given else []
    return {
        name.decode(): (int(mode.rstrip(b"?"), 8), None if mode.endswith(b"?") else text)
        for name, mode, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    }


def one_by_one(directory: Node) -> Told:
    found: Told = {}
    for node in directory.children():
        if node.kind is NodeKind.DIRECTORY:
            found[node.name] = (stat.S_IFDIR | node.mode, b"")
        elif node.kind is NodeKind.LINK:
            found[node.name] = (stat.S_IFLNK | node.mode, node.readlink().encode())
        else:
            found[node.name] = (stat.S_IFREG | node.mode, text_of(node))
    return found


def text_of(node: Node) -> bytes | None:
    try:
        text = node.read()
    except SysfsError:
        return None
    return text if len(text) <= bulk.LONGEST else None


async def test_it_is_what_is_there(everything: Whole) -> None:
    await everything.add_null("disk")
    directory = await everything.add_target("iqn.t")
    await everything.write(f"{directory}/luns/mgmt", "add disk 0\n")
    for node in everything.tree.walk():
        if node.kind is NodeKind.DIRECTORY:
            assert told(node) == one_by_one(node)
            assert list(told(node)) == node.listdir()


def test_long_texts_and_those_that_hold_a_nul_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    tree, _ = build()
    directory = tree.resolve("devices/disk1")
    texts = {"type": bytes(3), "threads_num": b"x" * bulk.LONGEST, "read_only": b"y" * 2000}
    read = Attr.text
    monkeypatch.setattr(Attr, "text", lambda attr, obj: texts.get(attr.name) or read(attr, obj))
    found = told(directory)
    assert found["type"] == (0o100444, None)
    assert found["threads_num"] == (0o100644, texts["threads_num"])
    assert found["read_only"] == (0o100644, None)
    assert found["sync"] == (0o100200, None)
    monkeypatch.setattr(bulk, "MOST", 200)
    assert bulk.entries(directory, lambda node: node.mode) is None


def test_modes_may_be_others() -> None:
    tree, _ = build()
    given = bulk.entries(tree.resolve("devices"), lambda _: 0o700)
    assert given is not None
    assert b"disk1\x0040700\0" in given


def test_a_directory_that_is_empty_or_gone_has_nothing() -> None:
    tree, toy = build()
    directory = tree.resolve("devices/disk1")
    toy.devices.pop("disk1")
    assert told(directory) == {}

"""All attributes of a directory at once."""

from __future__ import annotations

import pytest

from scstfs.sysfs import bulk
from scstfs.sysfs.attr import Attr
from scstfs.sysfs.errors import SysfsError
from scstfs.sysfs.node import Node, NodeKind
from tests.support.toytree import build
from tests.support.whole import Whole


def told(node: Node) -> dict[str, bytes]:
    parts = bulk.texts(node).split(b"\0")
    return dict(zip((name.decode() for name in parts[::2]), parts[1::2], strict=True))


def read_one_by_one(directory: Node) -> dict[str, bytes]:
    found = {}
    for node in directory.children():
        if node.kind is NodeKind.ATTRIBUTE:
            try:
                found[node.name] = node.read()
            except SysfsError:
                continue
    return found


async def test_they_are_what_the_files_hold(everything: Whole) -> None:
    await everything.add_null("disk")
    directory = await everything.add_target("iqn.t")
    await everything.write(f"{directory}/luns/mgmt", "add disk 0\n")
    for place in directory, f"{directory}/luns/0", "devices/disk", "handlers/vdisk_nullio", "":
        node = everything.tree.resolve(place)
        expected = read_one_by_one(node)
        found = told(node)
        assert found == {n: text for n, text in expected.items() if len(text) <= bulk.LONGEST}
        assert len(found) > 1 or place.endswith("luns/0")


def test_long_texts_and_those_that_hold_a_nul_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    tree, _ = build()
    directory = tree.resolve("devices/disk1")
    texts = {"type": bytes(3), "threads_num": b"x" * bulk.LONGEST, "read_only": b"y" * 2000}
    read = Attr.text
    monkeypatch.setattr(Attr, "text", lambda attr, obj: texts.get(attr.name) or read(attr, obj))
    found = told(directory)
    assert "type" not in found
    assert found["threads_num"] == texts["threads_num"]
    assert "read_only" not in found
    monkeypatch.setattr(bulk, "MOST", 200)
    assert 0 < len(bulk.texts(directory)) <= 200


def test_a_directory_without_attributes_or_that_is_gone_gives_nothing() -> None:
    tree, toy = build()
    assert bulk.texts(tree.resolve("groups")) == b""
    directory = tree.resolve("devices/disk1")
    toy.devices.pop("disk1")
    assert bulk.texts(directory) == b""

"""Nodes over the toy tree: what a path leads to, for how long, and what reads and writes do."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from scstfs.sysfs.attr import Attr
from scstfs.sysfs.directory import DirType, Each
from scstfs.sysfs.errors import SysfsError
from scstfs.sysfs.node import Node, NodeKind, Tree
from scstfs.sysfs.numbers import kstrtol
from tests.support.toytree import Device, Toy, build


def write(node: Node, data: bytes) -> int:
    return trio.run(node.write, data)


def code_of(action: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(SysfsError) as error:
        action(*arguments)
    return errno.errorcode[error.value.errno]


# --- places -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind", "mode"),
    [
        ("", NodeKind.DIRECTORY, 0o755),
        ("devices", NodeKind.DIRECTORY, 0o755),
        ("devices/disk1", NodeKind.DIRECTORY, 0o755),
        ("devices/disk1/type", NodeKind.ATTRIBUTE, 0o444),
        ("devices/disk1/threads_num", NodeKind.ATTRIBUTE, 0o644),
        ("devices/disk1/sync", NodeKind.ATTRIBUTE, 0o200),
        ("devices/disk1/IncomingUser1", NodeKind.ATTRIBUTE, 0o600),
        ("devices/disk1/group", NodeKind.LINK, 0o777),
        ("groups/all!disk1", NodeKind.LINK, 0o777),
        ("gate_a/enter", NodeKind.ATTRIBUTE, 0o200),
    ],
)
def test_resolve(path: str, kind: NodeKind, mode: int) -> None:
    tree, _ = build()
    node = tree.resolve(f"/{path}/")
    assert (node.path, node.kind, node.mode) == (path, kind, mode)
    assert node.alive()


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("nothing", "ENOENT"),
        ("devices/disk3", "ENOENT"),
        ("devices/disk1/type/x", "ENOTDIR"),
        ("devices/disk1/group/type", "ENOTDIR"),
    ],
)
def test_resolve_refuses(path: str, code: str) -> None:
    tree, _ = build()
    assert code_of(tree.resolve, path) == code


def test_walk_visits_everything_once_parents_first() -> None:
    tree, toy = build()
    seen: set[Node] = set()
    for node in tree.walk():
        assert node not in seen
        assert node.parent is None or node.parent in seen
        seen.add(node)
    paths = {node.path for node in seen}
    assert {"", "renders", "devices/disk2/threads_num", "groups/all!disk2"} <= paths
    assert "devices/disk2/comment" not in paths  # read_only devices have none
    toy.devices["disk2"].read_only = 0
    assert "devices/disk2/comment" in {node.path for node in tree.walk()}


def test_listing_and_link_count() -> None:
    tree, _ = build()
    devices = tree.resolve("devices")
    assert devices.listdir() == ["mgmt", "disk1", "disk2"]
    assert devices.subdirectories() == 2
    assert tree.root.subdirectories() == 4
    assert [child.path for child in devices.children()] == [
        "devices/mgmt",
        "devices/disk1",
        "devices/disk2",
    ]


def test_the_same_place_with_the_same_object_is_the_same_node() -> None:
    tree, toy = build()
    one, other = tree.resolve("devices/disk1/type"), tree.resolve("devices/disk1/type")
    assert one is not other
    assert one == other
    assert hash(one) == hash(other)
    assert one != tree.resolve("devices/disk1/sync")
    assert one != tree.resolve("devices/disk2/type")
    assert one != "devices/disk1/type"
    toy.devices["disk1"] = Device("disk1")
    assert one != tree.resolve("devices/disk1/type")


def test_values_made_anew_each_time_are_compared_by_value() -> None:
    text: Attr[Any, Any] = Attr(name="text", mode=0o444, show=str)
    rows: list[DirType[Any]] = [
        DirType("by value", (Each(children=dict, get=get, dirtype=DirType("d", (text,))),))
        for get in (
            lambda obj, name: f"{name}{len(obj)}",
            lambda obj, name: (obj, f"{name}{len(obj)}"),
            lambda obj, name: len(obj) * 10**6,
        )
    ]
    for row in rows:
        obj = {"a": 1}
        node = Tree(row, obj).resolve("a/text")
        assert node.alive()
        obj["b"] = 2
        assert not node.alive()
    anew: DirType[Any] = DirType(
        "by identity", (Each(children=dict, get=lambda obj, name: [], dirtype=DirType("d", ())),)
    )
    assert not Tree(anew, {"a": 1}).resolve("a").alive()


@pytest.mark.parametrize("path", ["devices/disk1", "devices/disk1/type", "devices/disk1/group"])
@pytest.mark.parametrize("replaced", [False, True])
def test_an_object_takes_its_nodes_with_it(path: str, replaced: bool) -> None:
    tree, toy = build()
    node = tree.resolve(path)
    del toy.devices["disk1"]
    if replaced:
        toy.devices["disk1"] = Device("disk1")
    assert not node.alive()
    if node.kind is NodeKind.DIRECTORY:
        assert node.listdir() == []
        assert node.lookup("type") is None
        assert node.subdirectories() == 0
        assert list(node.children()) == []
    elif node.kind is NodeKind.LINK:
        assert code_of(node.readlink) == "ENOENT"
    else:
        assert code_of(node.read) == "ENODEV"
        assert code_of(write, node, b"1") == "ENODEV"
        assert code_of(write, node, b"") == "ENODEV"


def test_an_attribute_that_becomes_invisible_is_gone() -> None:
    tree, toy = build()
    node = tree.resolve("devices/disk1/comment")
    toy.devices["disk1"].read_only = 1
    assert not node.alive()
    assert code_of(node.read) == "ENODEV"


def test_the_other_kinds_of_node_refuse() -> None:
    tree, _ = build()
    directory, link = tree.resolve("devices"), tree.resolve("outside")
    attribute = tree.resolve("devices/mgmt")
    assert code_of(directory.read) == "EISDIR"
    assert code_of(write, directory, b"x") == "EISDIR"
    assert code_of(link.read) == "EINVAL"
    assert code_of(directory.readlink) == "EINVAL"
    assert code_of(attribute.readlink) == "EINVAL"
    assert code_of(attribute.listdir) == "ENOTDIR"
    assert code_of(attribute.lookup, "x") == "ENOTDIR"
    assert code_of(link.subdirectories) == "ENOTDIR"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("outside", "../module/scst"),
        ("absolute", "/proc/self"),
        ("groups/all!disk1", "../devices/disk1"),
        ("devices/disk1/group", "../../groups/all!disk1"),
    ],
)
def test_readlink(path: str, text: str) -> None:
    tree, _ = build()
    assert tree.resolve(path).readlink() == text


# --- reading and writing ------------------------------------------------------------------------


def test_read_renders_anew() -> None:
    tree, toy = build()
    node = tree.resolve("devices/disk1/threads_num")
    assert node.read() == b"8\n"
    toy.devices["disk1"].threads = 9
    assert node.read() == b"9\n[key]\n"
    assert tree.resolve("devices/disk1/IncomingUser1").read() == b"u2 secret\n[key]\n\n"


@pytest.mark.parametrize(
    ("data", "taken", "stored"),
    [
        (b"abc\n", 4, [b"abc\n"]),
        (b"\n", 1, [b"\n"]),
        (b"", 0, []),
        (b"ab\0cd", 5, [b"ab"]),
        (b"\0ab", 3, [b""]),
        (b"x" * 4096, 4096, [b"x" * 4096]),
        (b"x" * 4097, 4096, [b"x" * 4096]),
        (b"x" * 4096 + b"\n", 4096, [b"x" * 4096]),
        (b"a" + b"\0" * 10000, 4096, [b"a"]),
    ],
)
def test_what_a_write_takes_and_what_the_store_sees(
    data: bytes, taken: int, stored: list[bytes]
) -> None:
    tree, toy = build()
    assert write(tree.resolve("sink"), data) == taken
    assert toy.writes == stored


def test_a_binary_attribute_sees_nuls() -> None:
    taken: list[bytes] = []
    attr: Attr[Any, bytes] = Attr(
        name="id",
        mode=0o200,
        parse=bytes,
        binary=True,
        store=lambda obj, value: taken.append(value),
    )
    tree = Tree(DirType("root", (attr,)), taken)
    assert write(tree.resolve("id"), b"\6\0\0x\n") == 5
    assert taken == [b"\6\0\0x\n"]


def test_no_store_is_an_i_o_error_but_not_for_nothing() -> None:
    tree, _ = build()
    node = tree.resolve("devices/disk1/no_store")
    assert code_of(write, node, b"1") == "EIO"
    assert write(node, b"") == 0


def test_a_store_may_wait() -> None:
    tree, toy = build()

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tree.resolve("gate_a/enter").write, b"1")
            await trio.testing.wait_all_tasks_blocked()
            assert tree.resolve("gate_a/waiting").read() == b"1\n"
            assert code_of(tree.resolve("last_sysfs_mgmt_res").read) == "EAGAIN"
            assert await tree.resolve("gate_a/open").write(b"1") == 1

    trio.run(run)
    assert toy.gates["a"].waiting == 0
    assert tree.resolve("last_sysfs_mgmt_res").read() == b"0\n"


# Write, its outcome, and what last_sysfs_mgmt_res reads afterwards (it read -99 before).
OUTCOMES = [
    pytest.param("devices/mgmt", b"add d3", 6, "0", id="queued-success"),
    pytest.param("devices/mgmt", b"junk", "EINVAL", "-22", id="unknown-verb-is-inside-the-work"),
    pytest.param("devices/mgmt", b"\n", "EINVAL", "-22", id="empty-line-too"),
    pytest.param("devices/mgmt", b"add disk1", "EEXIST", "-17", id="queued-refusal"),
    pytest.param("devices/mgmt", b"", 0, "-99", id="zero-bytes"),
    pytest.param("devices/disk1/threads_num", b"9\n", 2, "0", id="queued-number"),
    pytest.param("devices/disk1/threads_num", b"x", "EINVAL", "-99", id="refused-by-parse"),
    pytest.param("devices/disk1/threads_num", b"-1", "EINVAL", "-99", id="out-of-range"),
    pytest.param("devices/disk1/threads_num", b"8", 1, "-99", id="unchanged-is-not-queued"),
    pytest.param("devices/disk1/threads_num", b"101", "ENOMEM", "-12", id="refused-by-store"),
    pytest.param("devices/disk1/read_only", b"1", 1, "-99", id="synchronous"),
    pytest.param("devices/disk1/read_only", b"2", "EINVAL", "-99", id="synchronous-refusal"),
]


@pytest.mark.parametrize(("path", "data", "result", "last"), OUTCOMES)
def test_which_outcomes_are_recorded(path: str, data: bytes, result: int | str, last: str) -> None:
    tree, toy = build()
    toy.result.value = -99
    node = tree.resolve(path)
    if isinstance(result, int):
        assert write(node, data) == result
    else:
        assert code_of(write, node, data) == result
    assert toy.result.show() == last


def test_admit_may_refuse_before_anything_is_queued() -> None:
    def admit(_obj: object, _value: int) -> bool:
        raise SysfsError(errno.EPERM, "Threads pool disabled")

    def store(_obj: object, _value: int) -> None:
        raise AssertionError("stored")

    attr: Attr[Any, int] = Attr(
        name="threads_num", mode=0o200, parse=kstrtol, admit=admit, store=store, queued=True
    )
    tree = Tree(DirType("root", (attr,)), None)
    assert code_of(write, tree.resolve("threads_num"), b"1") == "EPERM"
    assert tree.result.show() == "0"


@pytest.mark.parametrize("path", ["crash", "crash_store"])
def test_a_bug_comes_out_as_it_is(path: str) -> None:
    tree, _ = build()
    node = tree.resolve(path)
    if path == "crash":
        with pytest.raises(ZeroDivisionError):
            node.read()
    else:
        with pytest.raises(KeyError):
            write(node, b"x")


def test_a_slow_store_of_an_unqueued_attribute_is_awaited() -> None:
    done: list[int] = []

    async def store(_obj: object, value: int) -> None:
        await trio.lowlevel.checkpoint()
        done.append(value)

    def parse(data: bytes) -> int:
        return len(data)

    slow: Callable[[object, int], Awaitable[None]] = store
    attr: Attr[object, int] = Attr(name="slow", mode=0o200, parse=parse, store=slow)
    assert write(Tree(DirType("root", (attr,)), None).resolve("slow"), b"abc") == 3
    assert done == [3]


@settings(max_examples=50)
@given(
    path=st.sampled_from(["devices/mgmt", "devices/disk1/threads_num", "sink", "gate_a/open"]),
    data=st.binary(max_size=50) | st.text("addelfi =;\n09", max_size=30).map(str.encode),
)
def test_any_bytes_are_taken_or_refused(path: str, data: bytes) -> None:
    tree, _ = build()

    async def run() -> None:
        try:
            assert await tree.resolve(path).write(data) == len(data)
        except SysfsError:
            pass
        else:
            assert tree.result.value == 0

    trio.run(run)
    assert tree.result.pending == 0
    for node in tree.walk():
        assert node.alive()


def test_the_toy_adds_and_deletes_through_mgmt() -> None:
    tree, toy = build()
    mgmt = tree.resolve("devices/mgmt")
    write(mgmt, b"ADD d3 threads=3\n")
    assert toy.devices["d3"].threads == 3
    write(mgmt, b"del d3\n")
    assert isinstance(toy, Toy)
    assert tree.root.lookup("devices") == tree.resolve("devices")
    assert code_of(tree.resolve, "devices/d3") == "ENOENT"

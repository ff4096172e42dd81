from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from scstfs.observable import Observable, ObservableDict
from scstfs.sysfs.attr import Attr
from scstfs.sysfs.directory import (
    DirType,
    Each,
    EachAttr,
    EachLink,
    Include,
    Link,
    LinkTarget,
    Sub,
    declared,
    link_text,
)
from scstfs.sysfs.entry import itself

Children = dict[str, object]

LEAF: DirType[object] = DirType("leaf", (Attr(name="value", mode=0o444, show=str),))
ROW: Attr[object, Any] = Attr(name="row", mode=0o444, show=str)


def each(**options: Any) -> Each[Children, object]:
    options = {"children": lambda obj: obj, **options}
    return Each(get=lambda obj, name: obj.get(name), dirtype=LEAF, **options)


def each_attr() -> EachAttr[Children, object]:
    return EachAttr(children=lambda obj: obj, get=lambda obj, name: obj.get(name), attr=ROW)


def test_each_shows_a_directory_per_child() -> None:
    kind: DirType[Children] = DirType("kind", (each(),))
    one = object()
    children: Children = {"one": one, "two": object()}
    assert kind.names(children) == ["one", "two"]
    assert kind.find(children, "one") == (LEAF, one)
    assert kind.find(children, "three") is None
    assert kind.directories(children) == 2
    children.clear()
    assert kind.names(children) == []


def test_a_child_is_found_without_listing_the_others() -> None:
    def children(_obj: object) -> Iterator[str]:
        raise AssertionError("listed")
        yield ""

    kind: DirType[Children] = DirType(
        "kind", (Each(children=children, get=dict.get, dirtype=LEAF),)
    )
    assert kind.find({"one": 1}, "one") == (LEAF, 1)
    assert kind.find({"one": 1}, "two") is None


@pytest.mark.parametrize("row", [each(), each_attr()], ids=["Each", "EachAttr"])
def test_slashes_show_as_exclamation_marks_and_are_found_by_them(row: Any) -> None:
    kind: DirType[Children] = DirType("kind", (row,))
    children: Children = {"a/b": "slash", "c!d": "mark", "e/f!g": "both"}
    assert kind.names(children) == ["a!b", "c!d", "e!f!g"]
    found = [kind.find(children, name) for name in kind.names(children)]
    assert [each.obj for each in found if each] == ["slash", "mark", "both"]
    assert kind.find(children, "x!y") is None


def test_the_exact_name_wins_over_one_with_a_slash() -> None:
    kind: DirType[Children] = DirType("kind", (each(),))
    children: Children = {"a/b": "slash", "a!b": "mark"}
    assert kind.names(children) == ["a!b"]
    found = kind.find(children, "a!b")
    assert found is not None
    assert found.obj == "mark"


@pytest.mark.parametrize("name", ["", ".", "..", "a\0b", "x" * 256])
def test_a_name_no_directory_can_hold_does_not_spoil_the_listing(name: str) -> None:
    kind: DirType[Children] = DirType("kind", (each(),))
    assert kind.names({"before": 1, name: 1, "behind": 1}) == ["before", "behind"]


def test_fixed_names_win_over_computed_ones() -> None:
    kind: DirType[Children] = DirType("kind", (each(), ROW))
    children: Children = {"row": 1, "other": 2}
    assert kind.names(children) == ["row", "other"]
    assert kind.find(children, "row") == (ROW, children)


def test_a_hidden_fixed_name_gives_way() -> None:
    hidden: Attr[Children, Any] = Attr(
        name="row", mode=0o444, show=str, visible=lambda obj: "row" not in obj
    )
    kind: DirType[Children] = DirType("kind", (hidden, each()))
    assert kind.find({"row": 1}, "row") == (LEAF, 1)


def test_two_fixed_rows_of_one_name_are_a_mistake_in_the_table() -> None:
    with pytest.raises(ValueError, match="'row' wrong or twice"):
        DirType("kind", (ROW, Link(name="row", target=lambda obj: "x")))
    with pytest.raises(ValueError, match="wrong or twice"):
        DirType("kind", (Sub(name="a/b", dirtype=LEAF, of=itself),))


def test_each_attr_applies_one_row_to_every_child() -> None:
    kind: DirType[Children] = DirType("kind", (each_attr(),))
    children: Children = {"IncomingUser": "u1", "IncomingUser1": "u2"}
    assert kind.names(children) == ["IncomingUser", "IncomingUser1"]
    assert kind.find(children, "IncomingUser1") == (ROW, "u2")
    assert kind.directories(children) == 0


def test_sub_shows_another_object_or_is_hidden() -> None:
    kind: DirType[dict[str, str | None]] = DirType(
        "kind",
        (
            Sub(name="group", dirtype=LEAF, of=lambda obj: obj.get("group")),
            Sub(name="same", dirtype=LEAF, of=itself, visible=lambda obj: "same" in obj),
        ),
    )
    obj: dict[str, str | None] = {"group": "g", "same": None}
    assert kind.names(obj) == ["group", "same"]
    assert kind.find(obj, "group") == (LEAF, "g")
    assert kind.find(obj, "same") == (LEAF, obj)
    assert kind.directories(obj) == 2
    assert kind.names({}) == []
    assert kind.find({}, "group") is None
    assert kind.directories({}) == 0


def test_links_are_there_when_they_lead_somewhere() -> None:
    link: Link[dict[str, str]] = Link(name="handler", target=lambda obj: obj.get("handler"))
    links: EachLink[dict[str, str]] = EachLink(
        children=lambda obj: [name for name in obj if name.startswith("export")],
        target=lambda obj, name: obj.get(name),
    )
    kind: DirType[dict[str, str]] = DirType("kind", (link, links))
    obj = {"export0": "targets/t/luns/0", "export1": "targets/t/luns/1"}
    assert kind.names(obj) == ["export0", "export1"]
    assert kind.find(obj, "handler") is None
    found = kind.find(obj, "export1")
    assert found == (links, (obj, "export1"))
    assert links.target_of((obj, "export1")) == "targets/t/luns/1"
    obj["handler"] = "handlers/h"
    assert kind.find(obj, "handler") == (link, obj)
    assert link.target_of(obj) == "handlers/h"


def test_a_link_name_with_a_slash_keeps_its_raw_name_for_the_target() -> None:
    links: EachLink[dict[str, str]] = EachLink(
        children=lambda obj: obj, target=lambda obj, name: obj.get(name)
    )
    found = links.find({"a/b": "targets/a"}, "a!b")
    assert found is not None
    assert links.target_of(found.obj) == "targets/a"


def test_include_follows_the_object() -> None:
    other: DirType[object] = DirType(
        "other", (Attr(name="size", mode=0o444, show=str), Sub(name="d", dirtype=LEAF, of=itself))
    )
    kind: DirType[dict[str, DirType[Any]]] = DirType(
        "kind", (Include(choose=lambda obj: obj.get("handler"), among=(LEAF, other)),)
    )
    obj: dict[str, DirType[Any]] = {}
    assert kind.names(obj) == []
    assert kind.find(obj, "value") is None
    assert kind.directories(obj) == 0
    obj["handler"] = LEAF
    assert kind.names(obj) == ["value"]
    obj["handler"] = other
    assert kind.names(obj) == ["size", "d"]
    assert kind.find(obj, "value") is None
    assert kind.directories(obj) == 1


def test_directories_are_counted_without_going_through_a_sized_collection() -> None:
    class Names(dict[str, object]):
        def __iter__(self) -> Iterator[str]:
            raise AssertionError("gone through")

    kind: DirType[Names] = DirType(
        "kind", (Each(children=itself, get=lambda obj, name: obj.get(name), dirtype=LEAF),)
    )
    assert kind.directories(Names(a=1, b=2)) == 2
    generated: DirType[Names] = DirType(
        "kind", (Each(children=lambda obj: iter("abc"), get=dict.get, dirtype=LEAF),)
    )
    assert generated.directories(Names()) == 3


OBSERVED: Any = ObservableDict(a=1)
SIGNAL = Observable()


def told(dirtype: DirType[Any], obj: Any) -> list[tuple[Observable, list[str]]]:
    return [(change.source, sorted(change.names("a"))) for change in dirtype.changes(obj)]


@pytest.mark.parametrize(
    ("rows", "changes"),
    [
        ((), []),
        (
            (
                ROW,
                Link(name="link", target=lambda obj: "x"),
                Sub(name="s", dirtype=LEAF, of=itself),
            ),
            [],
        ),
        ((each(),), []),
        ((each(children=lambda obj: OBSERVED),), [(OBSERVED, ["a"])]),
        (
            (each(children=dict, follows=lambda obj: SIGNAL, named=lambda key: f"x/{key}"),),
            [(SIGNAL, ["x!a"])],
        ),
        (
            (Sub(name="s", dirtype=LEAF, of=itself, visible=bool, follows=lambda obj: SIGNAL),),
            [(SIGNAL, ["s"])],
        ),
        (
            (Link(name="l", target=lambda obj: None, follows=lambda obj: SIGNAL),),
            [(SIGNAL, ["l"])],
        ),
        (
            (
                Include(
                    choose=lambda obj: DirType("chosen", (each(children=lambda obj: OBSERVED),)),
                    among=(DirType("one", (ROW,)),),
                    follows=lambda obj: SIGNAL,
                ),
            ),
            [(SIGNAL, [ROW.name]), (OBSERVED, ["a"])],
        ),
    ],
)
def test_rows_say_what_tells_that_their_names_change(
    rows: tuple[Any, ...], changes: list[tuple[Observable, list[str]]]
) -> None:
    assert told(DirType("kind", rows), object()) == changes


def test_a_directory_is_volatile_if_one_of_its_rows_is() -> None:
    volatile = DirType("sessions", (ROW, each(volatile=True)))
    assert volatile.is_volatile
    assert volatile.is_fixed(ROW.name)
    assert not volatile.is_fixed("child")
    assert DirType("kind", (Include(choose=lambda obj: None, among=(volatile,)),)).is_volatile
    assert not DirType("kind", (Sub(name="sub", dirtype=volatile, of=itself),)).is_volatile


# From recordings of SCST 3.10: directory of the link, where it leads, its text.
LINKS: list[tuple[str, LinkTarget, str]] = [
    ("devices/disk1", ("handlers", "vdisk_fileio"), "../../handlers/vdisk_fileio"),
    ("handlers/vdisk_fileio", "devices/disk1", "../../devices/disk1"),
    (
        "devices/blk1/exported",
        "targets/copy_manager/copy_manager_tgt/luns/1",
        "../../../targets/copy_manager/copy_manager_tgt/luns/1",
    ),
    (
        "devices/disk1/exported",
        ("targets", "iscsi", "iqn.x:t", "ini_groups", "g", "luns", "0"),
        "../../../targets/iscsi/iqn.x:t/ini_groups/g/luns/0",
    ),
    ("targets/iscsi/t/luns/0", "devices/disk1", "../../../../../devices/disk1"),
    ("targets/iscsi/t/sessions/s", "targets/iscsi/t/luns", "../../luns"),
    (
        "targets/iscsi/t/sessions/s",
        "targets/iscsi/t/ini_groups/g/luns",
        "../../ini_groups/g/luns",
    ),
    (
        "devices/1:0:0:0",
        "../../devices/pci0000:00/scsi_device/1:0:0:0",
        "../../../../devices/pci0000:00/scsi_device/1:0:0:0",
    ),
]


@pytest.mark.parametrize(
    ("directory", "target", "text"),
    [
        *LINKS,
        ("", "devices/disk1", "devices/disk1"),
        ("devices", "devices/disk1", "disk1"),
        ("devices/disk1", "devices", "../../devices"),
        ("devices/disk1", "devices/disk1", "../disk1"),
        ("a/b", "/sys/class/x", "/sys/class/x"),
        ("a", ("targets", "bad/name"), "../targets/bad!name"),
        ("a", "targets//x/", "../targets/x"),
    ],
)
def test_link_text(directory: str, target: LinkTarget, text: str) -> None:
    assert link_text(tuple(filter(None, directory.split("/"))), target) == text


def test_declared_lists_every_row_with_its_path() -> None:
    link: Link[Any] = Link(name="link", target=lambda obj: "x")
    links: EachLink[Any] = EachLink(children=dict, target=lambda obj, name: "x", label="exportN")
    users: EachAttr[Any, Any] = EachAttr(children=dict, get=dict.get, attr=ROW, label="UserN")
    devices: Each[Any, Any] = Each(children=dict, get=dict.get, dirtype=LEAF, label="DEVICE")
    sub: Sub[Any, Any] = Sub(name="sub", dirtype=DirType("d", (devices, links)), of=itself)
    root: DirType[Any] = DirType(
        "root", (sub, users, link, Include(choose=lambda obj: None, among=(LEAF,)))
    )
    assert [path for path, _ in declared(root)] == [
        "sub",
        "sub/DEVICE",
        "sub/DEVICE/value",
        "sub/exportN",
        "UserN",
        "link",
        "value",
    ]

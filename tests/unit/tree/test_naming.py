from __future__ import annotations

import errno

import pytest

from scstfs.sysfs.attr import Attr
from scstfs.sysfs.directory import DirType, Each
from scstfs.sysfs.errors import SysfsError
from scstfs.tree.naming import Numbered, number_in, require_free

Children = dict[str, object]

DIRECTORY: DirType[Children] = DirType(
    "directory",
    (
        Attr(name="mgmt", mode=0o444, show=str),
        Each(
            children=lambda children: children,
            get=lambda children, name: children.get(name),
            dirtype=DirType("child", ()),
        ),
    ),
)


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("other", 0),
        ("a" * 255, 0),
        ("one", errno.EEXIST),
        ("mgmt", errno.EEXIST),
        ("with!slash", errno.EEXIST),
        ("with/slash", errno.EEXIST),
        (".", errno.EINVAL),
        ("..", errno.EINVAL),
        ("", errno.EINVAL),
        ("a" * 256, errno.EINVAL),
        ("\u00e9" * 128, errno.EINVAL),
    ],
    ids=repr,
)
def test_which_names_are_free(name: str, refusal: int) -> None:
    children: Children = {"one": object(), "with/slash": object()}
    if not refusal:
        require_free(DIRECTORY, children, name)
        return
    with pytest.raises(SysfsError) as caught:
        require_free(DIRECTORY, children, name)
    assert caught.value.errno == refusal


def test_numbered_names() -> None:
    names = Numbered({3: "x", 0: "y"}, "lun")
    assert list(names) == ["lun3", "lun0"]
    assert len(names) == 2


@pytest.mark.parametrize(
    ("name", "prefix", "number"),
    [
        ("0", "", 0),
        ("16383", "", 16383),
        ("lun7", "lun", 7),
        ("07", "", None),
        ("00", "", None),
        ("", "", None),
        ("lun", "lun", None),
        ("nul7", "lun", None),
        ("-1", "", None),
        ("\u0663", "", None),
        ("1" * 11, "", None),
    ],
)
def test_the_number_in_a_name(name: str, prefix: str, number: int | None) -> None:
    assert number_in(name, prefix) == number

from __future__ import annotations

import errno
from typing import Any

import pytest

from scstfs.sysfs.attr import (
    Attr,
    Render,
    kernel_line,
    optional_line,
    raw,
    spaced_line,
)
from scstfs.sysfs.errors import SysfsError


@pytest.mark.parametrize(
    ("render", "plain", "marked", "empty"),
    [
        (kernel_line, "8\n", "8\n[key]\n", "\n"),
        (optional_line, "8\n", "8\n[key]\n", ""),
        (spaced_line, "8\n\n", "8\n[key]\n\n", "\n\n"),
        (raw, "8", "8", ""),
    ],
)
def test_renderings(render: Render, plain: str, marked: str, empty: str) -> None:
    assert render("8", False) == plain
    assert render("8", True) == marked
    assert render("", False) == empty


def test_an_identifier_that_was_written_empty_keeps_its_mark() -> None:
    assert kernel_line("", True) == "\n[key]\n"
    assert optional_line("", True) == "\n[key]\n"


def test_text_puts_value_and_mark_together() -> None:
    attr: Attr[list[int], Any] = Attr(
        name="count", mode=0o444, show=lambda items: str(len(items)), key=lambda items: bool(items)
    )
    assert attr.text([]) == b"0\n"
    assert attr.text([1]) == b"1\n[key]\n"


def test_text_is_the_bytes_that_were_written_and_never_more_than_a_page() -> None:
    attr: Attr[str, Any] = Attr(name="text", mode=0o444, show=str)
    assert attr.text("\udcff") == b"\xff\n"
    assert attr.text("x" * 5000) == b"x" * 4095


def test_a_refused_show_is_the_errno_of_the_read() -> None:
    def refuse(_obj: object) -> str:
        raise SysfsError(errno.EAGAIN)

    with pytest.raises(SysfsError) as error:
        Attr(name="busy", mode=0o444, show=refuse).text(None)
    assert error.value.errno == errno.EAGAIN


def test_what_cannot_be_shown_is_an_i_o_error() -> None:
    attr: Attr[object, bytes] = Attr(
        name="sync", mode=0o200, parse=bytes, store=lambda obj, value: None
    )
    with pytest.raises(SysfsError) as error:
        attr.text(None)
    assert error.value.errno == errno.EIO


def test_visible() -> None:
    attr: Attr[bool, Any] = Attr(name="dif_type", mode=0o444, show=str, visible=bool)
    assert list(attr.names(True)) == ["dif_type"]
    assert list(attr.names(False)) == []
    assert attr.find(True, "dif_type") == (attr, True)
    assert attr.find(False, "dif_type") is None
    assert attr.find(True, "dif_typ") is None


STORE: dict[str, Any] = {"parse": bytes, "store": lambda obj, value: None}


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"name": "a/b", "mode": 0o444, "show": str}, "no file name"),
        ({"name": "", "mode": 0o444, "show": str}, "no file name"),
        ({"mode": 0o755, "show": str}, "odd mode"),
        ({"mode": 0o444}, "readable without show"),
        ({"mode": 0o200, "show": str, **STORE}, "show of an unreadable file"),
        ({"mode": 0o444, "show": str, **STORE}, "store of an unwritable file"),
        ({"mode": 0o200, "store": STORE["store"]}, "go together"),
        ({"mode": 0o200, "parse": bytes}, "go together"),
        ({"mode": 0o200, "key": bool, **STORE}, "key without show"),
        ({"mode": 0o644, "show": str, "queued": True}, "queued or admit without store"),
        ({"mode": 0o644, "show": str, "admit": lambda obj, value: True}, "queued or admit"),
    ],
)
def test_a_row_that_contradicts_itself_is_refused(row: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Attr(**{"name": "row", **row})


@pytest.mark.parametrize("mode", [0o444, 0o644, 0o200, 0o600])
def test_the_modes_of_the_tree_are_accepted(mode: int) -> None:
    show = str if mode & 0o444 else None
    store = STORE if mode & 0o222 else {}
    assert Attr(name="row", mode=mode, show=show, **store).mode == mode

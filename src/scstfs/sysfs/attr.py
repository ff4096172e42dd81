"""The attribute row: all about one kind of file of the tree in one place.

File system entries, modes, ``[key]`` marks, parsing, add-device parameters and the generated
documentation all read the same row. A ``show`` returns the bare value; `Attr.render` adds the mark
and the newlines, so no attribute can forget or misplace them.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from scstfs.observable import Observable
from scstfs.sysfs.entry import Change, Entry, Found, T_contra, always, follow
from scstfs.sysfs.errors import SysfsError
from scstfs.sysfs.text import PAGE_SIZE, encode, is_entry_name

V = TypeVar("V")

KEY_MARK: Final = "[key]\n"
"""The mark behind the value of an attribute that a saved configuration must have."""

Render = Callable[[str, bool], str]
"""Value, whether the mark is due -> text of the file."""


def kernel_line(value: str, marked: bool) -> str:
    r"""``V\n`` or ``V\n[key]\n``: attributes of SCST itself."""
    return f"{value}\n{KEY_MARK}" if marked else f"{value}\n"


def optional_line(value: str, marked: bool) -> str:
    """`kernel_line`, but an empty file for an empty value: comment, cluster_name."""
    return kernel_line(value, marked) if value or marked else ""


def spaced_line(value: str, marked: bool) -> str:
    r"""``V\n\n`` or ``V\n[key]\n\n``: values that already end with a newline."""
    return kernel_line(value, marked) + "\n"


def raw(value: str, _marked: bool) -> str:
    """*value* as it is: texts of many lines, and those without a newline."""
    return value


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attr(Entry[T_contra], Generic[T_contra, V]):
    """One attribute of objects of type T whose written value has type V.

    Attributes:
        name: of the file; for numbered instances (`EachAttr`) the name without digits.
        mode: permission bits: 0o444, 0o644, 0o200, 0o600. They apply to root, too.
        show: the value without newline or mark. Synchronous, so that a read is one snapshot.
            `SysfsError` is the errno of read(2).
        key: whether the mark is printed; never by default.
        render: puts value and mark together.
        parse: bytes of one write(2), cut at NUL, to a value; `SysfsError` is the errno of the
            write. Runs before the command counts as queued.
        binary: `parse` gets the bytes as they are, NULs and all.
        admit: also before queueing, with the object: False if there is nothing to do (the value is
            unchanged): the write then succeeds without calling `store`.
        store: applies the value; may be a coroutine function.
        queued: the outcome of `store` goes to ``last_sysfs_mgmt_res``.
        visible: whether the object has this file at all.
        follows: notifies of changes of `visible`; None if it never changes.
        numbered: there are several such files of one object, told apart by a number.
        parameter: it can also be given to add_device or add_target.
        since: first SCST release that has it.
        reads, accepts, refuses, key_when, effect: prose for the documentation of the tree: what a
            read returns, what may be written, the errnos for other writes, when there is a mark,
            what a write changes besides the value.
    """

    name: str
    mode: int
    show: Callable[[T_contra], str] | None = None
    key: Callable[[T_contra], bool] | None = None
    render: Render = kernel_line
    parse: Callable[[bytes], V] | None = None
    binary: bool = False
    admit: Callable[[T_contra, V], bool] | None = None
    store: Callable[[T_contra, V], Awaitable[None] | None] | None = None
    queued: bool = False
    visible: Callable[[T_contra], bool] = always
    follows: Callable[[T_contra], Observable] | None = None
    numbered: bool = False
    parameter: bool = False
    since: str = "3.10"
    reads: str = ""
    accepts: str = ""
    refuses: str = ""
    key_when: str = ""
    effect: str = ""

    def __post_init__(self) -> None:
        """Refuse a row that contradicts itself (ValueError: a mistake in a table)."""
        for wrong, why in (
            (not is_entry_name(self.name), "no file name"),
            (self.mode & ~0o666, "odd mode"),
            (self.mode & 0o444 and not self.show, "readable without show"),
            (self.show and not self.mode & 0o444, "show of an unreadable file"),
            (self.store and not self.mode & 0o222, "store of an unwritable file"),
            (bool(self.store) != bool(self.parse), "store and parse go together"),
            (self.key and not self.show, "key without show"),
            ((self.queued or self.admit) and not self.store, "queued or admit without store"),
        ):
            if wrong:
                raise ValueError(f"attribute {self.name!r}: {why}")

    def names(self, obj: T_contra) -> Iterable[str]:
        """The one name, if the object has it."""
        return (self.name,) if self.visible(obj) else ()

    def find(self, obj: T_contra, name: str) -> Found | None:
        """This attribute of *obj*."""
        return Found(self, obj) if name == self.name and self.visible(obj) else None

    def changes(self, obj: T_contra) -> Iterable[Change]:
        """What notifies that it was added or removed."""
        return follow(self.follows, obj, self.name)

    def text(self, obj: T_contra) -> bytes:
        """The present contents of the file, at most a page less one byte (sysfs_emit's limit)."""
        if self.show is None:
            raise SysfsError(errno.EIO, f"{self.name} cannot be read")
        value = self.show(obj)
        marked = self.key is not None and self.key(obj)
        return encode(self.render(value, marked))[: PAGE_SIZE - 1]

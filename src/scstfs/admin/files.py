"""The tree as files: the system calls of the management programs, as few as possible.

A directory is read once and an attribute is read once, until something is written to it or
`Files.forget` is called. scstfs returns all entries of a directory at once: one system call is then
enough for a directory, its attributes and its links, as long as nothing is written.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol, TypeVar

from scstfs.admin.kinds import KEY_MARK

T = TypeVar("T")

SCST_TGT: Final = "/sys/kernel/scst_tgt"
RESULT: Final = "last_sysfs_mgmt_res"

WHY: Final = "user.scst.last_error"
"""The extended attribute of a file, in scstfs, with the reason of its last refused write."""

ENTRIES: Final = "user.scst.entries"
"""The extended attribute of a directory, in scstfs, with all its entries: for each its name, its
type and mode in octal, and its text, separated by NULs. A question mark behind the mode means that
the text is left out.
"""

_MOST: Final = 1 << 16
"""Most bytes of an extended attribute (xattr(7))."""

_libc: Final = ctypes.CDLL(None, use_errno=True)

WAIT_SECONDS: Final = 300
"""Seconds for a command that the kernel continues after write(2) has returned EAGAIN."""

_PAGE: Final = 4096
_POLL_SECONDS: Final = 0.05


class Text(NamedTuple):
    """What an attribute holds.

    Attributes:
        raw: all of it.
        value: the first line.
        key: the second line marks that a saved configuration must have it.
    """

    raw: str
    value: str
    key: bool

    @classmethod
    def of(cls, raw: str) -> Text:
        """Parse the text."""
        value, _, rest = raw.partition("\n")
        return cls(raw, value, KEY_MARK in rest.partition("\n")[0])


class Reader(Protocol):
    """What a walk over the tree needs; see `Files`."""

    def entries(self, directory: str) -> Mapping[str, int]:
        """The names in a directory with their file types."""

    def directories(self, directory: str) -> list[str]:
        """The names that are directories."""

    def is_writable(self, name: str) -> bool:
        """Return whether its owner may write to it."""

    def is_readable(self, name: str) -> bool:
        """Return whether its owner may read it."""

    def is_private(self, name: str) -> bool:
        """Return whether only its owner may read it."""

    def text(self, name: str) -> Text:
        """The text of an attribute."""

    def link(self, name: str) -> str:
        """The text of a symbolic link."""


class _Directory:
    """The cached contents of a directory, and the known directories below it."""

    __slots__ = ("below", "entries", "links", "modes", "texts", "told", "writes")

    def __init__(self) -> None:
        self.entries: dict[str, int] | None = None
        self.told: dict[str, str] = {}
        """Texts and links that came with the entries; they are valid until `writes` grows."""
        self.writes = 0
        self.texts: dict[str, Text] = {}
        self.links: dict[str, str] = {}
        self.modes: dict[str, int] = {}
        self.below: dict[str, _Directory] = {}


class Files:
    """The files of one tree.

    Paths are relative to the root of the tree and use "/". All methods raise OSError as the system
    does; bytes that are not UTF-8 are kept as surrogates.
    """

    def __init__(self, root: str = SCST_TGT, sleep: Callable[[float], None] = time.sleep) -> None:
        self.root = root
        self._sleep = sleep
        self._known = _Directory()
        self._room: ctypes.Array[ctypes.c_char] | None = ctypes.create_string_buffer(_MOST)
        """A buffer for the extended attribute of a directory; None if the tree does not have it."""
        self._writes = 0

    def path(self, name: str) -> str:
        """The path of *name* for system calls."""
        return f"{self.root}/{name}" if name else self.root

    # --- reading -----------------------------------------------------------------------------

    def entries(self, directory: str) -> dict[str, int]:
        """The names in a directory, each with its file type (stat.S_IFDIR, S_IFREG, S_IFLNK).

        In the order of the system.
        """
        place = self._place(directory)
        if place.entries is None:
            place.entries = self._told(directory, place)
        if place.entries is None:
            place.entries = self._scanned(directory)
        return place.entries

    def _told(self, directory: str, place: _Directory) -> dict[str, int] | None:
        """All entries of a directory by one system call; None if that is not possible.

        It does not use os.getxattr, which makes two system calls unless the value is very short.
        """
        room = self._room
        if room is None:
            return None
        path, name = os.fsencode(self.path(directory)), ENTRIES.encode()
        size = _libc.getxattr(path, name, room, ctypes.c_size_t(_MOST))
        if size < 0:
            if ctypes.get_errno() in (errno.ENODATA, errno.ENOTSUP):
                self._room = None
            return None
        told = ctypes.string_at(room, size).decode("utf-8", "surrogateescape")
        parts = told.split("\0") if told else []
        found = {}
        place.writes = self._writes
        for file, mode, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
            bits = int(mode.rstrip("?"), 8)
            found[file] = stat.S_IFMT(bits)
            if not stat.S_ISLNK(bits):
                place.modes[file] = stat.S_IMODE(bits)
            if not mode.endswith("?"):
                place.told[file] = text
        return found

    def _scanned(self, directory: str) -> dict[str, int]:
        found = {}
        with os.scandir(self.path(directory)) as entries:
            for entry in entries:
                if entry.is_symlink():
                    found[entry.name] = stat.S_IFLNK
                else:
                    is_directory = entry.is_dir(follow_symlinks=False)
                    found[entry.name] = stat.S_IFDIR if is_directory else stat.S_IFREG
        return found

    def _was_told(self, place: _Directory, file: str) -> str | None:
        return place.told.get(file) if place.writes == self._writes else None

    def directories(self, directory: str) -> list[str]:
        """The names in a directory that are directories themselves."""
        return [name for name, kind in self.entries(directory).items() if kind == stat.S_IFDIR]

    def mode(self, name: str) -> int:
        """The permission bits of a file, or of what a link leads to."""
        directory, _, file = name.rpartition("/")
        modes = self._place(directory).modes
        mode = modes.get(file)
        if mode is None:
            mode = modes[file] = stat.S_IMODE(os.stat(self.path(name)).st_mode)
        return mode

    def is_writable(self, name: str) -> bool:
        """Return whether its owner may write to it, by the mode."""
        return bool(self.mode(name) & stat.S_IWUSR)

    def is_readable(self, name: str) -> bool:
        """Return whether its owner may read it, by the mode."""
        return bool(self.mode(name) & stat.S_IRUSR)

    def is_private(self, name: str) -> bool:
        """Return whether only its owner may read it, by the mode: it has a secret."""
        return not self.mode(name) & (stat.S_IRGRP | stat.S_IROTH)

    def read(self, name: str) -> str:
        """The whole text of an attribute, read now."""
        fd = os.open(self.path(name), os.O_RDONLY)
        try:
            return self._patiently(lambda: os.read(fd, _PAGE)).decode("utf-8", "surrogateescape")
        finally:
            os.close(fd)

    def text(self, name: str) -> Text:
        """The text of an attribute."""
        directory, _, file = name.rpartition("/")
        place = self._place(directory)
        known = place.texts.get(file)
        if known is None:
            told = self._was_told(place, file)
            known = place.texts[file] = Text.of(self.read(name) if told is None else told)
        return known

    def link(self, name: str) -> str:
        """The text of a symbolic link."""
        directory, _, file = name.rpartition("/")
        place = self._place(directory)
        known = place.links.get(file)
        if known is None:
            told = self._was_told(place, file)
            known = os.fsdecode(os.readlink(self.path(name))) if told is None else told
            place.links[file] = known
        return known

    def exists(self, name: str) -> bool:
        """Return whether *name* exists now."""
        return os.path.lexists(self.path(name))

    # --- writing -----------------------------------------------------------------------------

    def write(self, name: str, data: str) -> int:
        """Execute a command by one write(2); return how many bytes were taken.

        After EAGAIN it waits for the command that the kernel continues, and raises its error. If
        the tree has the reason of a refusal, it becomes a note of the exception.
        """
        raw = data.encode("utf-8", "surrogateescape")
        fd = os.open(self.path(name), os.O_WRONLY)
        try:
            self.forget(name.rpartition("/")[0])
            self._writes += 1
            return os.write(fd, raw)
        except BlockingIOError:
            result = int(self._patiently(lambda: self.read(RESULT)))
            if result < 0:
                error = OSError(-result, os.strerror(-result))
                self._explain(error, name)
                raise error from None
            return len(raw)
        except OSError as error:
            self._explain(error, name)
            raise
        finally:
            os.close(fd)

    def _explain(self, error: OSError, name: str) -> None:
        try:
            told = os.getxattr(self.path(name), WHY).decode("utf-8", "backslashreplace")
        except OSError:
            return
        code, _, why = told.partition(": ")
        if why and code == errno.errorcode.get(error.errno or 0):
            error.add_note(why)

    def _patiently(self, call: Callable[[], T]) -> T:
        """Call until the result is not EAGAIN; raises OSError EAGAIN if that takes too long."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                return call()
            except OSError as error:
                if error.errno != errno.EAGAIN or time.monotonic() > deadline:
                    raise
            self._sleep(_POLL_SECONDS)

    # --- memory ------------------------------------------------------------------------------

    def _place(self, directory: str) -> _Directory:
        place = self._known
        if directory:
            for part in directory.split("/"):
                below = place.below.get(part)
                if below is None:
                    below = place.below[part] = _Directory()
                place = below
        return place

    def forget(self, directory: str = "") -> None:
        """Forget a directory and all below it, by default everything, and read it again."""
        if not directory:
            self._known = _Directory()
            return
        above, _, name = directory.rpartition("/")
        self._place(above).below.pop(name, None)

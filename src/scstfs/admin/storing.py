"""Configuration files: read, and replaced as a whole."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Final

from scstfs.admin import conf, merge, tree
from scstfs.admin.conf import Parsed
from scstfs.admin.configuration import Item
from scstfs.admin.files import Files
from scstfs.admin.mistakes import Mistake, MistakeKind, no_tree
from scstfs.admin.presence import require_tree

MOST_BYTES: Final = 64 << 20
"""Most bytes of a configuration file."""

_SECRET_MODE: Final = 0o600


def read_text(file: str | int, name: str) -> str:
    """The text of a file, given by its path or descriptor. Raises Mistake with *name*."""
    try:
        with open(file, "rb", closefd=isinstance(file, str)) as opened:
            data = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise Mistake(MistakeKind.CONFIG, f"{name}: {error.strerror}") from None
    if len(data) > MOST_BYTES:
        raise Mistake(MistakeKind.CONFIG, f"{name}: too large for a configuration")
    return data.decode("utf-8", "surrogateescape")


def read(path: str) -> Parsed:
    """The configuration in a file. Raises Mistake if it cannot be read."""
    return conf.parse(read_text(path, path))


def present(files: Files, *, every_attribute: bool = False) -> Item:
    """The running configuration. Raises Mistake."""
    require_tree(files.root)
    try:
        return tree.settled(files, every_attribute=every_attribute)
    except OSError as error:
        raise no_tree(files.root, error) from None


def save(path: str, configuration: Item) -> bool:
    """Save a configuration to a file, atomically; return whether the old text could be kept.

    An existing file keeps its mode and owner; only the owner can read a new one, because it has
    secrets.
    """
    path = os.path.realpath(path)
    before = present_file(path)
    if before is None:
        write_text(path, conf.render(configuration).lstrip("\n"))
        return True
    merged = merge.merge(read_text(path, path), configuration)
    text = merged if merged is not None else conf.render(configuration).lstrip("\n")
    write_text(path, text, before)
    return merged is not None


def present_file(path: str) -> os.stat_result | None:
    """The status of a configuration file; None if there is none yet.

    Raises Mistake for what cannot be replaced, such as a device or a pipe.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Mistake(MistakeKind.CONFIG, f"{path}: {error.strerror}") from None
    if not stat.S_ISREG(found.st_mode):
        raise Mistake(
            MistakeKind.USAGE,
            f"{path} is not a regular file and cannot be replaced; see 'scstfs config show'",
        )
    return found


def write_text(path: str, text: str, like: os.stat_result | None = None) -> None:
    """Replace the contents of a file by *text*, durably, or leave them. Raises Mistake.

    The file gets owner and mode of *like*; by default only its owner may read it.
    """
    new = f"{path}.new"
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)  # what a crash left may have another mode, and readers
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _SECRET_MODE)
        with open(fd, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            if like is not None:
                with contextlib.suppress(PermissionError):
                    os.fchown(fd, like.st_uid, like.st_gid)
            os.fchmod(fd, _SECRET_MODE if like is None else stat.S_IMODE(like.st_mode))
            file.write(text)
            file.flush()
            os.fsync(fd)
        os.replace(new, path)
        directory = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise Mistake(MistakeKind.CONFIG, f"cannot write {path}: {error.strerror}") from None

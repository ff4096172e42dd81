"""Configuration files: read, and replaced as a whole."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Final

from scstfs.admin import conf, merge, tree
from scstfs.admin.conf import Parsed
from scstfs.admin.configuration import Item, without_internal
from scstfs.admin.files import Files
from scstfs.admin.mistakes import Mistake, MistakeKind, no_tree

MOST_BYTES: Final = 64 << 20
"""More than that is no configuration."""

_SECRET_MODE: Final = 0o600


def read_text(path: str) -> str:
    """The text of a file. Raises Mistake."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            text = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise Mistake(MistakeKind.CONFIG, f"{path}: {error.strerror}") from None
    if len(text) > MOST_BYTES:
        raise Mistake(MistakeKind.CONFIG, f"{path}: too large for a configuration")
    return text


def read(path: str) -> Parsed:
    """The configuration in a file. Raises Mistake when it cannot be read at all."""
    return conf.parse(read_text(path))


def present(files: Files) -> Item:
    """The configuration that runs. Raises Mistake."""
    try:
        return without_internal(tree.walk(files))
    except OSError as error:
        raise no_tree(files.root, error) from None


def save(path: str, configuration: Item) -> bool:
    """Put a configuration into a file, atomically; returns whether the old text could be kept.

    The mode of a file that is there stays; a new one is only its owner's, since it has secrets.
    """
    path = os.path.realpath(path)
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
        merged = merge.merge(read_text(path), configuration)
    except FileNotFoundError:
        mode, merged = _SECRET_MODE, conf.render(configuration)
        is_kept = True
    else:
        is_kept = merged is not None
    write_text(path, merged if merged is not None else conf.render(configuration), mode)
    return is_kept


def write_text(path: str, text: str, mode: int = _SECRET_MODE) -> None:
    """Make *text* the contents of a file, durably, or leave the old ones. Raises Mistake."""
    new = f"{path}.new"
    try:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _SECRET_MODE)
        with open(fd, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(text)
            file.flush()
            os.fchmod(fd, mode)
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

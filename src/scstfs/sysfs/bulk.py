"""All attributes of a directory at once, for programs that look at whole trees.

Reading one file takes several requests, and a configuration has thousands of files. So a directory
has the texts of all its attributes as one extended attribute, which no listing shows.
"""

from __future__ import annotations

from typing import Final

from scstfs.sysfs.errors import SysfsError
from scstfs.sysfs.node import Node
from scstfs.sysfs.text import encode

XATTR: Final = "user.scst.attributes"
"""The extended attribute of a directory; only root may read it, since some files are only root's.

It is a name and what can be read from the file, then the next name, all separated by NULs. Files
that cannot be read, hold a NUL or are long are left out, and have to be read one by one.
"""

LONGEST: Final = 1024
"""Bytes of a text that is not left out."""

MOST: Final = 1 << 16
"""Bytes that an extended attribute can have (xattr(7)); what does not fit is left out, too."""


def texts(directory: Node) -> bytes:
    """What the extended attribute of a directory holds now."""
    found: list[bytes] = []
    room = MOST
    for node in directory.attributes():
        if not node.mode & 0o400:
            continue
        try:
            text = node.attr.text(node.obj)
        except SysfsError:
            continue
        pair = [encode(node.name), text]
        size = sum(map(len, pair)) + len(pair)
        if len(text) <= LONGEST and b"\0" not in text and size <= room:
            found += pair
            room -= size
    return b"\0".join(found)

"""All there is in a directory at once, for programs that look at whole trees.

To read one file takes several requests, and a configuration has thousands of files. So a directory
has its entries and their texts as one extended attribute, which no listing shows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from scstfs.sysfs.errors import SysfsError
from scstfs.sysfs.node import FILE_TYPES, Node, NodeKind
from scstfs.sysfs.text import encode

XATTR: Final = "user.scst.entries"
"""The extended attribute of a directory; only root may read it, since some files are only root's.

For each entry, in the order of the directory, it has the name, the type and mode as an octal
number, and the text of a file or of a link, all separated by NULs. Behind the mode of a file the
text of which is left out is a question mark.
"""

LONGEST: Final = 1024
"""Bytes of a text that is not left out."""

MOST: Final = 1 << 16
"""Bytes that an extended attribute can have (xattr(7))."""

_READABLE: Final = 0o400


def entries(directory: Node, mode_of: Callable[[Node], int]) -> bytes | None:
    """What the extended attribute of a directory holds now; None if that is too much.

    *mode_of* gives permission bits.
    """
    found: list[bytes] = []
    for node in directory.entries():
        text = _text(node)
        mode = b"%o" % (FILE_TYPES[node.kind] | mode_of(node))
        found += (encode(node.name), mode + b"?" * (text is None), text or b"")
    told = b"\0".join(found)
    return told if len(told) <= MOST else None


def _text(node: Node) -> bytes | None:
    """The text of a file or link, empty for a directory; None where it is left out."""
    if node.kind is NodeKind.DIRECTORY:
        return b""
    try:
        if node.kind is NodeKind.LINK:
            text = encode(node.readlink())
        elif node.mode & _READABLE:
            text = node.attr.text(node.obj)
        else:
            return None
    except SysfsError:
        return None
    return None if len(text) > LONGEST or b"\0" in text else text

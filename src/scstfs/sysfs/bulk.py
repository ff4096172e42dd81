"""All entries of a directory at once, for programs that read whole trees.

Reading one file takes several requests, and a configuration has thousands of files. So a directory
has its entries and their texts in one extended attribute, which listings do not show.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from scstfs.sysfs.errors import SysfsError
from scstfs.sysfs.node import FILE_TYPES, Node, NodeKind
from scstfs.sysfs.text import encode

XATTR: Final = "user.scst.entries"
"""The extended attribute of a directory; only root may read it, because some files are for root
only.

For each entry, in the order of the directory, it has the name, the type and mode as an octal
number, and the text of a file or link, all separated by NULs. A question mark behind the mode of a
file means that its text is left out.
"""

LONGEST: Final = 1024
"""Most bytes of a text that is included."""

MOST: Final = 1 << 16
"""Most bytes of an extended attribute (xattr(7))."""

_READABLE: Final = 0o400


def entries(directory: Node, mode_of: Callable[[Node], int]) -> bytes | None:
    """The present value of the extended attribute of a directory; None if it is too large.

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
    """The text of a file or link, empty for a directory; None if it is left out."""
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

"""Text as the kernel sees it: bytes up to the first NUL, with names that may not hold a '/'.

Bytes that are not UTF-8 pass through `str` as surrogates (PEP 383), so an attribute or a name is
read back byte for byte as it was written.
"""

from __future__ import annotations

from typing import Final

PAGE_SIZE: Final = 4096
"""Bytes: the most one write(2) hands to a store, and the size stat(2) gives for an attribute."""

NAME_MAX: Final = 255
"""Bytes: the longest directory entry."""

BLANKS: Final = b"\t\n\v\f\r \xa0"
"""White space by the kernel's isspace(): ASCII's, and Latin-1's no-break space."""


def decode(data: bytes) -> str:
    """*data* as text; never fails, and `encode` gives the same bytes back."""
    return data.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """Inverse of `decode`."""
    # A lone surrogate that does not encode a byte cannot come from a write or from the disk.
    return text.encode("utf-8", "surrogateescape")


def cut_at_nul(data: bytes) -> bytes:
    """The C string in *data*."""
    return data.partition(b"\0")[0]


def first_line(data: bytes) -> str:
    """Text of *data* up to the first newline: how SCST takes device identifiers."""
    return decode(data.partition(b"\n")[0])


def chomp(data: bytes) -> str:
    """Text of *data* without one trailing newline: how SCST takes comment and cluster_name.

    *data* is the whole write: if its last byte is a newline, the text loses its last byte, even if
    a NUL ended the text before.
    """
    text = cut_at_nul(data)
    return decode(text[:-1] if data.endswith(b"\n") else text)


def fold(text: str) -> str:
    """*text* with ASCII letters in lower case, for comparison as by strcasecmp()."""
    return decode(encode(text).lower())


def kobject_name(name: str) -> str:
    """*name* as a directory entry: a '/' shows as '!' (kobject_set_name)."""
    return name.replace("/", "!")


def is_entry_name(name: str) -> bool:
    """Whether a directory can show *name*.

    One entry that no file system can hold ('', '.', '..', NUL, '/', more than 255 bytes) would
    make readdir(3) of the whole directory fail.
    """
    return (
        name not in ("", ".", "..")
        and "/" not in name
        and "\0" not in name
        and len(encode(name)) <= NAME_MAX
    )

"""Text that may hold anything, fit for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text without anything that a terminal would obey: initiators choose their names."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )

"""Untrusted text in a form that is safe for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text without control characters for a terminal: initiators choose their names."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )

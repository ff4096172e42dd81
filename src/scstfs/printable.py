"""Untrusted text in a form that is safe for a terminal, and one line in a log."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with what cannot be printed as escapes: initiators and users choose names."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )

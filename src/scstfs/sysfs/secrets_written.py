"""Which words of a text that is written to the tree may be secrets, and must not be shown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from scstfs.sysfs.text import decode, encode

MGMT: Final = "mgmt"

HIDDEN: Final = "****"

_PUBLIC: Final = 3
"""Words of a management command that may be shown: a secret follows the name of a user, which is
the third."""

_SHORTEST: Final = 4
"""Characters of a word that may be a secret: a user's must have more, and shorter words are
everywhere in a text."""

_READ_BY_OTHERS: Final = 0o044


def shown_command(text: str, most: int = _PUBLIC) -> str:
    """The part of a management command that may be shown, at most so many words."""
    return " ".join(text.split()[: min(most, _PUBLIC)])


def is_private(mode: int) -> bool:
    """Others may not read a file with this mode: what is written to it may be a secret."""
    return not mode & _READ_BY_OTHERS


def secret_words(name: str, mode: int, written: bytes) -> list[str]:
    """The words written to a file, with the name and mode, that may be secrets, longest first."""
    words = decode(written).split()
    if name == MGMT:
        words = words[_PUBLIC:]
    elif not is_private(mode):
        return []
    long = {word for word in words if len(word) >= _SHORTEST}
    return sorted(long, key=len, reverse=True)


def hide_words(text: str, words: Iterable[str]) -> str:
    """The text without the words, spelled as they are or as Python shows strings and bytes."""
    for word in words:
        for spelling in {word, repr(word)[1:-1], repr(encode(word))[2:-1]}:
            text = text.replace(spelling, HIDDEN)
    return text

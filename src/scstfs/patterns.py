"""Name patterns of access control: `*`, `?` and `!`, as SCST matches them.

They select initiators in access control groups and portals in `allowed_portal`.
"""

from __future__ import annotations

from typing import Final

_STAR: Final = ord("*")
_ONE: Final = ord("?")
_NOT: Final = ord("!")


def match(pattern: str, name: str) -> bool:
    """Tell whether `name` matches `pattern`.

    `*` stands for any run of bytes, also an empty one, `?` for exactly one byte; ASCII letters
    match in either case. The first `!` that the comparison reaches, at any position, inverts the
    result of matching the rest of the pattern against the rest of the name; a later `!` is an
    ordinary character. An empty name matches the empty pattern and runs of `*` only.
    """
    return _match(_fold(pattern), _fold(name), may_invert=True)


def _fold(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape").lower()


def _match(pattern: bytes, name: bytes, *, may_invert: bool) -> bool:
    at = 0  # position in the pattern
    begin = 0  # position in the name
    retry_at = -1  # after the last `*` seen, and
    retry_begin = 0  # the next place in the name to try what follows it
    while begin < len(name):
        code = pattern[at] if at < len(pattern) else None
        if code == _NOT and may_invert:
            return not _match(pattern[at + 1 :], name[begin:], may_invert=False)
        if code == _STAR:
            at += 1
            if at == len(pattern):
                return True
            retry_at, retry_begin = at, begin + 1
        elif code is not None and code in (_ONE, name[begin]):
            at += 1
            begin += 1
        elif retry_at >= 0:
            at, begin = retry_at, retry_begin
            retry_begin += 1
        else:
            return False
    return not pattern[at:].strip(b"*")

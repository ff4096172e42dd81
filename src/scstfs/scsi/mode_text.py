"""The text format of saved mode parameters: a line `KEY=value` for each that is not the default."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from scstfs.scsi.control import ControlValues, QErr
from scstfs.scsi.modes import ModePages

_WRITE_THROUGH: Final = "WRITE_THROUGH"
_END_OF_PARAMETER: Final = re.compile(r"[;\n\0]")
_BETWEEN_WORDS: Final = re.compile(r"[=\s]+", re.ASCII)
_LARGEST: Final = 2**64 - 1

# In the order they are written: key, and the name of the value.
_KEYS: Final[Mapping[str, str]] = {
    "TAS": "tas",
    "QERR": "qerr",
    "TMF_ONLY": "tmf_only",
    "SWP": "swp",
    "D_SENSE": "d_sense",
    "DPICZ": "dpicz",
    "QUEUE_ALG": "queue_alg",
}


def _bit(value: int) -> bool:
    return value <= 1


def _qerr(value: int) -> bool:
    return value in (QErr.RESUME, QErr.ABORT_ALL, QErr.ABORT_NEXUS)


_VALID: Final[Mapping[str, Callable[[int], bool]]] = {"qerr": _qerr}


def encode(pages: ModePages) -> str:
    """Return the lines for the current values of `pages`, empty if all are the defaults."""
    lines = [
        f"{key}={getattr(pages.current, name):d}\n"
        for key, name in _KEYS.items()
        if getattr(pages.current, name) != getattr(pages.default, name)
    ]
    if pages.write_through:
        lines.append(f"{_WRITE_THROUGH}={pages.write_through:d}\n")
    return "".join(lines)


def decode(pages: ModePages, text: str) -> bool:
    """Set current and saved values of `pages` from saved lines; return whether all were valid.

    It reads as SCST does: up to the first line that is empty, unknown or has an invalid value; the
    lines before it take effect.  Keys may be in any case; WRITE_THROUGH ends the control values.
    """
    control, good = True, True
    for words in _parameters(text):
        if not words:
            break
        key, value = words[0].upper(), _number(words[1]) if len(words) == 2 else None
        if control and key not in _KEYS:
            control = False
        if value is None:
            good = False
        elif control:
            good = _set_control(pages, _KEYS[key], value)
        else:
            good = _set_cache(pages, key, value)
        if not good:
            break
    return good


def _set_control(pages: ModePages, name: str, value: int) -> bool:
    if not _VALID.get(name, _bit)(value):
        return False
    pages.current = _with(pages.current, name, value)
    pages.saved = _with(pages.saved, name, value)
    return True


def _with(values: ControlValues, name: str, value: int) -> ControlValues:
    return replace(values, **{name: value})


def _set_cache(pages: ModePages, key: str, value: int) -> bool:
    if key != _WRITE_THROUGH or not _bit(value):
        return False
    pages.write_through = pages.saved_write_through = bool(value)
    return True


def _parameters(text: str) -> Iterator[list[str]]:
    """Yield the words of each parameter; an empty parameter ends the list."""
    for parameter in _END_OF_PARAMETER.split(text.partition("\0")[0]):
        if not parameter:
            return
        yield [word for word in _BETWEEN_WORDS.split(parameter) if word]


def _number(word: str) -> int | None:
    """Return `word` as the kernel's kstrtoul reads it with base 0, None if it refuses it."""
    match = re.fullmatch(r"\+?(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]{0,19}))", word)
    if match is None:
        return None
    hexadecimal, octal, decimal = match.groups()
    if hexadecimal is not None:
        value = int(hexadecimal, 16)
    elif octal is not None:
        value = int(octal, 8)
    else:
        value = int(decimal)
    return value if value <= _LARGEST else None

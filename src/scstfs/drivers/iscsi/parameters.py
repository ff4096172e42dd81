"""Values of target attributes as the iSCSI daemon of SCST reads them.

The attributes themselves, their defaults and ranges are rows of ``scstfs.iscsi.keys``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from scstfs.iscsi.keys import ATTRIBUTES, Key, KeyKind
from scstfs.iscsi.text_format import NO, YES
from scstfs.sysfs.errors import invalid
from scstfs.sysfs.numbers import strtol_prefix
from scstfs.sysfs.text import encode

#: The rows by name, in lower case: commands ignore case.
BY_NAME: Final[Mapping[str, Key]] = MappingProxyType({key.name.lower(): key for key in ATTRIBUTES})

_DEFAULT: Final = ":default:"


def parse(key: Key, text: str) -> int:
    """The value that ``text`` stands for; EINVAL for none and for one out of range.

    Numbers are read as in C (base 0, anything behind them is ignored, no number is 0) and are not
    clamped to the range; ``:default:`` is the default.
    """
    if text == _DEFAULT:
        return key.default
    return _PARSERS.get(key.kind, _number)(key, text)


def _number(key: Key, text: str) -> int:
    value = strtol_prefix(encode(text)) % (1 << 32)
    if key.attribute is None or not key.attribute.low <= value <= key.attribute.high:
        raise invalid(f"Wrong value {text} for parameter {key.name}")
    return value


def _boolean(key: Key, text: str) -> int:
    if text not in (YES, NO):
        raise invalid(f"Wrong value {text} for parameter {key.name}")
    return int(text == YES)


def _list(key: Key, text: str) -> int:
    value = 0
    for item in text.split(","):
        for index, choice in enumerate(key.choices):
            # As strncasecmp over the choice's length.
            if item.lower().startswith(choice.lower()):
                value |= 1 << index
                break
        else:
            raise invalid(f"Wrong value {text} for parameter {key.name}")
    return value


_PARSERS: Final[dict[KeyKind, Callable[[Key, str], int]]] = {
    KeyKind.AND: _boolean,
    KeyKind.OR: _boolean,
    KeyKind.LIST: _list,
}

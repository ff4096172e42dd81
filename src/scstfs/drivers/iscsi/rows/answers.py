"""How the iSCSI daemon reads and answers.

Attributes of the daemon end their lines themselves and the kernel adds a newline, hence
`daemon_value` and `daemon_lines`; a value of more than 511 bytes is cut.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from scstfs.drivers.iscsi.iscsi_mgmt import Words
from scstfs.sysfs.attr import KEY_MARK
from scstfs.sysfs.errors import invalid
from scstfs.sysfs.text import decode, encode

_LONGEST_VALUE: Final = 511


def _cut(text: str) -> str:
    """The contents of the daemon's buffer, and the kernel's newline."""
    data = encode(text)
    return (text if len(data) <= _LONGEST_VALUE else decode(data[:_LONGEST_VALUE])) + "\n"


def daemon_value(value: str, marked: bool) -> str:
    r"""``V\n``, or ``V\n[key]\n\n``."""
    return _cut(f"{value}\n{KEY_MARK}" if marked else value)


def daemon_lines(value: str, marked: bool) -> str:
    r"""``V\n\n``, or ``V\n[key]\n\n``."""
    return _cut(f"{value}\n{KEY_MARK}" if marked else f"{value}\n")


def words_of(data: bytes) -> Words:
    """The text written, as the daemon reads it; EINVAL if there is none."""
    return Words(decode(_sent(data)))


def _sent(data: bytes) -> bytes:
    # Text that begins with a NUL reaches the daemon without a value, which is not an empty line.
    if not data:
        raise invalid("attr value expected")
    return data


def daemon_switch(data: bytes) -> bool:
    """The word 0 or 1; EINVAL for all others."""
    word = words_of(data).take()
    if word not in ("0", "1"):
        raise invalid(f"Unknown value {word}")
    return word == "1"


def is_address(text: str) -> bool:
    """Return whether inet_pton of either family accepts it."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def stripped(data: bytes) -> str:
    """Text without the daemon's blanks at both ends; EINVAL for none."""
    return decode(_sent(data).strip(b" \t\n\v\f\r"))

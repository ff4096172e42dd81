"""Trace levels: which events go to the log (``trace_level``).

The core, every handler module and every driver has its own set of categories: the common ones, and
those that it brings along.  Bits and names are SCST's.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from scstfs.core.gated import Gated

#: Common categories in the order in which ``trace_level`` prints them.
COMMON: Final[Mapping[str, int]] = MappingProxyType(
    {
        "out_of_mem": 0x100,
        "minor": 0x200,
        "sg": 0x80,
        "mem": 0x40,
        "buff": 0x20,
        "entryexit": 0x10,
        "pid": 0x8,
        "line": 0x4,
        "function": 0x2,
        "debug": 0x1,
        "special": 0x2000,
        "scsi": 0x1000,
        "mgmt": 0x400,
        "mgmt_dbg": 0x800,
        "flow_control": 0x4000,
        "pr": 0x8000,
    }
)

ALL: Final = 0xFFFFFFFF
DEFAULT: Final = COMMON["out_of_mem"] | COMMON["pid"] | COMMON["special"] | COMMON["mgmt"]


class TraceLog:
    """The trace categories of one module, and the logger that its events go to."""

    flags: Gated[int] = Gated(DEFAULT)

    def __init__(
        self, name: str, help_tokens: str, own: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        self.name = name
        #: What the usage text adds to the common tokens, e.g. ``, order``.
        self.help_tokens = help_tokens
        self._own: Final = own
        self._log = logging.getLogger(f"scstfs.trace.{name}")

    def bit(self, token: str) -> int:
        """The bit of ``token``, 0 if there is none; the module's own categories come first."""
        token = token.lower()
        return self._own.get(token, COMMON.get(token, 0))

    def tokens(self) -> list[str]:
        """Names of the categories that are on, in print order."""
        return [name for name, bit in (*COMMON.items(), *self._own.items()) if self.flags & bit]

    def enabled(self, token: str) -> bool:
        """Events of this category are wanted."""
        return bool(self.flags & self.bit(token))

    def event(self, token: str, message: str, *args: object) -> None:
        """Log an event of category ``token`` if it is on."""
        if self.flags & self.bit(token):
            self._log.info(message, *args)

"""Where memory is, for those who hand it to the system."""

from __future__ import annotations

from typing import Final

from scstfs.aio._native import ffi

_ADDRESS: Final = ffi.typeof("uintptr_t")


def address_of(memory: memoryview) -> int:
    """Where ``memory`` is."""
    return int(ffi.cast(_ADDRESS, ffi.from_buffer(memory)))

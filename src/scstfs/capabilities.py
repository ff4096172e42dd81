"""Capabilities of processes (capabilities(7)), and two switches of prctl(2), without a library.

The policy is in `scstfs.privileges`.
"""

from __future__ import annotations

import ctypes
import enum
import os
import struct
from collections.abc import Collection
from typing import Final

_LIBC: Final = ctypes.CDLL(None, use_errno=True)

# Version 3 of capget(2): sets of 64 bits, in two parts.
_VERSION: Final = 0x20080522
_HEADER: Final = struct.Struct("=Ii")
_SETS: Final = struct.Struct("=6I")  # effective, permitted, inheritable; then their high parts
_LOW: Final = 0xFFFFFFFF

_PR_SET_DUMPABLE: Final = 4
_PR_SET_KEEPCAPS: Final = 8
_PR_CAPBSET_READ: Final = 23
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38


class Capability(enum.IntEnum):
    """Those that scstfs has a use for; their numbers are those of linux/capability.h."""

    DAC_OVERRIDE = 1
    SYS_RAWIO = 17
    SYS_ADMIN = 21


def permitted() -> int:
    """The bits of the capabilities that the calling thread has or may take."""
    header = ctypes.create_string_buffer(_HEADER.pack(_VERSION, 0))
    data = ctypes.create_string_buffer(_SETS.size)
    _check(_LIBC.capget(header, data))
    _, low, _, _, high, _ = _SETS.unpack(data.raw)
    return int(low | high << 32)


def limit(kept: Collection[Capability]) -> None:
    """Give up all capabilities but *kept*, of which those are kept that there are.

    It applies to the calling thread and to threads and programs that it starts, for ever.

    Raises:
        OSError: the system refuses.
    """
    bits = permitted() & sum(1 << capability for capability in kept)
    low, high = bits & _LOW, bits >> 32
    header = ctypes.create_string_buffer(_HEADER.pack(_VERSION, 0))
    data = ctypes.create_string_buffer(_SETS.pack(low, low, 0, high, high, 0))
    _check(_LIBC.capset(header, data))


def limit_programs(kept: Collection[Capability]) -> None:
    """Take all capabilities but *kept* out of the bounding set, which limits executed programs.

    Only a process that may change that set can do so; for others `forbid_more` has the same effect.
    """
    number = 0
    while (is_in := _prctl(_PR_CAPBSET_READ, number)) >= 0:
        if is_in and number not in kept and _prctl(_PR_CAPBSET_DROP, number) < 0:
            return
        number += 1


def keep_at_change_of_user(does: bool) -> None:
    """Whether a change from root to another user leaves the permitted capabilities."""
    _check(_prctl(_PR_SET_KEEPCAPS, int(does)))


def forbid_more() -> None:
    """Have no program that this one executes get more privileges, setuid or not (no_new_privs)."""
    _check(_prctl(_PR_SET_NO_NEW_PRIVS, 1))


def forbid_dumps() -> None:
    """Have the memory of this process written to no core dump, and read by its user's others."""
    _check(_prctl(_PR_SET_DUMPABLE, 0))


def _prctl(option: int, argument: int) -> int:
    return int(_LIBC.prctl(option, ctypes.c_ulong(argument), *[ctypes.c_ulong(0)] * 3))


def _check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))

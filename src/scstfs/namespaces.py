"""Linux namespaces (namespaces(7)): unshare(2) and related calls.

The policy is in `scstfs.sandbox`.
"""

from __future__ import annotations

import ctypes
import enum
import os
import signal
from pathlib import Path
from typing import Final

_LIBC: Final = ctypes.CDLL(None, use_errno=True)

_PR_SET_PDEATHSIG: Final = 1


class NameSpace(enum.IntFlag):
    """Kinds of namespaces; flags of unshare(2), there called CLONE_NEW*."""

    MOUNT = 0x00020000
    USER = 0x10000000
    PID = 0x20000000


def unshare(kinds: NameSpace) -> None:
    """Enter new namespaces of these kinds.

    With PID, the next forked process is the first in the new one: when it ends, the kernel kills
    all others there.

    Raises:
        OSError: the system refuses.
    """
    if _LIBC.unshare(ctypes.c_int(kinds)) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def become_root(user: int, group: int) -> None:
    """Become user 0 and group 0 in the new user namespace (user_namespaces(7)).

    Args:
        user: its user id outside.
        group: its group id outside.

    Raises:
        OSError: the system refuses.
    """
    # Without privileges outside, a group can be mapped only after setgroups(2) is denied.
    for file, text in (
        ("uid_map", f"0 {user} 1"),
        ("setgroups", "deny"),
        ("gid_map", f"0 {group} 1"),
    ):
        Path("/proc/self", file).write_text(text)


def end_with_parent() -> None:
    """Have this process killed when its parent ends, in any way (prctl(2))."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)

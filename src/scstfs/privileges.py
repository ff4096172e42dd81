"""Least privilege: which user the daemon serves as, and what it may do beyond an ordinary user.

Root starts the daemon, but only a process beside it stays privileged (`scstfs.mounter`). What needs
privileges and cannot be done later is done before `drop`; from then on nothing can get them back.

Credentials belong to threads, and system calls that change them are for the calling thread only. So
`drop` comes before there are any others.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from scstfs import capabilities
from scstfs.capabilities import Capability
from scstfs.errors import ExitStatus, UsageError, reason

USES: Final[Mapping[Capability, str]] = MappingProxyType(
    {
        Capability.DAC_OVERRIDE: "opens files and devices of all users",
        Capability.SYS_RAWIO: "passes all commands on to SCSI devices; without it, the kernel "
        "refuses those that it does not know to be harmless",
    }
)
"""The capabilities that the daemon can keep, and what it does by each."""

ROOT: Final = (0, 0)
"""The user and the group that the tree belongs to, whichever user serves it for root."""

# Seconds that threads get to end that have nothing more to do.
_LAST_THREADS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Account:
    """The user, and the group, that the daemon serves as."""

    name: str
    uid: int
    gid: int

    @classmethod
    def parse(cls, text: str) -> Account:
        """Return the account that `USER[:GROUP]` names, by names or numbers.

        Without a group it is the user's first one; a number needs no entry in the user database.

        Raises:
            UsageError: there is no such user or group.
        """
        user, colon, group = text.partition(":")
        try:
            entry = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
        except (KeyError, OverflowError):
            if not user.isdecimal() or not int(user) < _MOST_IDS:
                raise UsageError(ExitStatus.USAGE, f"there is no user {user!r}") from None
            entry = None
        name, uid, gid = (
            (entry.pw_name, entry.pw_uid, entry.pw_gid) if entry else (user, int(user), int(user))
        )
        return cls(name, uid, _group(group) if colon else gid)


# The last one means "no change" to system calls.
_MOST_IDS: Final = 0xFFFFFFFF


def _group(text: str) -> int:
    if text.isdecimal() and int(text) < _MOST_IDS:
        return int(text)
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise UsageError(ExitStatus.USAGE, f"there is no group {text!r}") from None


def kept_by_default(account: Account | None) -> frozenset[Capability]:
    """What is kept without a choice: everything useful for root, nothing for another user."""
    return frozenset(USES) if account is None else frozenset()


def hand_over(directory: Path, account: Account) -> None:
    """Make the state directory if it is missing, and give it, with all in it, to a user.

    What belongs to neither root nor the user, has several names or is a link, stays as it is: the
    user may have put it there.

    Raises:
        UsageError: the system refuses.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for descriptor, found in _all_below(directory.resolve()):
            if found.st_uid == 0 and (found.st_nlink == 1 or stat.S_ISDIR(found.st_mode)):
                os.fchown(descriptor, account.uid, account.gid)
    except OSError as error:
        where = f"{directory}: {error.filename}" if error.filename else directory
        message = f"cannot give the state directory {where} to {account.name}: {reason(error)}"
        raise UsageError(ExitStatus.STATE_DIR, message) from error


def _all_below(directory: Path) -> Iterator[tuple[int, os.stat_result]]:
    """Yield an open descriptor and the status of each file and directory, `directory` the last."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    for _, _, names, parent in os.fwalk(directory, topdown=False):
        for name in names:
            if not stat.S_ISREG(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                continue
            descriptor = os.open(name, flags, dir_fd=parent)
            try:
                yield descriptor, os.fstat(descriptor)
            finally:
                os.close(descriptor)
        yield parent, os.fstat(parent)


def drop(account: Account | None, kept: Collection[Capability]) -> None:
    """Become the user of `account`, and give up all capabilities but those in `kept`.

    Executed programs get no more than that, and there are no core dumps, which would have secrets.
    No other thread may run.

    Args:
        account: None stays the present user.
        kept: of those that this process has.

    Raises:
        RuntimeError: another thread runs.
    """
    _wait_for_other_threads()
    capabilities.limit_programs(kept)
    if account is not None:
        capabilities.keep_at_change_of_user(True)
        os.setgroups(_groups(account))
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)
        capabilities.keep_at_change_of_user(False)
    capabilities.limit(kept)
    capabilities.forbid_more()
    capabilities.forbid_dumps()


def _groups(account: Account) -> list[int]:
    try:
        pwd.getpwnam(account.name)
    except KeyError:  # a number
        return [account.gid]
    return os.getgrouplist(account.name, account.gid)


def _wait_for_other_threads() -> None:
    deadline = time.monotonic() + _LAST_THREADS
    while len(os.listdir("/proc/self/task")) > 1:
        if time.monotonic() > deadline:
            names = ", ".join(thread.name for thread in threading.enumerate())
            raise RuntimeError(f"these threads would keep their privileges: {names}")
        time.sleep(0.01)

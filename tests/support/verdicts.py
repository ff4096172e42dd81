"""The guard of the fast path: what is stored about a nexus is what it would be found to be now.

Whether READ and WRITE of a nexus may pass the gates is decided in advance.  A decision that was not
made again when it should have been lets commands pass that must not, or keeps them on the slow way
for ever; no answer shows the latter.
"""

from __future__ import annotations

from collections.abc import Iterable

from scstfs.core.scst import Scst
from scstfs.core.session import FastPath, Session


def check(scst: Scst) -> None:
    """Decide again for every nexus, and compare."""
    check_sessions(scst.sessions())


def check_sessions(sessions: Iterable[Session]) -> None:
    """Decide again for every nexus of these sessions, and compare."""
    for session in sessions:
        for tgt_dev in session.tgt_devs.values():
            stored = tgt_dev.fast_read, tgt_dev.fast_write
            now = tgt_dev.device.fast_paths(tgt_dev)
            where = f"LUN {tgt_dev.lun} of {session.name}"
            assert [_bound(path) for path in stored] == [_bound(path) for path in now], where
        for tgt_dev in session.former:
            assert (tgt_dev.fast_read, tgt_dev.fast_write) == (None, None)


def _bound(path: FastPath | None) -> object:
    """What a fast path works on: None for one that is closed."""
    if path is None:
        return None
    return [cell.cell_contents for cell in getattr(path, "__closure__", None) or ()]

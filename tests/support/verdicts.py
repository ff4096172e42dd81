"""The guard of the quick way: each stored decision equals the one that would be made now.

Whether READ and WRITE of a nexus may pass the gates is decided in advance, for an epoch.  A change
that begins no epoch would let commands pass wrongly, or keep them on the general way for ever,
which no answer shows.
"""

from __future__ import annotations

from scstfs.core.gated import EPOCH
from scstfs.core.scst import Scst


def check(scst: Scst) -> None:
    """Decide again for every nexus, and compare; then make missing decisions."""
    for session in scst.sessions():
        for tgt_dev in session.all_tgt_devs():
            if tgt_dev._epoch is EPOCH.now:
                now = tgt_dev.decide()
                where = f"LUN {tgt_dev.lun} of {session.name}"
                assert tgt_dev._quick == now, where
            decided = tgt_dev.quick
            assert not tgt_dev.is_gone or (decided.read, decided.write) == (None, None)

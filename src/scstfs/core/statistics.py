"""What happens, for those who watch: counts since the start, and the latest events.

Nothing here is on the fast path.  The tree of SCST has no files for any of this, so it is shown by
extended attributes (``tree.measurements``).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from scstfs.latest import LatestLines

#: Bytes of events that are kept, less than an extended attribute may have (xattr(7)), and the
#: characters of each one's text.
MOST_BYTES: Final = 32 << 10
LONGEST_TEXT: Final = 200

#: Peers can cause events as often as they like: of each kind so many are kept in so many seconds.
_BURST: Final = 20
_INTERVAL: Final = 5.0

# Groups of counters.
LOGINS_REFUSED: Final = "logins_refused"
DIGEST_ERRORS: Final = "digest_errors"
FUNCTIONS: Final = "functions"


class Statistics:
    """Counts and events of one target."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """``clock`` gives seconds since the epoch."""
        self.started: Final = clock()
        self._clock = clock
        #: By group and reason.
        self.counts: dict[str, Counter[str]] = {
            LOGINS_REFUSED: Counter(),
            DIGEST_ERRORS: Counter(),
            FUNCTIONS: Counter(),
        }
        #: The latest events, each a JSON object; see ``note``.
        self.events: Final = LatestLines(MOST_BYTES)
        self._last = 0
        self._allowances: dict[str, tuple[float, int]] = {}

    def note(self, kind: str, text: str, **fields: str) -> None:
        """An event has happened.

        ``kind`` is ``login``, ``logout``, ``login_refused``, ``configuration``, ``reservation``,
        ``error``, ``medium`` or ``task_management``; ``fields`` are the names of what it concerns:
        ``target``, ``initiator``, ``device``, ``driver``.  Events have numbers, from 1 on; those
        that are missing were too many.
        """
        self._last += 1
        now = self._clock()
        until, left = self._allowances.get(kind, (0.0, 0))
        if not until - _INTERVAL <= now < until:
            until, left = now + _INTERVAL, _BURST
        if left:
            event = {"number": self._last, "time": round(now, 3), "kind": kind}
            self.events.add({**event, "text": text[:LONGEST_TEXT], **fields})
        self._allowances[kind] = until, max(left - 1, 0)

    def digest_error(self, part: str) -> None:
        """A digest of iSCSI did not match: that of a header or of data (``part``)."""
        self.counts[DIGEST_ERRORS][part] += 1

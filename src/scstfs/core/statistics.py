"""What happens, for those who watch: counts since the start, and the latest events.

Nothing here is on the fast path.  The tree of SCST has no files for any of this, so it is shown by
extended attributes (``tree.measurements``).
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

#: Events that are kept, and the characters of each one's text.
MOST_EVENTS: Final = 128
LONGEST_TEXT: Final = 200

#: Peers can cause events as often as they like: of each kind so many are kept in so many seconds.
_BURST: Final = 20
_INTERVAL: Final = 5.0

# Groups of counters.
LOGINS_REFUSED: Final = "logins_refused"
DIGEST_ERRORS: Final = "digest_errors"
FUNCTIONS: Final = "functions"


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened.

    Attributes:
        number: counts from 1 on; numbers that are missing were of events that are not kept.
        seconds: when, since the epoch.
        kind: ``login``, ``logout``, ``login_refused``, ``configuration``, ``reservation``,
            ``error``, ``medium`` or ``task_management``.
        fields: the names of what it concerns: target, initiator, device.
    """

    number: int
    seconds: float
    kind: str
    text: str
    fields: Mapping[str, str]


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
        self.events: deque[Happening] = deque(maxlen=MOST_EVENTS)
        self._last = 0
        self._allowances: dict[str, tuple[float, int]] = {}

    def note(self, kind: str, text: str, **fields: str) -> None:
        """An event has happened; see `Happening`."""
        self._last += 1
        now = self._clock()
        until, left = self._allowances.get(kind, (0.0, 0))
        if not until - _INTERVAL <= now < until:
            until, left = now + _INTERVAL, _BURST
        if left:
            self.events.append(Happening(self._last, now, kind, text[:LONGEST_TEXT], fields))
        self._allowances[kind] = until, max(left - 1, 0)

    def digest_error(self, part: str) -> None:
        """A digest of iSCSI did not match: that of a header or of data (``part``)."""
        self.counts[DIGEST_ERRORS][part] += 1

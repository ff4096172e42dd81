"""``/etc/initiators.deny`` and ``/etc/initiators.allow``: initiators that may use a target.

An initiator that the first file names and the second does not is refused.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scstfs.iscsi.acl import is_listed
from scstfs.log import RateLimited

log = logging.getLogger(__name__)
_incidents: Final = RateLimited(log)

DIRECTORY: Final = Path("/etc")


@dataclass(frozen=True, slots=True)
class InitiatorAccess:
    """The contents of both files at one time."""

    deny: str
    allow: str

    def allows(self, target: str, address: str) -> bool:
        """Return whether an initiator at ``address`` may use ``target``."""
        return not is_listed(self.deny, target, address) or is_listed(self.allow, target, address)


class InitiatorAccessFiles:
    """Both files, read again for each login: they are small and rarely exist."""

    def __init__(self, directory: Path = DIRECTORY) -> None:
        self._deny = directory / "initiators.deny"
        self._allow = directory / "initiators.allow"

    def read(self) -> InitiatorAccess:
        """The present contents; a file that cannot be read counts as empty."""
        return InitiatorAccess(_read(self._deny), _read(self._allow))


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        _incidents.warning("cannot read %s: %s", path, error.strerror)
        return ""

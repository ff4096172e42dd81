"""Third-party copies: EXTENDED COPY and copies by token (SPC-4 5.17, SBC-4 4.28).

``install`` makes an Scst execute them.  ``block_copy`` moves the bytes, ``copies`` decides which
session may copy what, ``records`` keep the results; ``extended`` and ``by_token`` are the commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scstfs.drivers.copying.by_token import CopyByToken
from scstfs.drivers.copying.copies import Copies
from scstfs.drivers.copying.extended import ExtendedCopy
from scstfs.drivers.copying.token_store import TokenStore

if TYPE_CHECKING:
    from scstfs.core.scst import Scst


def install(scst: Scst) -> Copies:
    """Make ``scst`` execute third-party copies; call it once."""
    copies = Copies(scst)
    store = TokenStore(scst.env.runtime)
    copies.gone.append(store.drop_device)
    scst.watchers.append(copies)
    ExtendedCopy(copies).install(scst)
    CopyByToken(copies, store).install(scst)
    return copies

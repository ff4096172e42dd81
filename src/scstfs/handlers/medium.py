"""What is behind a virtual device: its store, how large it is, and what has happened to it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from scstfs.core.gated import Gated
from scstfs.core.taskset import EVERYTHING
from scstfs.handlers.settings import DEFAULT_OPT_TRANS_LEN, VdiskSettings
from scstfs.handlers.store import Store
from scstfs.scsi import sense
from scstfs.scsi.sense import CheckCondition
from scstfs.scsi.unit import ThinLimits

if TYPE_CHECKING:
    from scstfs.core.session import TgtDev
    from scstfs.core.taskset import TaskSet
    from scstfs.observable import Observable
    from scstfs.scsi.mmc import MediaEvent

log = logging.getLogger(__name__)


class Reopening:
    """A store is being opened because of an ALUA state; ``waiting`` is called when that is over."""

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []


class Medium:
    """The medium of one virtual device; there may be none at the moment."""

    store: Gated[Store | None] = Gated(None)
    #: Bytes, as initiators see it; the tail that fills no block is out of their reach.
    size: Gated[int] = Gated()
    thin: Gated[bool] = Gated(False)
    #: The next command reports that the medium may have changed.
    changed: Gated[bool] = Gated(False)

    def __init__(
        self, settings: VdiskSettings, tasks: TaskSet, rows: Observable, *, thin_by_default: bool
    ) -> None:
        """``tasks`` are the device's commands; ``rows`` tells that attributes may come or go.

        ``thin_by_default``: it is thin if it can be, unless configured otherwise.
        """
        self._settings = settings
        self._tasks = tasks
        self._rows = rows
        self._thin_by_default = thin_by_default
        self.shift: Final = settings.block_shift
        self.size = settings.size
        #: The store is to be open.
        self.active = settings.active
        self.reopening: Reopening | None = None
        #: The store has been open at least once: size and thin provisioning are known.
        self.examined = False
        self.thin_limits = ThinLimits(0)
        #: ``opt_trans_len``, and whether it was set.
        self.opt_trans_len = DEFAULT_OPT_TRANS_LEN
        self.opt_trans_len_set = False
        #: The errno of a flush that no command waited for; the system reports it only once.
        self.flush_error = 0
        self.prevented_by: set[TgtDev] = set()
        #: What has happened to the medium of a vcdrom since a nexus asked (MMC-6 6.7).
        self.events: dict[TgtDev, MediaEvent] = {}

    @property
    def blocks(self) -> int:
        """Logical blocks that can be addressed."""
        return self.size >> self.shift

    def need_store(self) -> Store:
        """The store; raises CheckCondition MEDIUM NOT PRESENT while there is none."""
        if self.store is None:
            raise CheckCondition(sense.MEDIUM_NOT_PRESENT)
        return self.store

    def take_flush_error(self) -> int:
        """The errno of what an earlier flush should have made durable, if that was not told yet.

        What takes it tells.
        """
        lost, self.flush_error = self.flush_error, 0
        return lost

    # Stores come and go

    def install(self, store: Store | None) -> None:
        """Put an opened store (or none) in place of the old one and take its size over."""
        self.close()
        self.store = store
        if store is not None:
            self.size = store.size
            self._examine(store)
        elif self.examined:
            # Until then it is what the device was told at its creation.
            self.size = 0

    def reopen(self, store: Store | None) -> None:
        """Put a store in place again; the size stays what it was, if it was known."""
        if store is None or not self.examined:
            self.install(store)
            return
        self.close()
        self.store = store
        store.size = self.size
        self._examine(store)

    def close(self) -> None:
        """Close the store; nothing else changes.

        Worker threads that use it are waited for: another file may get its descriptor.
        """
        store, self.store = self.store, None
        if store is not None:
            self._tasks.watchers.tell(EVERYTHING)
            self._tasks.when_idle(store.close, background_too=True)

    def set_size(self, size: int) -> None:
        """The medium is of another size (bytes)."""
        self._tasks.watchers.tell(EVERYTHING)
        self.size = size
        if self.store is not None:
            self.store.size = size

    def _examine(self, store: Store) -> None:
        self.examined = True
        self._detect_thin_provisioning(store)
        if not self.opt_trans_len_set:
            self.opt_trans_len = store.optimal_io_size or self.opt_trans_len

    def _detect_thin_provisioning(self, store: Store) -> None:
        asked_for = self._settings.thin_provisioned
        wanted = self._thin_by_default if asked_for is None else asked_for
        self.thin = wanted and store.can_discard
        self._rows.changed()
        self.thin_limits = store.thin_limits(1 << self.shift)
        if asked_for and not self.thin:
            log.warning("%s does not support thin provisioning", self._settings.filename)

    @property
    def shows_thin_provisioning(self) -> bool:
        """``thin_provisioned``: what was asked for, until it is known what is possible."""
        return self.thin if self.examined else bool(self._settings.thin_provisioned)

    def forget(self, tgt_dev: TgtDev) -> None:
        """A nexus that ends neither prevents removal nor asks what became of the medium."""
        self.prevented_by.discard(tgt_dev)
        self.events.pop(tgt_dev, None)

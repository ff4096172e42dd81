"""The copy manager's part of third-party copies: access checks, and the copies under way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from scstfs.core.command import Command
from scstfs.core.device import LATER, Answer, Device
from scstfs.drivers.copying.block_copy import Copy, Piece
from scstfs.drivers.copying.records import CopyRecord, CopyRecords, Form
from scstfs.scsi.sense import CheckCondition
from scstfs.scsi.status import TaskStatus, busy
from scstfs.scsi.xcopy import CONCURRENT_COPIES

if TYPE_CHECKING:
    from scstfs.core.scst import Scst
    from scstfs.core.session import Session
    from scstfs.core.target import AcgDev

DRIVER: Final = "copy_manager"


@dataclass(frozen=True, slots=True)
class Member:
    """A device as part of a copy that one session requests (``xcopy.CopyDevice``)."""

    device: Device
    read_only: bool

    @property
    def block_size(self) -> int:
        """Bytes of a block."""
        return 1 << self.device.block_shift


class CopyRequest:
    """A copy that a command requests, from the decoding of its parameters to its record's end."""

    def __init__(
        self,
        copies: Copies,
        session: Session,
        form: Form,
        list_id: int | None,
        *,
        immediate: bool = False,
    ) -> None:
        """Reserve the name ``list_id`` (None: unnamed); raises CheckCondition if it is in use.

        ``immediate``: no command waits for the end. Only this limits the number of such copies:
        raises TaskStatus BUSY if the reported maximum is under way.
        """
        if immediate and len(copies.copies) >= CONCURRENT_COPIES:
            raise busy()
        self.record = CopyRecord(immediate=immediate)
        self.pieces: tuple[Piece, ...] = ()
        self._copies = copies
        self._session = session
        self._key = None if list_id is None else (session, form, list_id)
        self._started = False
        if self._key is not None:
            copies.records.add(*self._key, self.record)

    def forget(self) -> None:
        """The copy was refused: free the name."""
        if self._key is not None:
            self._copies.records.remove(*self._key, self.record)

    def finish(self) -> None:
        """It is over; its result is available."""
        self.record.over = True
        if self._key is not None:
            _, form, _ = self._key
            self._copies.records.finish(form, self.record)

    def forget_unless_started(self) -> None:
        """The command is over: if the copy has not begun, it will not."""
        if not self._started and not self.record.over:
            self.forget()

    def run(self, cmd: Command, over: Callable[[bool], None] = lambda good: None) -> Answer:
        """Copy the pieces; ``cmd`` waits for the end unless the record says otherwise.

        ``over`` is called at the end, with True if the copy succeeded.
        """
        self._started = True
        waiting = None if self.record.immediate else cmd

        def ended(copy: Copy, error: CheckCondition | TaskStatus | None) -> None:
            self._copies.copies.discard(copy)
            if waiting is not None and waiting.abort is not None:
                over(False)
                self.record.over = True
                self.forget()
                return
            if error is not None:
                self.record.fail(error)
            over(error is None)
            self.finish()

        copy = Copy(self._copies.scst, self._session, self.pieces, self.record, ended)
        self._copies.copies.add(copy)
        copy.start(waiting)
        return b"" if waiting is None else LATER


class Copies:
    """State shared by all kinds of copies; one for each Scst, and a watcher of its devices."""

    def __init__(self, scst: Scst) -> None:
        self.scst = scst
        self.records = CopyRecords(scst.env.runtime)
        self.copies: set[Copy] = set()
        #: Called when a device is being deleted.
        self.gone: list[Callable[[Device], None]] = []
        #: Devices by their designation descriptors; None until first needed.
        self._names: dict[bytes, Device] | None = None

    # Watcher

    def device_appeared(self, device: Device) -> None:
        """See Watcher."""
        self._names = None

    def device_changed(self, device: Device) -> None:
        """See Watcher."""
        self._names = None

    def device_disappears(self, device: Device) -> None:
        """See Watcher: copies that use the device end."""
        self._names = None
        for copy in self.copies:
            if copy.touches(device):
                copy.lose(device)
        for call in self.gone:
            call(device)

    # Which devices

    def find(self, session: Session, designator: bytes) -> Member | None:
        """The device with this designation descriptor; its result tells whether ``session`` may use
        it.
        """
        if self._names is None:
            self._names = {}
            for device in self.scst.devices.values():
                for name in device.identifiers():
                    self._names.setdefault(name, device)
        found = self._names.get(designator)
        if found is None or not self._reaches(found):
            return None
        return Member(found, self._is_read_only(session, found))

    def may_use(self, session: Session, member: Member) -> bool:
        """Return whether the initiator has a LUN for the device on any target, or needs none."""
        return self._allows_all or any(self._luns(session, member.device))

    def _reaches(self, device: Device) -> bool:
        """Return whether the device has a LUN of the copy manager's target."""
        if DRIVER not in self.scst.drivers:
            return True
        return any(acg_dev.acg.target.driver.name == DRIVER for acg_dev in device.exports.values())

    @property
    def _allows_all(self) -> bool:
        return bool(getattr(self.scst.drivers.get(DRIVER), "allow_not_connected_copy", False))

    def _is_read_only(self, session: Session, device: Device) -> bool:
        """SCST checks only the device, and so lets initiators write what they may only read."""
        if device.read_only or device.control.swp:
            return True
        return not self._allows_all and all(
            acg_dev.read_only for acg_dev in self._luns(session, device)
        )

    def _luns(self, session: Session, device: Device) -> Iterator[AcgDev]:
        """LUNs of ``device`` that the initiator sees, through any target."""
        for acg_dev in device.exports.values():
            acg = acg_dev.acg
            if acg.target.driver.name == DRIVER:
                continue
            if acg.is_default or acg.matches(session.initiator_name):
                yield acg_dev

"""The state directory (``/var/lib/scst``): the paths of its files, loading and saving."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from pathlib import Path
from typing import Final, NoReturn
from weakref import WeakValueDictionary

from scstfs.persist import durable_files, reservations, saved_mode_pages
from scstfs.persist.reservations import DamagedFile, SavedReservations
from scstfs.persist.undo import UndoLog

log = logging.getLogger(__name__)

#: Larger files of mode pages are refused (bytes).
_MOST_MODES: Final = 1 << 16


class ReservationsFile:
    """The files of one device's persistent reservations: ``PATH`` and ``PATH.1``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.backup = path.with_name(path.name + ".1")
        #: The durable contents of the files; None: there are none.
        self._data: bytes | None = None

    def load(self) -> SavedReservations | None:
        """The state saved last, None if there is none.

        Falls back to the backup.  Raises OSError if there are files but none can be used: a device
        that came up without its reservations would let a fenced initiator write.  The caller must
        not use the device then.
        """
        damage: dict[Path, Exception] = {}
        for path in (self.path, self.backup):
            try:
                data = durable_files.read(path, reservations.MAX_SIZE)
                if data is None:
                    continue
                saved = reservations.decode(data)
            except (OSError, DamagedFile) as error:
                damage[path] = error
                continue
            if path is self.backup:
                why = damage.get(self.path, "missing")
                log.warning("%s cannot be used (%s), taking %s", self.path, why, self.backup)
            self._data = data
            return saved
        if damage:
            self._give_up(damage)
        return None

    def needs_saving(self, saved: SavedReservations) -> bool:
        """Return whether ``save`` would change the files."""
        return self._data is not None or saved.is_kept

    def save(self, saved: SavedReservations) -> None:
        """Make ``saved`` durable; raises OSError with the old state still in place.

        As in SCST, the backup gets the state saved before. EFBIG: it is larger than ``load``
        accepts.
        """
        if not saved.is_kept:
            self.remove()
            return
        data = reservations.encode(saved)
        if len(data) >= reservations.MAX_SIZE:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        try:
            if self._data is not None:
                durable_files.write(self.backup, self._data)
            durable_files.write(self.path, data)
        except OSError:
            self._put_back()
            raise
        self._data = data

    def remove(self) -> None:
        """Delete the files; raises OSError with the old state still in place."""
        try:
            # In the other order, a crash would bring back the older state.
            durable_files.remove(self.backup, self.path)
        except OSError:
            self._put_back()
            raise
        self._data = None

    def _put_back(self) -> None:
        """Undo the parts of a failed save that succeeded, as far as possible."""
        with contextlib.suppress(OSError):
            if self._data is None:
                durable_files.remove(self.path)
            elif durable_files.read(self.path, reservations.MAX_SIZE) == self._data:
                pass
            elif durable_files.read(self.backup, reservations.MAX_SIZE) == self._data:
                # This needs no space, the lack of which may be the cause.
                durable_files.move(self.backup, self.path)
            else:
                durable_files.write(self.path, self._data)

    def _give_up(self, damage: dict[Path, Exception]) -> NoReturn:
        log.error(
            "the persistent reservations in %s and %s cannot be used (%s); repair one of the "
            "files, or remove both to give up the reservations, then add the device again",
            self.path,
            self.backup,
            "; ".join(f"{path.name}: {error}" for path, error in damage.items()),
        )
        first = next(iter(damage.values()))
        number = first.errno if isinstance(first, OSError) and first.errno else errno.EINVAL
        raise OSError(number, os.strerror(number))


class StateDirectory:
    """Files of all devices below one directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._undo_logs: WeakValueDictionary[str, UndoLog] = WeakValueDictionary()
        #: Mode pages can be saved: their directory was there when ``prepare`` looked.
        self.can_save_modes = False

    def prepare(self) -> None:
        """Create the directories that are missing; raises OSError."""
        durable_files.make_directory(self.path / "pr")
        durable_files.make_directory(self.path / "vdev_mode_pages")
        self.can_save_modes = True

    def reservations_path(self, device_name: str) -> Path:
        """Default place of a device's persistent reservations."""
        return self.path / "pr" / device_name

    def protection_path(self, device_name: str) -> Path:
        """Default place of a device's protection information; SCST has a directory for it."""
        return self.path / "dif_tags" / f"{device_name}.dif"

    def undo_log(self, device_name: str) -> UndoLog:
        """Where a device's atomic writes are logged while they happen.

        A device that is made again before the last write of its predecessor has ended gets the same
        one.
        """
        undo = self._undo_logs.get(device_name)
        if undo is None:
            undo = UndoLog(self.path / "atomic_writes" / device_name)
            self._undo_logs[device_name] = undo
        return undo

    def load_modes(self, device_name: str) -> str:
        """The saved ``KEY=value`` lines of a device; empty if there are none or only damage."""
        for path in self._modes_paths(device_name):
            try:
                data = durable_files.read(path, _MOST_MODES)
            except OSError as error:
                log.warning("cannot read %s: %s", path, error)
                continue
            text = None if data is None else saved_mode_pages.decode(device_name, data)
            if text is not None:
                return text
        return ""

    def save_modes(self, device_name: str, text: str) -> None:
        """Make ``KEY=value`` lines durable; no lines remove the file.  Raises OSError.

        SCST makes a backup meanwhile, whose name may be that of another device's file. Here none is
        needed; one that SCST has left behind is removed.
        """
        path, backup = self._modes_paths(device_name)
        if text:
            durable_files.write(path, saved_mode_pages.encode(device_name, text))
        old = durable_files.read(backup, _MOST_MODES)
        if old is not None and saved_mode_pages.decode(device_name, old) is not None:
            durable_files.remove(backup)
        if not text:
            durable_files.remove(path)

    def _modes_paths(self, device_name: str) -> tuple[Path, Path]:
        directory = self.path / "vdev_mode_pages"
        return directory / device_name, directory / f"{device_name}1"

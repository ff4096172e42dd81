"""Protection information (SBC-4 4.21) as far as it is a matter of configuration.

A device can be told which type of protection it has and who checks it. Only targets that can
carry protection information may export such a device, and of those there is the copy manager's
alone: no initiator ever sees one, and so nothing is kept in the file for the information.
"""

from __future__ import annotations

import os
from enum import IntFlag
from pathlib import Path
from typing import Final, Protocol

from scstfs.sysfs.errors import invalid

_LAST_TYPE: Final = 3
_APPLICATION_TAG: Final = 0xFFFF
_ALL_TAGS: Final = 0xFFFFFFFFFFFF


class Mode(IntFlag):
    """Who checks or keeps protection information (``dif_mode``)."""

    NONE = 0
    TGT = 1
    SCST = 2
    DEV_CHECK = 4
    DEV_STORE = 8

    @property
    def text(self) -> str:
        """As ``dif_mode`` shows it: ``tgt|dev_store``."""
        return "|".join(str(mode.name).lower() for mode in Mode if mode in self)


_MODES: Final = {str(mode.name).lower(): mode for mode in Mode}


def parse_mode(text: str) -> Mode:
    """The modes in ``tgt|scst|...``, in whatever case; EINVAL for an unknown one.

    A '|' at the end is nothing, one anywhere else has a mode on both sides.
    """
    names = text.lower().split("|")
    if len(names) > 1 and not names[-1]:
        del names[-1]
    chosen = Mode.NONE
    for name in names:
        mode = _MODES.get(name)
        if mode is None:
            raise invalid(f"Error parsing DIF mode {text}")
        chosen |= mode
    return chosen


def kept_tags(dif_type: int, value: int) -> int:
    """What is left of a static tag: the application tag, and with type 3 the reference tag."""
    return value & (_ALL_TAGS if dif_type == _LAST_TYPE else _APPLICATION_TAG)


class ProtectionSettings(Protocol):
    """What a new device was told that has to do with protection information."""

    dif_mode: Mode
    dif_type: int
    dif_static_app_tag: int
    dif_filename: str | None
    active: bool
    read_only: bool


def settle(settings: ProtectionSettings, default_file: Path, *, block: bool) -> None:
    """Check what a new device was told, in SCST's order, and complete it; in a worker thread.

    ``block`` says that the device is a block device, which could check by itself. Raises
    SysfsError EINVAL for what does not go together, and OSError for a file that cannot be opened.
    """
    mode, dif_type = settings.dif_mode, settings.dif_type
    if not dif_type and (mode or settings.dif_filename is not None):
        raise invalid("DIF type 0 goes with no DIF mode and no DIF filename")
    if mode & Mode.DEV_CHECK and not block:
        raise invalid("dev_check supported only for BLOCKIO devices")
    if mode & Mode.DEV_STORE and settings.dif_filename is None:
        settings.dif_filename = str(default_file)
    if settings.active and settings.dif_filename is not None:
        _probe(settings.dif_filename, writable=not settings.read_only)
    if not 0 <= dif_type <= _LAST_TYPE:
        raise invalid(f"DIF type {dif_type} not supported")
    if dif_type and not mode:
        raise invalid("With DIF mode 0 DIF type must be 0")
    if mode & Mode.DEV_CHECK and not mode & Mode.DEV_STORE:
        raise invalid("DEV CHECK is not allowed without DEV STORE")
    settings.dif_static_app_tag = (
        0 if dif_type == 2 else kept_tags(dif_type, settings.dif_static_app_tag)
    )


def _probe(filename: str, *, writable: bool) -> None:
    os.close(os.open(filename, (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC))

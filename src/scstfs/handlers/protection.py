"""Configuration of protection information (SBC-4 4.21).

A device can be given a type of protection, and the places that check it. Only targets that can
carry protection information may export such a device, and only the copy manager's can. So no
initiator ever sees one, and nothing is kept in the file for the information.
"""

from __future__ import annotations

import os
from enum import IntFlag
from pathlib import Path
from typing import Final, Protocol

from scstfs.aio import apart
from scstfs.sysfs.errors import invalid

_LAST_TYPE: Final = 3
_APPLICATION_TAG: Final = 0xFFFF
_ALL_TAGS: Final = 0xFFFFFFFFFFFF


class Mode(IntFlag):
    """The places that check or keep protection information (``dif_mode``)."""

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
    """The modes in ``tgt|scst|...``, in any case; EINVAL for an unknown one.

    A '|' at the end is ignored; any other has a mode on both sides.
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
    """The part of a static tag that is used: the application tag, and with type 3 the reference
    tag.
    """
    return value & (_ALL_TAGS if dif_type == _LAST_TYPE else _APPLICATION_TAG)


class ProtectionSettings(Protocol):
    """The settings of a new device for protection information."""

    dif_mode: Mode
    dif_type: int
    dif_static_app_tag: int
    dif_filename: str | None
    active: bool
    read_only: bool


def settle(settings: ProtectionSettings, default_file: Path, *, block: bool) -> None:
    """Check the settings of a new device, in SCST's order, and complete them; in a worker thread.

    ``block``: the device is a block device, which could check itself. Raises SysfsError EINVAL for
    settings that contradict each other, and OSError for a file that cannot be opened.
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
    apart.close(apart.open_file(filename, os.O_RDWR if writable else os.O_RDONLY))

"""The directories of objects, as components from the tree's root.

Links are made of these; `scstfs.sysfs` replaces a '/' in a name.
"""

from __future__ import annotations

from typing import TypeAlias

from scstfs.core.device import DevHandler, Device
from scstfs.core.session import Session
from scstfs.core.target import Acg, AcgDev, Target

Path: TypeAlias = tuple[str, ...]


def device(which: Device) -> Path:
    """``devices/NAME``."""
    return ("devices", which.name)


def handler(which: DevHandler) -> Path:
    """``handlers/NAME``."""
    return ("handlers", which.name)


def target(which: Target) -> Path:
    """``targets/DRIVER/NAME``."""
    return ("targets", which.driver.name, which.name)


def luns(which: Acg) -> Path:
    """The LUN set's directory: ``TARGET/luns`` or ``TARGET/ini_groups/NAME/luns``."""
    if which.is_default:
        return (*target(which.target), "luns")
    return (*target(which.target), "ini_groups", which.name, "luns")


def lun(which: AcgDev) -> Path:
    """``LUNS/NUMBER``."""
    return (*luns(which.acg), str(which.lun))


def session(which: Session) -> Path:
    """``TARGET/sessions/NAME``."""
    return (*target(which.target), "sessions", which.name)

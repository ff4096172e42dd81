"""Multi-media commands (MMC-6) of vcdrom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from scstfs.core.command import Command
from scstfs.core.device import Answer
from scstfs.scsi import mmc

if TYPE_CHECKING:
    from scstfs.handlers.vdisk import VdiskDevice


def read_toc(device: VdiskDevice, cmd: Command) -> Answer:
    """READ TOC/PMA/ATIP."""
    return mmc.read_toc(cmd.cdb, device.blocks)


COMMANDS: Final[Mapping[str, Callable[[VdiskDevice, Command], Answer]]] = MappingProxyType(
    {"read_toc": read_toc}
)

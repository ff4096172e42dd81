"""Descriptions of a logical unit and of its port, for functions that build data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from scstfs.scsi.identity import Identity
from scstfs.scsi.opcodes import DeviceType

MIB: Final = 1024 * 1024
FILE_PHYSICAL_BLOCK: Final = 4096
SAS_TRANSPORT: Final = 0x0BE0
ISCSI_TRANSPORT: Final = 0x0960


@dataclass(frozen=True, slots=True)
class ThinLimits:
    """The UNMAP limits of a thin provisioned device; sizes in blocks.

    `max_unmap_extents` is the number of ranges that one command may have; FFFFFFFFh is no limit.
    """

    max_unmap_blocks: int
    granularity: int = 1
    alignment: int = 0
    reads_zero: bool = False
    max_unmap_extents: int = 0xFFFFFFFF

    @classmethod
    def of_file(cls, block_size: int, reads_zero: bool = False) -> ThinLimits:
        """Return the limits of a device in a file: 256 MiB at a time, any block."""
        return cls(256 * MIB // block_size, reads_zero=reads_zero)


@dataclass(frozen=True, slots=True)
class TokenLimits:
    """A device's limits for copies by token: lengths in blocks, times in seconds."""

    max_ranges: int
    max_transfer_blocks: int
    optimal_transfer_blocks: int
    default_timeout: int
    max_timeout: int


@dataclass(frozen=True, slots=True)
class LogicalUnit:
    """A device, as its data describes it.

    Sizes are in bytes, `blocks` in blocks.  `volatile_cache` is false with write_through or
    nv_cache; `physical_block_size` None leaves out how many blocks make a physical one
    (lb_per_pb_exp).  `protection` is the type, 0 to 3, of protection information.  `max_atomic` is
    the size of the largest atomic write, 0 if there are none.
    """

    identity: Identity
    device_type: int = DeviceType.DISK
    blocks: int = 0
    block_size: int = 512
    removable: bool = False
    dummy: bool = False
    rotational: bool = True
    volatile_cache: bool = True
    optimal_transfer: int = MIB // 2
    max_write_same: int = 256 * MIB
    physical_block_size: int | None = FILE_PHYSICAL_BLOCK
    thin: ThinLimits | None = None
    tokens: TokenLimits | None = None
    explicit_alua: bool = False
    protection: int = 0
    max_atomic: int = 0


@dataclass(frozen=True, slots=True)
class Port:
    """A target port, as the data of a logical unit shows it.

    `group_id` is that of the target port group, 0 if there is none; `in_device_group` says whether
    the device has asymmetric access states at all, `connected` is false in the states unavailable
    and offline.  The versions are those of the version descriptors of INQUIRY. `wants_token_copies`
    depends on the initiator: it is of the kind that copies by token if VPD page 8Fh is listed.
    """

    rel_tgt_id: int = 0
    group_id: int = 0
    in_device_group: bool = False
    connected: bool = True
    transport_version: int = ISCSI_TRANSPORT
    physical_version: int = 0
    max_transfer: int = 8 * MIB
    wants_token_copies: bool = False

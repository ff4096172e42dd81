"""LOG SENSE and its pages (SPC-4 6.8 and 7.3, SBC-3 6.4)."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from scstfs.scsi.sense import CheckCondition, invalid_field_in_cdb

SUPPORTED_PAGES: Final = 0x00
LOGICAL_BLOCK_PROVISIONING: Final = 0x0C
INFORMATIONAL_EXCEPTIONS: Final = 0x2F

_ALL_SUBPAGES: Final = 0xFF
_SUBPAGE_FORMAT: Final = 0x40
_SAVE: Final = 0x01
_PARAMETER_POINTER_CONTROL: Final = 0x02
# Control byte: a binary list parameter that is not saved and has no threshold.
_BINARY_LIST: Final = 0x03
_LARGEST: Final = 0xFFFFFFFF
_NO_TEMPERATURE: Final = 0xFF


class ResourceCount(enum.IntEnum):
    """Parameter codes of the Logical Block Provisioning page."""

    AVAILABLE = 0x0001
    USED = 0x0002


class ResourceScope(enum.IntEnum):
    """The scope of a resource count."""

    NOT_REPORTED = 0
    LOGICAL_UNIT = 1
    NOT_DEDICATED = 2


@dataclass(frozen=True, slots=True)
class ProvisioningUse:
    """How much of the store behind a thin provisioned device is used.

    Counted in threshold sets of 2**`threshold_exponent` blocks, rounded down.
    """

    available_blocks: int
    used_blocks: int
    threshold_exponent: int = 0
    scope: ResourceScope = ResourceScope.NOT_DEDICATED


def log_refused() -> CheckCondition:
    """Return the error that SCST answers every LOG SENSE and LOG SELECT with."""
    return invalid_field_in_cdb(2, 0)


def log_sense(cdb: bytes, provisioning: ProvisioningUse | None = None) -> bytes:
    """Return a log page for a 10-byte `cdb`, to be cut; raises CheckCondition.

    The Logical Block Provisioning page is there if `provisioning` is given.  The page control field
    makes no difference: there are no thresholds and nothing is saved.
    """
    if cdb[1] & _SAVE:
        raise invalid_field_in_cdb(1, 0)
    if cdb[1] & _PARAMETER_POINTER_CONTROL:
        raise invalid_field_in_cdb(1, 1)
    pages = _pages(provisioning)
    page, subpage = cdb[2] & 0x3F, cdb[3]
    pointer = int.from_bytes(cdb[5:7], "big")
    if page not in pages:
        raise log_refused()
    if subpage and not (subpage == _ALL_SUBPAGES and page == SUPPORTED_PAGES):
        raise invalid_field_in_cdb(3)
    if page == SUPPORTED_PAGES:
        if pointer:
            raise invalid_field_in_cdb(5)
        return _supported_pages(pages, subpage)
    parameters = pages[page]()
    if pointer > max(parameters):
        raise invalid_field_in_cdb(5)
    body = b"".join(
        code.to_bytes(2, "big") + bytes((_BINARY_LIST, len(value))) + value
        for code, value in parameters.items()
        if code >= pointer
    )
    return bytes((page, 0)) + len(body).to_bytes(2, "big") + body


_Parameters = Callable[[], Mapping[int, bytes]]


def _pages(provisioning: ProvisioningUse | None) -> Mapping[int, _Parameters]:
    pages: dict[int, _Parameters] = {SUPPORTED_PAGES: dict}
    if provisioning is not None:
        pages[LOGICAL_BLOCK_PROVISIONING] = lambda: _resource_counts(provisioning)
    pages[INFORMATIONAL_EXCEPTIONS] = _informational_exceptions
    return pages


def _supported_pages(pages: Mapping[int, _Parameters], subpage: int) -> bytes:
    if not subpage:
        return bytes((0, 0)) + len(pages).to_bytes(2, "big") + bytes(pages)
    both = b"".join(bytes((page, number)) for page in pages for number in _subpages(page))
    return bytes((_SUBPAGE_FORMAT, subpage)) + len(both).to_bytes(2, "big") + both


def _subpages(page: int) -> tuple[int, ...]:
    return (0, _ALL_SUBPAGES) if page == SUPPORTED_PAGES else (0,)


def _resource_counts(use: ProvisioningUse) -> Mapping[int, bytes]:
    counts = {
        ResourceCount.AVAILABLE: use.available_blocks,
        ResourceCount.USED: use.used_blocks,
    }
    tail = bytes((use.scope, 0, 0, 0))
    return {
        code: min(blocks >> use.threshold_exponent, _LARGEST).to_bytes(4, "big") + tail
        for code, blocks in counts.items()
    }


def _informational_exceptions() -> Mapping[int, bytes]:
    """No exception to report (ASC and ASCQ zero), and no thermometer."""
    return {0x0000: bytes((0, 0, _NO_TEMPERATURE, 0))}

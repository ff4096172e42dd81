"""The Control mode page (SPC-4 7.5.8), the page with the parameters that change behaviour."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace
from typing import Final, Protocol

from scstfs.scsi.sense import invalid_field_in_parameter_list

_PAGE: Final = bytes.fromhex("0a0a 0000000000000000024b")
_PS: Final = 0x80
_CHANGEABLE: Final = bytes.fromhex("0a0a 1cf608400000000000 00")
_UNCHANGEABLE: Final = bytes.fromhex("0a0a 00000000000000000000")


class PageControl(enum.IntEnum):
    """Page control: the values that MODE SENSE requests."""

    CURRENT = 0
    CHANGEABLE = 1
    DEFAULT = 2
    SAVED = 3


class QErr(enum.IntEnum):
    """What happens to other commands when one ends with CHECK CONDITION (QErr)."""

    RESUME = 0
    ABORT_ALL = 1
    RESERVED = 2
    ABORT_NEXUS = 3


@dataclass(frozen=True, slots=True)
class ControlValues:
    """The changeable parameters of the page, under the names of SPC-4."""

    tas: int = 0
    qerr: int = QErr.RESUME
    tmf_only: int = 0
    swp: int = 0
    d_sense: int = 0
    dpicz: int = 0
    queue_alg: int = 1

    @classmethod
    def of_page(cls, page: bytes) -> ControlValues:
        """Return the values in a checked page."""
        return cls(
            tas=page[5] >> 6 & 1,
            qerr=page[3] >> 1 & 3,
            tmf_only=page[2] >> 4 & 1,
            swp=page[4] >> 3 & 1,
            d_sense=page[2] >> 2 & 1,
            dpicz=page[2] >> 3 & 1,
            queue_alg=page[3] >> 4,
        )


class ControlState(Protocol):
    """The source of the page's values; `scstfs.scsi.modes.ModePages` implements it."""

    task_set: int
    saving: bool
    cluster_mode: bool
    default: ControlValues
    current: ControlValues
    saved: ControlValues


def control_page(state: ControlState, page_control: PageControl) -> bytes:
    """Return the page with the requested values.

    Saved TMF_ONLY is reported with its default, as in SCST.
    """
    head = _PS if state.saving else 0
    if page_control is PageControl.CHANGEABLE:
        page = bytearray(_UNCHANGEABLE if state.cluster_mode else _CHANGEABLE)
    else:
        values = {
            PageControl.CURRENT: state.current,
            PageControl.DEFAULT: state.default,
            PageControl.SAVED: replace(state.saved, tmf_only=state.default.tmf_only),
        }[page_control]
        page = bytearray(_PAGE)
        page[2] = state.task_set << 5 | values.tmf_only << 4 | values.dpicz << 3
        page[2] |= values.d_sense << 2
        page[3] = values.queue_alg << 4 | values.qerr << 1
        page[4] = values.swp << 3
        page[5] = values.tas << 6
    page[0] |= head
    return bytes(page)


def check_control_page(page: bytes, offset: int, task_set: int) -> None:
    """Check the page at `offset` of a parameter list; raises CheckCondition.

    TST must keep its value.
    """
    if page[2] >> 5 != task_set:
        raise invalid_field_in_parameter_list(offset + 2, 5)
    if page[3] >> 4 > 1:
        raise invalid_field_in_parameter_list(offset + 3, 4)
    if page[3] >> 1 & 3 == QErr.RESERVED:
        raise invalid_field_in_parameter_list(offset + 3, 1)

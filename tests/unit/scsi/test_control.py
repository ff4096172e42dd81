from __future__ import annotations

from dataclasses import replace

import pytest

from scstfs.scsi.control import ControlValues, PageControl, check_control_page, control_page
from scstfs.scsi.modes import ModePages
from scstfs.scsi.sense import CheckCondition

FIELDS = (
    # value, byte of the page, its contents
    (ControlValues(tas=1), 5, 0x40),
    (ControlValues(qerr=3), 3, 0x16),
    (ControlValues(tmf_only=1), 2, 0x30),
    (ControlValues(swp=1), 4, 0x08),
    (ControlValues(d_sense=1), 2, 0x24),
    (ControlValues(dpicz=1), 2, 0x28),
    (ControlValues(queue_alg=0), 3, 0x00),
)


@pytest.mark.parametrize(("values", "byte", "contents"), FIELDS)
def test_each_field(values: ControlValues, byte: int, contents: int) -> None:
    page = control_page(ModePages(current=values), PageControl.CURRENT)
    assert page[byte] == contents
    assert ControlValues.of_page(page) == values
    assert control_page(ModePages(default=values), PageControl.DEFAULT)[byte] == contents


def test_task_set() -> None:
    assert control_page(ModePages(task_set=0), PageControl.CURRENT)[2] == 0
    page = control_page(ModePages(task_set=0), PageControl.CURRENT)
    check_control_page(page, 4, 0)
    with pytest.raises(CheckCondition):
        check_control_page(page, 4, 1)


def test_a_page_sent_back_is_accepted() -> None:
    for values, _, _ in FIELDS:
        page = control_page(ModePages(current=replace(values)), PageControl.CURRENT)
        check_control_page(page, 4, 1)

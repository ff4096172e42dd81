from __future__ import annotations

import pytest

from scstfs.core.errors import Refused
from scstfs.drivers import copy_manager
from scstfs.handlers.scsi_device import FoundDevice, ScsiDevice
from scstfs.scsi.opcodes import DeviceType
from scstfs.scsi.transport_id import TransportId
from tests.support.scsi_unit import FakeUnit
from tests.support.whole import Whole


async def test_what_there_is_from_the_beginning(everything: Whole) -> None:
    driver = everything.copy_manager
    assert list(driver.targets) == ["copy_manager_tgt"]
    session = driver.target.session
    assert session.initiator_name == "copy_manager_sess"
    assert session.transport_id == TransportId.copy_manager()
    assert session.executes


async def test_luns_follow_devices(everything: Whole) -> None:
    target = everything.copy_manager.target
    await everything.add_null("a", "b", "c")
    await everything.write("handlers/vdisk_nullio/mgmt", "del_device b\n")
    await everything.add_null("d")
    luns = {lun: acg_dev.device.name for lun, acg_dev in target.default_acg.luns.items()}
    # Numbers are not used again before all others were.
    assert luns == {0: "a", 2: "c", 3: "d"}


async def test_numbers_begin_again(everything: Whole) -> None:
    driver = everything.copy_manager
    await everything.add_null("a")
    driver._next_lun = 16382
    await everything.add_null("b", "c")
    assert sorted(driver.target.default_acg.luns) == [0, 1, 16382]


@pytest.mark.logs("copy_manager_tgt: no LUN is left for c$")
async def test_all_numbers_are_in_use(
    everything: Whole, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(copy_manager, "MAX_LUN", 2)
    await everything.add_null("a", "b", "c")
    assert list(everything.copy_manager.target.default_acg.luns) == [0, 1]
    assert "no LUN is left for c" in caplog.text
    await everything.write("handlers/vdisk_nullio/mgmt", "del_device a\n")
    await everything.add_null("d")
    assert list(everything.copy_manager.target.default_acg.luns) == [1, 0]


async def test_scsi_devices_have_no_lun_here(everything: Whole) -> None:
    found = FoundDevice(DeviceType.DISK, "../../devices/x")
    device = ScsiDevice(everything.scst, "1:0:0:0", found, FakeUnit().opener)
    everything.copy_manager.device_appeared(device)
    assert not everything.copy_manager.target.default_acg.luns


async def test_each_identification_is_counted(everything: Whole) -> None:
    counter = everything.copy_manager.target.session.counters.read
    await everything.add_null("a")
    assert (counter.cmds, counter.io_bytes) == (1, 4096)
    everything.scst.device_changed(everything.scst.devices["a"])
    assert counter.cmds == 2


async def test_only_read_only_devices_have_read_only_luns(everything: Whole) -> None:
    target = everything.copy_manager.target
    await everything.add_null("a", parameters="read_only=1")
    await everything.add_null("b")
    assert list(target.default_acg.luns) == [0, 1]
    for read_only in (False, True):
        target.check_lun(everything.scst.devices["a"], read_only=read_only)
    target.check_lun(everything.scst.devices["b"], read_only=False)
    with pytest.raises(Refused):
        target.check_lun(everything.scst.devices["b"], read_only=True)
    with pytest.raises(Refused):
        target.check_group("G")


async def test_closing_the_session_changes_nothing(everything: Whole) -> None:
    session = everything.copy_manager.target.session
    session.transport.close()
    assert session.is_open
    assert session.transport.report_aen(bytes(8), b"")

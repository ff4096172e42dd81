from __future__ import annotations

from scstfs.core.session import Session
from scstfs.drivers.iscsi.config import ConnectionView, IscsiDriver, Live, NotLive, view
from scstfs.iscsi.admission import LoginTarget
from scstfs.iscsi.keys import defaults
from scstfs.scsi.lun import AddressMethod
from tests.support.sessions import Connection, open_session
from tests.support.whole import Whole


async def test_what_the_driver_is(everything: Whole) -> None:
    driver = everything.iscsi
    assert everything.scst.drivers["iscsi"] is driver
    assert driver.addr_method is AddressMethod.PERIPHERAL
    assert driver.protocol == 5
    assert driver.scsi_transport_version == 0x0960
    assert not driver.enabled
    assert driver.link_local
    assert driver.internal_portals == ()


async def test_targets_are_found_in_either_case(everything: Whole) -> None:
    driver = everything.iscsi
    target = driver.new_target("iqn.Target")
    assert driver.find_target("iqn.target") is None
    driver.add(target)
    assert driver.find_target("IQN.TARGET") is target
    # Only ASCII has cases here.
    assert driver.find_target("iqn.target\u212a") is None
    driver.remove(target)
    assert driver.find_target("iqn.Target") is None


async def test_a_new_target_is_what_a_login_asks_for(everything: Whole) -> None:
    target = everything.iscsi.new_target("iqn.t")
    asked: LoginTarget = target
    assert asked.name == "iqn.t"
    assert not target.enabled
    assert target.alias is None
    assert target.redirect is None
    assert target.parameters == defaults()
    assert not target.credentials.incoming


async def test_a_target_is_enabled_when_it_and_the_driver_are(everything: Whole) -> None:
    target = everything.iscsi.new_target("iqn.t")
    for driver_on, target_on in ((False, True), (True, False), (True, True)):
        everything.iscsi.enabled, target.switched_on = driver_on, target_on
        assert target.enabled is (driver_on and target_on)
        assert target.is_active is target_on


async def test_portals_without_authentication(everything: Whole) -> None:
    everything.iscsi.internal_portal = "10.0.0.1  ::1"
    assert everything.iscsi.internal_portals == ("10.0.0.1", "::1")


async def test_nobody_serves_initiators_by_default(everything: Whole) -> None:
    live: Live = NotLive()
    driver = IscsiDriver(everything.scst)
    target = driver.new_target("iqn.t")
    live.parameter_changed(target, "MaxSessions")
    live.enabled_changed(driver)
    live.target_enabled_changed(target)
    live.alias_changed(target)
    live.target_removed(target)
    live.trace_changed(driver)
    await live.isns_changed(driver, "host", True)
    assert driver.targets == {}
    assert driver.isns_server is None
    assert not target.sessions


async def test_the_iscsi_side_of_a_session(everything: Whole) -> None:
    await everything.add_target("iqn.t")
    session, nexus = open_session(everything.iscsi.targets["iqn.t"], "iqn.me")
    assert view(session) is nexus
    connection: ConnectionView = Connection()
    assert connection.transport == "iSCSI-TCP"
    other: Session = everything.copy_manager.target.session
    assert view(other) is None

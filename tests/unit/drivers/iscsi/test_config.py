from __future__ import annotations

from scstfs.core.session import Session
from scstfs.drivers.iscsi.config import ConnectionView, NotLive, view
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


async def test_what_is_configured_while_nobody_serves_initiators_holds(everything: Whole) -> None:
    everything.iscsi.live = NotLive()
    directory = await everything.add_target()
    rows = [("MaxSessions", "5\n", "5\n[key]\n\n"), ("alias", "me\n", "me\n[key]\n\n")]
    await everything.check_rows(directory, [*rows, ("enabled", "1\n", "1\n")])
    await everything.check_rows("targets/iscsi", [("enabled", "1\n", "1\n\n")])
    await everything.write("targets/iscsi/iSNSServer", "host AccessControl\n")
    assert (everything.iscsi.isns_server, everything.iscsi.isns_access_control) == ("host", True)
    await everything.write("targets/iscsi/mgmt", "del_target iqn.t\n")
    assert not everything.iscsi.targets


async def test_the_iscsi_side_of_a_session(everything: Whole) -> None:
    await everything.add_target("iqn.t")
    session, nexus = open_session(everything.iscsi.targets["iqn.t"], "iqn.me")
    assert view(session) is nexus
    connection: ConnectionView = Connection()
    assert connection.transport == "iSCSI-TCP"
    other: Session = everything.copy_manager.target.session
    assert view(other) is None

"""What a login asks about the target, and the session of a successful login."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scstfs.drivers.iscsi.config import IscsiTarget
from scstfs.drivers.iscsi.initiator_access import InitiatorAccessFiles
from scstfs.drivers.iscsi.login_host import DriverLoginHost
from scstfs.drivers.iscsi.nexus import Nexus
from scstfs.drivers.iscsi.server import Server
from scstfs.iscsi.admission import LoginResult, Redirect
from scstfs.iscsi.codes import LoginStatus
from scstfs.iscsi.discovery import NetworkPortal
from scstfs.iscsi.errors import LoginRefused
from tests.support.still_wire import INITIATOR, ISID, PORTAL, login_of, still_wire
from tests.support.whole import Whole

SECRET = "123456789012"


class Side:
    """A server with an enabled target that has a LUN."""

    def __init__(self, everything: Whole, hosts: Path) -> None:
        self.everything = everything
        self.server = Server(everything.scst, everything.iscsi, InitiatorAccessFiles(hosts))
        self.target = everything.iscsi.targets["iqn.t"]

    def admission(self, local: NetworkPortal = PORTAL) -> DriverLoginHost:
        """The login host of a new connection."""
        return DriverLoginHost(self.server.shared, still_wire(self.server, local))

    def open(self, login: LoginResult[IscsiTarget]) -> Nexus:
        """Accept a login by a new connection."""
        admission = self.admission()
        tsih = admission.open_session(login)
        assert admission.nexus is not None
        assert admission.nexus.tsih == tsih
        return admission.nexus

    def refused(self, login: LoginResult[IscsiTarget]) -> LoginStatus:
        """Return the status of a login that fails without an effect."""
        before = self.server.sessions.of(self.target), list(self.target.sessions)
        admission = self.admission()
        with pytest.raises(LoginRefused) as caught:
            admission.open_session(login)
        assert admission.nexus is None
        assert (self.server.sessions.of(self.target), list(self.target.sessions)) == before
        return LoginStatus(caught.value.status)


@pytest.fixture
async def side(everything: Whole, tmp_path: Path) -> Side:
    directory = await everything.add_target()
    await everything.add_null("disk")
    await everything.write(f"{directory}/luns/mgmt", "add disk 0\n")
    await everything.write(f"{directory}/enabled", "1\n")
    await everything.write("targets/iscsi/enabled", "1\n")
    return Side(everything, tmp_path)


# Questions


async def test_targets_are_found_in_either_case(side: Side) -> None:
    admission = side.admission()
    assert admission.find_target("IQN.T") is side.target
    assert admission.find_target("iqn.u") is None


async def test_logins_may_be_suspended_for_a_while(side: Side) -> None:
    admission = side.admission()
    seen = [admission.is_suspended]
    for change in (side.server.suspend_logins, side.server.resume_logins):
        change()
        seen.append(admission.is_suspended)
    assert seen == [False, True, False]


async def test_discovery_has_users_of_its_own(side: Side) -> None:
    assert not side.admission().discovery_credentials.required
    await side.everything.write("targets/iscsi/mgmt", f"add_attribute IncomingUser me {SECRET}\n")
    assert side.admission().discovery_credentials.incoming == {"me": SECRET.encode()}
    assert not side.target.credentials.required


@pytest.mark.parametrize(
    ("portals", "local", "expected"),
    [
        ("", "127.0.0.1", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("10.0.0.1 127.0.0.1", "127.0.0.1", True),
        ("10.0.0.1", "127.0.0.1", False),
        ("::1", "0:0:0:0:0:0:0:1", True),
    ],
)
async def test_internal_portals(side: Side, portals: str, local: str, expected: bool) -> None:
    await side.everything.write("targets/iscsi/internal_portal", f"{portals}\n")
    assert side.admission(NetworkPortal(local, 3260)).is_internal is expected


@pytest.mark.parametrize(
    ("address", "local", "here"),
    [
        ("10.0.0.1", "127.0.0.1", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("[::1]", "::1", True),
        ("[::2]", "::1", False),
    ],
)
async def test_who_came_to_the_right_address_is_not_sent_elsewhere(
    side: Side, address: str, local: str, here: bool
) -> None:
    admission = side.admission(NetworkPortal(local, 3260))
    assert admission.redirect(side.target) is None
    side.target.redirect = elsewhere = Redirect(address, 3260, permanent=False)
    assert admission.redirect(side.target) is (None if here else elsewhere)


async def test_who_may_not_use_a_target_is_told_why(side: Side, tmp_path: Path) -> None:
    admission = side.admission()
    assert admission.refusal(side.target, INITIATOR) is None
    files = tmp_path / "initiators.deny", tmp_path / "initiators.allow"
    for file, text, refused in (
        (files[0], "iqn.u ALL\n", False),
        (files[0], "iqn.t 127.0.0.0/8\n", True),
        (files[1], "iqn.t 127.0.0.1\n", False),
    ):
        file.write_text(text)
        why = admission.refusal(side.target, INITIATOR)
        assert ("is denied access" in (why or "")) is refused
    await side.everything.write(
        "targets/iscsi/mgmt", "add_target_attribute iqn.t allowed_portal 10.*\n"
    )
    assert "is not allowed at portal 127.0.0.1" in (admission.refusal(side.target, INITIATOR) or "")
    other = side.admission(NetworkPortal("10.0.0.1", 3260))
    assert other.refusal(side.target, INITIATOR) is None
    await side.everything.write("targets/iscsi/iqn.t/luns/mgmt", "clear\n")
    assert other.refusal(side.target, INITIATOR) == f"iqn.t has no LUNs for {INITIATOR}"


async def test_a_session_is_that_of_an_initiator_port(side: Side) -> None:
    nexus = side.open(replace(login_of(side.target), cid=5, exp_cmd_sn=9))
    admission = side.admission()
    found = admission.find_session(side.target, INITIATOR.upper(), ISID)
    assert found is not None
    assert (found.tsih, found.cid, found.exp_cmd_sn) == (nexus.tsih, 5, 9)
    assert found.parameters is nexus.parameters
    assert admission.find_session(side.target, INITIATOR, bytes(6)) is None
    assert admission.find_session(side.target, "iqn.other", ISID) is None


async def test_so_many_sessions_have_room(side: Side) -> None:
    admission, parameters = side.admission(), side.target.parameters
    side.open(login_of(side.target))
    for limit, has_room in ((0, True), (1, False), (2, True)):
        parameters["MaxSessions"] = limit
        assert admission.has_room(side.target) is has_room


# A login that succeeds


async def test_a_discovery_session_is_only_numbered(side: Side) -> None:
    admission = side.admission()
    assert admission.open_session(login_of(None)) == 1
    assert admission.nexus is None
    assert not side.target.sessions


async def test_a_session_begins_and_others_are_told_of(side: Side) -> None:
    first = side.open(login_of(side.target))
    second = side.open(replace(login_of(side.target), isid=b"\x80\0\0\0\0\1"))
    assert (first.tsih, second.tsih) == (1, 2)
    assert side.server.sessions.of(side.target) == [first, second]
    assert [session.transport for session in side.target.sessions.values()] == [first, second]


async def test_another_login_of_the_same_port_takes_the_session_s_place(side: Side) -> None:
    """Also at the maximum number of sessions."""
    side.target.parameters["MaxSessions"] = 1
    first = side.open(login_of(side.target))
    second = side.open(login_of(side.target))
    assert not first.is_open
    assert first.wire.reason
    assert second.is_open
    assert second.tsih != first.tsih
    assert side.server.sessions.of(side.target) == [second]


async def test_a_session_gets_another_connection(side: Side) -> None:
    nexus = side.open(login_of(side.target))
    old = nexus.wire
    assert side.open(replace(login_of(side.target), tsih=nexus.tsih)) is nexus
    assert nexus.wire is not old
    assert old.reason == "connection reinstatement"
    assert not nexus.wire.reason


# A login that fails in the end


async def test_a_target_that_was_disabled_meanwhile(side: Side) -> None:
    side.target.switched_on = False
    assert side.refused(login_of(side.target)) is LoginStatus.TARGET_REMOVED


async def test_a_session_that_has_ended_meanwhile(side: Side) -> None:
    gone = replace(login_of(side.target), tsih=1)
    assert side.refused(gone) is LoginStatus.SESSION_DOES_NOT_EXIST
    nexus = side.open(login_of(side.target))
    assert side.refused(replace(gone, tsih=2)) is LoginStatus.SESSION_DOES_NOT_EXIST
    nexus.end()
    assert side.refused(gone) is LoginStatus.SESSION_DOES_NOT_EXIST


async def test_another_user_gets_no_connection_of_the_session(side: Side) -> None:
    nexus = side.open(replace(login_of(side.target), user="me"))
    again = replace(login_of(side.target), tsih=nexus.tsih, user="other")
    assert side.refused(again) is LoginStatus.AUTHENTICATION_FAILURE
    assert not nexus.wire.reason
    assert side.open(replace(again, user="me")) is nexus


async def test_one_session_too_many(side: Side) -> None:
    side.target.parameters["MaxSessions"] = 1
    side.open(login_of(side.target))
    other = replace(login_of(side.target), isid=bytes(6))
    assert side.refused(other) is LoginStatus.OUT_OF_RESOURCES

from __future__ import annotations

import pytest

from scstfs.iscsi.negotiate import SessionParameters
from tests.support.sessions import Connection, Nexus, open_session
from tests.support.whole import Whole

SESSION = "targets/iscsi/iqn.t/sessions/iqn.me"


@pytest.fixture
async def nexus(everything: Whole) -> Nexus:
    await everything.add_target()
    parameters = SessionParameters(initial_r2t=0, header_digest=2, max_burst_length=65536)
    _, nexus = open_session(everything.iscsi.targets["iqn.t"], "iqn.me", parameters)
    return nexus


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("InitialR2T", "No\n"),
        ("ImmediateData", "Yes\n"),
        ("MaxBurstLength", "65536\n"),
        ("HeaderDigest", "CRC32C\n"),
        ("DataDigest", "None\n"),
        ("sid", "10100003d0200\n"),
        ("reinstating", "0\n"),
        ("thread_pid", "1 2\n"),
        ("127.0.0.1/cid", "0"),
        ("127.0.0.1/ip", "127.0.0.1"),
        ("127.0.0.1/target_ip", "127.0.0.1"),
        ("127.0.0.1/state", "established idle "),
        ("127.0.0.1/transport", "iSCSI-TCP\n"),
    ],
)
async def test_what_a_session_shows(everything: Whole, nexus: Nexus, name: str, shown: str) -> None:
    assert everything.read(f"{SESSION}/{name}") == shown
    assert everything.tree.resolve(f"{SESSION}/{name}").mode == 0o444


async def test_connections_come_and_go(everything: Whole, nexus: Nexus) -> None:
    nexus.connections = {"[::1]": Connection(ip="[::1]")}
    assert "127.0.0.1" not in everything.names(SESSION)
    assert everything.read(f"{SESSION}/[::1]/ip") == "[::1]"


async def test_a_session_is_closed_by_force(everything: Whole, nexus: Nexus) -> None:
    closed = []
    nexus.on_close = lambda: closed.append(True)
    node = everything.tree.resolve(f"{SESSION}/force_close")
    assert node.mode == 0o200
    await node.write(b"x")
    assert closed == [True]


async def test_a_session_that_waits_says_so(everything: Whole, nexus: Nexus) -> None:
    session = everything.iscsi.targets["iqn.t"].sessions["iqn.me"]
    session.reinstating = True
    assert everything.read(f"{SESSION}/reinstating") == "1\n"

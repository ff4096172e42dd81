from __future__ import annotations

import pytest

from scstfs.core.session_lifecycle import close_session
from tests.support.sessions import open_session
from tests.support.whole import Whole

TARGET = "targets/iscsi/iqn.t"
SESSION = f"{TARGET}/sessions/iqn.me"


@pytest.fixture
async def target(everything: Whole) -> Whole:
    await everything.add_null("null1")
    await everything.add_target()
    await everything.write(f"{TARGET}/luns/mgmt", "add null1 0\n")
    return everything


async def test_sessions_come_and_go(target: Whole) -> None:
    driver = target.iscsi.targets["iqn.t"]
    first, _ = open_session(driver, "iqn.me")
    second, _ = open_session(driver, "iqn.me")
    assert target.names(f"{TARGET}/sessions") == ["iqn.me", "iqn.me_1"]
    close_session(first)
    assert target.names(f"{TARGET}/sessions") == ["iqn.me_1"]
    assert target.read(f"{TARGET}/sessions/iqn.me_1/initiator_name") == "iqn.me\n"
    close_session(second)
    assert target.names(f"{TARGET}/sessions") == []


@pytest.mark.parametrize(
    ("initiator", "shown"),
    [
        (".", "_."),
        ("..", "_.."),
        ("a/b", "a!b"),
        ("n" * 300, "n" * 255),
        ("", "_"),
    ],
)
async def test_every_initiator_can_be_shown(target: Whole, initiator: str, shown: str) -> None:
    driver = target.iscsi.targets["iqn.t"]
    open_session(driver, initiator)
    assert target.names(f"{TARGET}/sessions") == [shown]
    assert target.read(f"{TARGET}/sessions/{shown}/initiator_name") == f"{initiator}\n"
    open_session(driver, initiator)
    assert target.names(f"{TARGET}/sessions") == sorted((shown, f"{shown[:253]}_1"))


async def test_counters_of_a_direction_are_reset_together(target: Whole) -> None:
    session, _ = open_session(target.iscsi.targets["iqn.t"], "iqn.me")
    session.counters.read.count(4096, 512)
    session.counters.write.count(8192, 0)
    assert target.read(f"{SESSION}/read_cmd_count") == "1\n"
    assert target.read(f"{SESSION}/read_io_count_kb") == "4\n"
    assert target.read(f"{SESSION}/read_unaligned_cmd_count") == "1\n"
    await target.write(f"{SESSION}/read_io_count_kb", "x\n")
    assert target.read(f"{SESSION}/read_cmd_count") == "0\n"
    assert target.read(f"{SESSION}/read_unaligned_cmd_count") == "0\n"
    assert target.read(f"{SESSION}/write_io_count_kb") == "8\n"


async def test_directions_without_data_have_no_amount(target: Whole) -> None:
    open_session(target.iscsi.targets["iqn.t"], "iqn.me")
    names = target.names(SESSION)
    assert "none_cmd_count" in names
    assert "none_io_count_kb" not in names
    assert "unknown_unaligned_cmd_count" not in names


async def test_luns_of_a_session(target: Whole) -> None:
    session, _ = open_session(target.iscsi.targets["iqn.t"], "iqn.me")
    assert target.link(f"{SESSION}/luns") == "../../luns"
    assert target.names(f"{SESSION}/lun0") == ["active_commands", "thread_index", "thread_pid"]
    assert target.read(f"{SESSION}/lun0/active_commands") == "0\n"
    # The copy manager's was the first.
    assert target.read(f"{SESSION}/lun0/thread_index") == "1\n"
    assert target.read(f"{SESSION}/lun0/thread_pid").strip().isdigit()
    for name in ("lun1", "lun00", "lun"):
        assert target.tree.resolve(SESSION).lookup(name) is None
    session.command_count = 3
    assert target.read(f"{SESSION}/commands") == "3\n"
    assert target.read(f"{SESSION}/active_commands") == "0\n"


async def test_latency_files(target: Whole) -> None:
    session, _ = open_session(target.iscsi.targets["iqn.t"], "iqn.me")
    assert len(target.names(f"{SESSION}/latency")) == 44
    session.latency.add("r", 4096, [("EXEC_WAIT", 100), ("PRE_XMIT_RESP", 50)])
    assert target.read(f"{SESSION}/latency/r4096") == (
        "state count min max avg stddev\n"
        "EXEC_WAIT 1 10.0 10.0 10.0 0.0 us\n"
        "PRE_XMIT_RESP 1 5.0 5.0 5.0 0.0 us\n"
        "total 1 - - 15.0 0.0 us\n"
    )
    await target.write(f"{SESSION}/latency/b512", "1\n")
    assert target.read(f"{SESSION}/latency/r4096") == "state count min max avg stddev\n"

"""What the driver writes to the log as its ``trace_level`` says."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scstfs.iscsi.codes import TaskFunction
from tests.support.initiator import Initiator
from tests.support.iscsi_login import NAME
from tests.support.live_target import TARGET, LiveTarget

LEVEL = "targets/iscsi/trace_level"


@pytest.fixture
def live(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[LiveTarget]:
    caplog.set_level(logging.INFO, logger="scstfs.trace.iscsi")
    with LiveTarget(tmp_path) as target:
        target.add_target()
        yield target


def traced(live: LiveTarget, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What is traced of a session with a reset in it."""
    with live.initiator() as initiator:
        initiator.login(TARGET)
        initiator.task_management(TaskFunction.LOGICAL_UNIT_RESET)
        initiator.logout()
        initiator.wait_closed()
    return [
        record.getMessage().partition(f" of {TARGET}")[2].partition(" from ")[0]
        for record in caplog.records
        if record.name == "scstfs.trace.iscsi"
    ]


def test_functions_are_traced_with_mgmt(live: LiveTarget, caplog: pytest.LogCaptureFixture) -> None:
    (function,) = traced(live, caplog)
    assert function.startswith(": LUN_RESET, LUN 0, tag ")


def end_by_logout(initiator: Initiator) -> str:
    initiator.logout()
    initiator.wait_closed()
    return "logout"


def end_by_closing(initiator: Initiator) -> str:
    initiator.close()
    return "closed by the initiator"


def end_by_reset(initiator: Initiator) -> str:
    initiator.reset()
    return "closed by the initiator"


@pytest.mark.parametrize("target", [TARGET, None], ids=["normal", "discovery"])
@pytest.mark.parametrize("end", [end_by_logout, end_by_closing, end_by_reset])
def test_one_line_tells_of_a_login_and_one_of_its_end(
    live: LiveTarget,
    caplog: pytest.LogCaptureFixture,
    target: str | None,
    end: Callable[[Initiator], str],
) -> None:
    caplog.set_level(logging.INFO, logger="scstfs")
    initiator = live.initiator()
    host, port = initiator.sock.getsockname()  # type: ignore[attr-defined]
    initiator.login(target)
    why = end(initiator)
    initiator.close()
    deadline = time.monotonic() + 5
    while "ended" not in caplog.text and time.monotonic() < deadline:
        time.sleep(0.01)
    session = f"session {NAME} of {TARGET}" if target else f"discovery session of {NAME}"
    told = [record.getMessage() for record in caplog.records if NAME in record.getMessage()]
    assert told == [
        f"{host}:{port}: logged in: {session}",
        f"{host}:{port}: connection of {session} ended: {why}",
    ]


def test_connections_are_traced_with_conn(
    live: LiveTarget, caplog: pytest.LogCaptureFixture
) -> None:
    live.write(LEVEL, "none\n")
    live.write(LEVEL, "add conn\n")
    assert traced(live, caplog) == [" has connection 0", " loses connection 0: logout"]


def pdus(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Direction and kind of the PDUs traced since the last look."""
    found = [
        " ".join(record.getMessage().split(": ")[-2].split()[:2])
        for record in caplog.records
        if record.name == "scstfs.trace.iscsi"
    ]
    caplog.clear()
    return found


READ_10 = "28000000000000000100"


def test_pdus_are_traced_with_pdu(live: LiveTarget, caplog: pytest.LogCaptureFixture) -> None:
    live.write(LEVEL, "none\n")
    with live.log_in() as initiator:
        assert pdus(caplog) == []
        live.write(LEVEL, "add pdu\n")
        assert initiator.command(READ_10, expect=512).data == bytes(512)
        header = initiator.record[-1].pdu.header
        assert bytes(header).hex(" ", 4) in caplog.text
        assert pdus(caplog) == ["received SCSI_COMMAND", "sent DATA_IN"]
        live.write(LEVEL, "del pdu\n")
        assert initiator.command(READ_10, expect=512).data == bytes(512)
        assert pdus(caplog) == []
        # A new connection is traced from its login on.
        live.write(LEVEL, "add pdu\n")
        with live.initiator(name="iqn.other") as other:
            other.login(TARGET)
            other.logout()
            other.wait_closed()
        kinds = pdus(caplog)
        assert kinds[:2] == ["received LOGIN_REQUEST", "sent LOGIN_RESPONSE"]
        assert kinds[-2:] == ["received LOGOUT_REQUEST", "sent LOGOUT_RESPONSE"]


def test_the_fast_path_is_back_when_nobody_wants_to_see_pdus(live: LiveTarget) -> None:
    with live.log_in() as initiator:
        (nexus,) = live.sessions()
        assert nexus.connection is not None
        plain = nexus.connection._fast
        live.write(LEVEL, "add pdu\n")
        assert nexus.connection._fast != plain
        live.write(LEVEL, "del pdu\n")
        assert nexus.connection._fast == plain
        assert initiator.command(READ_10, expect=512).data == bytes(512)


def test_nothing_is_traced_without_categories(
    live: LiveTarget, caplog: pytest.LogCaptureFixture
) -> None:
    live.write(LEVEL, "none\n")
    assert traced(live, caplog) == []

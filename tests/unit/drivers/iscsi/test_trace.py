"""What the driver writes to the log as its ``trace_level`` says."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from scstfs.iscsi.codes import TaskFunction
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


def test_sessions_are_traced_with_mgmt(live: LiveTarget, caplog: pytest.LogCaptureFixture) -> None:
    opened, function, closed = traced(live, caplog)
    assert (opened, closed) == (" is open", " is being closed")
    assert function.startswith(": LUN_RESET, LUN 0, tag ")


def test_connections_are_traced_with_conn(
    live: LiveTarget, caplog: pytest.LogCaptureFixture
) -> None:
    live.write(LEVEL, "none\n")
    live.write(LEVEL, "add conn\n")
    assert traced(live, caplog) == [" has connection 0", " loses connection 0: logout"]


def test_nothing_is_traced_without_categories(
    live: LiveTarget, caplog: pytest.LogCaptureFixture
) -> None:
    live.write(LEVEL, "none\n")
    assert traced(live, caplog) == []

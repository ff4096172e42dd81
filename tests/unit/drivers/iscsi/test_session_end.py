"""How sessions end before the target does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scstfs.iscsi.codes import TaskFunction
from tests.support.live_target import TARGET, LiveTarget

TEST_UNIT_READY = "000000000000"
POWER_ON = bytes((0x29, 0x00))
COMPLETE = 0


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveTarget]:
    with LiveTarget(tmp_path) as target:
        target.add_target()
        yield target


def test_force_close_closes_without_a_word(live: LiveTarget) -> None:
    with live.log_in() as initiator:
        live.write(f"targets/iscsi/{TARGET}/sessions/{initiator.name}/force_close", "1\n")
        assert initiator.wait_closed() == []


def test_target_cold_reset_closes_everybody_without_a_word(live: LiveTarget) -> None:
    with live.log_in() as initiator, live.log_in(number=2) as other:
        assert initiator.task_management(TaskFunction.TARGET_COLD_RESET) == COMPLETE
        assert initiator.wait_closed() == []
        assert other.wait_closed() == []


def test_who_is_back_right_after_a_logout_reinstates_nothing(live: LiveTarget) -> None:
    for _ in range(20):
        with live.initiator() as initiator:
            initiator.login(TARGET)
            assert initiator.command(TEST_UNIT_READY).sense[12:14] == POWER_ON
            initiator.logout()

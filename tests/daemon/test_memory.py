"""What large commands and many sessions take and leave behind in the real daemon."""

from __future__ import annotations

import os
import struct
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.daemon.target import (
    BLOCK,
    CHUNK,
    log_in,
    make_disk,
    manage,
    read,
    resident,
    serving,
    settle,
    write,
)
from tests.support.initiator import Initiator
from tests.support.iscsi_login import ISID
from tests.support.iscsi_wire import ASYNC
from tests.support.namespace import in_namespace
from tests.support.needs import need_mounts
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

LENGTH = 24 << 20
TIMES = 5

SESSIONS = 300
#: Bytes that an idle session may take, and that may be left when all are gone.
IDLE_SESSION = 40_000
LEFT_BEHIND = 8 << 20


@pytest.fixture(autouse=True)
def _possible() -> None:
    need_mounts()


def test_the_memory_of_a_large_command_is_given_back_at_its_end(tmp_path: Path) -> None:
    def body() -> None:
        with serving(tmp_path, make_disk(tmp_path / "disk", LENGTH)) as daemon:
            initiator = log_in(daemon)
            settle(initiator)
            write, read = (
                struct.pack(">BxQIxx", opcode, 0, LENGTH // BLOCK) for opcode in (0x8A, 0x88)
            )
            before = resident(daemon)
            for _ in range(TIMES):
                assert initiator.command(write, data_out=bytes(LENGTH)).status == 0
            assert resident(daemon) < before + 2 * LENGTH
            for _ in range(TIMES):
                assert initiator.command(read, expect=LENGTH).status == 0
            assert resident(daemon) < before + 2 * LENGTH

    in_namespace(body)


def use(initiator: Initiator) -> None:
    """Have data sent both ways."""
    settle(initiator)
    data = bytes(CHUNK)
    assert initiator.wait(write(initiator, 0, data)).status == 0
    assert read(initiator, 0, CHUNK // BLOCK).data == data


def test_idle_sessions_hold_no_buffers_and_leave_nothing_behind(tmp_path: Path) -> None:
    def body() -> None:
        with serving(tmp_path, make_disk(tmp_path / "disk")) as daemon:
            use(log_in(daemon))
            before = resident(daemon)

            def is_little() -> bool:
                return resident(daemon) < before + SESSIONS * IDLE_SESSION

            with ExitStack() as stack:
                initiators = [
                    stack.enter_context(log_in(daemon, isid=ISID[:-2] + number.to_bytes(2)))
                    for number in range(2, SESSIONS + 2)
                ]
                for initiator in initiators:
                    use(initiator)
                wait_until(is_little)
                # Messages to all sessions at the same moment do not use memory for all of them,
                # either.
                os.truncate(tmp_path / "disk", 8 << 20)
                manage("devices/disk/resync_size", "1")
                for initiator in initiators:
                    assert initiator.pump().opcode == ASYNC
                wait_until(is_little)
                # Nor is the beginning of a request.
                for initiator in initiators:
                    initiator.send_bytes(bytes(20))
                wait_until(is_little)
            wait_until(lambda: resident(daemon) < before + LEFT_BEHIND)

    in_namespace(body)

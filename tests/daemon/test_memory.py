"""What large commands leave behind in the real daemon."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.daemon.target import BLOCK, log_in, make_disk, resident, serving, settle
from tests.support.namespace import in_namespace
from tests.support.needs import need_mounts

pytestmark = pytest.mark.slow

LENGTH = 24 << 20
TIMES = 5


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

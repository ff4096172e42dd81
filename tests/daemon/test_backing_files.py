"""Files of devices that are removed or truncated behind the real daemon's back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.daemon.harness import SCST_TGT, Daemon
from tests.daemon.target import (
    BLOCK,
    log_in,
    make_disk,
    manage,
    read,
    serving,
    settle,
    synchronize,
    write,
)
from tests.support.initiator import Initiator, Task
from tests.support.namespace import in_namespace
from tests.support.needs import need_mounts

pytestmark = pytest.mark.slow

SIZE = 1 << 20
DATA = os.urandom(8 * BLOCK)
UNRECOVERED_READ_ERROR = (0x3, 0x11, 0x00)


@pytest.fixture(autouse=True)
def _possible() -> None:
    need_mounts()


def triple(task: Task) -> tuple[int, int, int]:
    """Sense key, additional sense code and qualifier (fixed format, SPC-4 4.5.3)."""
    assert task.status == 0x02
    return task.sense[2] & 0x0F, task.sense[12], task.sense[13]


def works(initiator: Initiator, lun: int) -> None:
    """A LUN takes data, keeps it, and gives it back."""
    assert initiator.wait(write(initiator, 100, DATA, lun)).status == 0
    assert synchronize(initiator, lun).status == 0
    assert read(initiator, 100, 8, lun).data == DATA


def check_log(daemon: Daemon) -> None:
    assert daemon.stop()[0] == 0
    assert "Traceback" not in daemon.log
    assert "ERROR" not in daemon.log


def test_a_file_that_was_removed(tmp_path: Path) -> None:
    """The device has it open, so nothing is lost until the device goes; a new one needs a file."""
    removed, other = (make_disk(tmp_path / name, SIZE) for name in ("removed", "other"))

    def body() -> None:
        with serving(tmp_path, removed, other) as daemon, log_in(daemon) as initiator:
            for lun in (0, 1):
                settle(initiator, lun)
            removed.unlink()
            for lun in (0, 1):
                works(initiator, lun)
            manage("handlers/vdisk_fileio/mgmt", "del_device removed")
            with pytest.raises(FileNotFoundError):
                manage("handlers/vdisk_fileio/mgmt", f"add_device removed filename={removed}")
            settle(initiator, 1)
            works(initiator, 1)
            assert not Path(SCST_TGT, "devices/removed").exists()
            check_log(daemon)
        assert other.read_bytes()[100 * BLOCK : 108 * BLOCK] == DATA

    in_namespace(body)


def test_a_file_that_was_truncated(tmp_path: Path) -> None:
    """Missing parts are medium errors; writing restores them."""
    short, other = (make_disk(tmp_path / name, SIZE) for name in ("short", "other"))
    end = SIZE // BLOCK

    def body() -> None:
        with serving(tmp_path, short, other) as daemon, log_in(daemon) as initiator:
            for lun in (0, 1):
                settle(initiator, lun)
                works(initiator, lun)
            os.truncate(short, 110 * BLOCK)
            assert read(initiator, 100, 8).data == DATA
            for lba, blocks in ((109, 2), (110, 1), (end - 256, 256)):
                assert triple(read(initiator, lba, blocks)) == UNRECOVERED_READ_ERROR
            works(initiator, 1)
            assert initiator.wait(write(initiator, end - 8, DATA)).status == 0
            assert read(initiator, end - 8, 8).data == DATA
            assert read(initiator, 110, 1).data == bytes(BLOCK)
            assert initiator.complaints == []
            check_log(daemon)
        assert short.stat().st_size == SIZE
        assert other.read_bytes()[100 * BLOCK : 108 * BLOCK] == DATA

    in_namespace(body)

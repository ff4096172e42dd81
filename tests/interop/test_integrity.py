"""What was written can be read: under a mixed load, after a kill, from the disk itself.

SCSTFS_SOAK_MIB says how much the mixed load moves, in MiB.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.interop.soak import BLOCK, Mismatch, Worker, cdb_16, log_in, soak
from tests.interop.storage import MIB, TARGET, storage
from tests.support.initiator import Initiator
from tests.support.loop import loop_device

pytestmark = pytest.mark.slow

AMOUNT: Final = int(os.environ.get("SCSTFS_SOAK_MIB", "400")) * MIB
SIZE: Final = 128 * MIB
KINDS: Final = {"read", "write", "unmap", "compare and write", "write same"}

_WRITE, _SYNCHRONIZE_CACHE, _FUA = 0x8A, 0x91, 0x08


@pytest.mark.timeout(3600)
@pytest.mark.each_engine
def test_two_sessions_find_what_they_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = os.environ.get("SCSTFS_SOAK_SEED", "1")
    with storage(tmp_path) as served:
        disk = served.add_disk(tmp_path / "disk", "thin_provisioned=1", size=SIZE)
        served.add_target(TARGET, disk)
        started = time.monotonic()
        workers = soak(served.portal, TARGET, SIZE, AMOUNT, seed)
        seconds = time.monotonic() - started
    moved = sum(worker.moved for worker in workers)
    seen = sum((worker.seen for worker in workers), start=type(workers[0].seen)())
    with capsys.disabled():
        if "SCSTFS_SOAK_MIB" in os.environ:
            print(f"\n{moved / MIB:.0f} MiB in {seconds:.0f} s: {dict(seen)}")
    assert moved >= AMOUNT
    assert set(seen) == KINDS
    assert all(worker.increments for worker in workers)


def test_a_wrong_bit_on_the_disk_is_found(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with storage(tmp_path) as served:
        served.add_target(TARGET, served.add_disk(disk, "thin_provisioned=1", size=16 * MIB))
        initiator = log_in(served.portal, TARGET, 0)
        worker = Worker(initiator, 16 * MIB, 0, 1, seed="1")
        worker.run(8 * MIB)
        with disk.open("r+b") as file:
            file.seek(9 * MIB)
            byte = file.read(1)[0]
            file.seek(9 * MIB)
            file.write(bytes([byte ^ 1]))
        with pytest.raises(Mismatch, match="slot 9"):
            worker.run(0)
        initiator.close()


def write(initiator: Initiator, lba: int, data: bytes, flags: int = 0) -> None:
    cdb = cdb_16(_WRITE, lba, len(data) // BLOCK, flags)
    assert initiator.command(cdb, data_out=data).status == 0


def write_fua(initiator: Initiator, lba: int, data: bytes) -> None:
    write(initiator, lba, data, _FUA)


def write_and_synchronize(initiator: Initiator, lba: int, data: bytes) -> None:
    write(initiator, lba, data)
    assert initiator.command(cdb_16(_SYNCHRONIZE_CACHE, 0, 0)).status == 0


@pytest.mark.parametrize("durably", [write_fua, write_and_synchronize])
def test_a_kill_loses_nothing_that_was_durable(
    tmp_path: Path, durably: Callable[[Initiator, int, bytes], None]
) -> None:
    chance = random.Random(durably.__name__)
    disk = tmp_path / "disk"
    model: dict[int, bytes] = {}
    for is_first in (True, False):
        with storage(tmp_path, ending=False) as served:
            if is_first:
                # After the kill the configuration is restored.
                served.add_disk(disk)
                served.add_target(TARGET, disk.name)
            initiator = log_in(served.portal, TARGET, 1)
            for lba, data in model.items():
                read = initiator.command(cdb_16(0x88, lba, len(data) // BLOCK), expect=len(data))
                assert read.data == data
            for _ in range(10):
                lba = chance.randrange(1000) * 64
                model[lba] = chance.randbytes(64 * BLOCK)
                durably(initiator, lba, model[lba])
            # A command is under way that is not waited for.
            initiator.issue(cdb_16(_WRITE, 64_000, 64), data_out=bytes(64 * BLOCK))
            os.kill(served.running.pid, signal.SIGKILL)
            initiator.close()
        content = disk.read_bytes()
        assert all(content[lba * BLOCK :].startswith(data) for lba, data in model.items())


def flushes(device: str) -> int:
    """The number of flushes of a block device (Documentation/block/stat.rst)."""
    return int(Path("/sys/block", Path(device).name, "stat").read_text().split()[15])


@pytest.mark.parametrize(
    ("handler", "parameters", "flag", "synchronize", "flushed"),
    [
        ("vdisk_fileio", "", 0, False, False),
        ("vdisk_fileio", "", _FUA, False, True),
        ("vdisk_fileio", "", 0, True, True),
        ("vdisk_fileio", "write_through=1", 0, False, True),
        ("vdisk_fileio", "nv_cache=1", _FUA, True, False),
        ("vdisk_blockio", "", _FUA, False, True),
        ("vdisk_blockio", "", 0, True, True),
        ("vdisk_blockio", "nv_cache=1", _FUA, True, False),
    ],
)
def test_what_must_be_durable_is_flushed_to_the_device(
    tmp_path: Path, handler: str, parameters: str, flag: int, synchronize: bool, flushed: bool
) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(4 * MIB))
    data = os.urandom(64 * BLOCK)
    with loop_device(image) as device, storage(tmp_path) as served:
        served.add_device(handler, "disk", f"filename={device}; {parameters}".rstrip("; "))
        served.add_target(TARGET, "disk")
        initiator = log_in(served.portal, TARGET, 1)
        before = flushes(device)
        write(initiator, 8, data, flag)
        if synchronize:
            assert initiator.command(cdb_16(_SYNCHRONIZE_CACHE, 0, 0)).status == 0
        after = flushes(device)
        initiator.close()
    assert (after > before) is flushed
    assert image.read_bytes()[8 * BLOCK :].startswith(data)

"""What /sys says of block devices of any kind; a directory stands in for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from scstfs.handlers import block_device
from scstfs.handlers.block_device import BlockDevice

#: Of a queue that can write zeros and discard.
OFFLOADS = {"queue/write_zeroes_max_bytes": "65536", "queue/discard_max_bytes": "65536"}
ZEROING_MODE = "device/scsi_disk/0:0:0:0/zeroing_mode"


def device(
    monkeypatch: pytest.MonkeyPatch, directory: Path, entries: Mapping[str, str]
) -> BlockDevice:
    for name, text in entries.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(f"{text}\n")
    monkeypatch.setattr(block_device, "_queue_directory", lambda fd: directory / "queue")
    monkeypatch.setattr("scstfs.handlers.syscalls.logical_block_size", lambda fd: 4096)
    return BlockDevice(-1, most_extents=1)


@pytest.mark.parametrize(
    ("entries", "zeros"),
    [
        pytest.param(OFFLOADS, False, id="it may keep the space that it zeroes"),
        pytest.param({**OFFLOADS, "loop/backing_file": "/file"}, True, id="loop"),
        pytest.param({**OFFLOADS, ZEROING_MODE: "writesame_16_unmap"}, True, id="SCSI, 16"),
        pytest.param({**OFFLOADS, ZEROING_MODE: "writesame_10_unmap"}, True, id="SCSI, 10"),
        pytest.param({**OFFLOADS, ZEROING_MODE: "writesame"}, False, id="SCSI, written"),
        pytest.param(
            {**OFFLOADS, "queue/write_zeroes_unmap_max_hw_bytes": "65536"}, True, id="said so"
        ),
        pytest.param(
            {**OFFLOADS, "queue/write_zeroes_unmap_max_hw_bytes": "0"}, False, id="said otherwise"
        ),
        pytest.param(
            {"queue/discard_max_bytes": "65536", "loop/backing_file": "/file"}, False, id="cannot"
        ),
        pytest.param({}, False, id="nothing is known"),
    ],
)
def test_which_devices_read_as_zeros_where_they_were_discarded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, entries: dict[str, str], zeros: bool
) -> None:
    found = device(monkeypatch, tmp_path, entries)
    assert found.discards_to_zeros is zeros
    assert found.thin_limits(512).reads_zero is zeros


@pytest.mark.parametrize(
    ("offset", "length", "sectors"),
    [
        (0, 4096, (0, 4096)),
        (512, 1024, (4096, 4096)),
        (512, 8192, (4096, 8192)),
        (512, 7168, (4096, 4096)),
        (4096, 12800, (4096, 16384)),
    ],
)
def test_whole_sectors(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    offset: int,
    length: int,
    sectors: tuple[int, int],
) -> None:
    assert device(monkeypatch, tmp_path, {}).whole_sectors(offset, length) == sectors


@pytest.mark.parametrize(
    ("entries", "can"),
    [
        ({}, False),
        ({"queue/discard_max_bytes": "0"}, False),
        ({"queue/discard_max_bytes": "1"}, True),
        (OFFLOADS, True),
    ],
)
def test_a_device_gives_back_only_what_it_has_a_limit_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, entries: dict[str, str], can: bool
) -> None:
    assert device(monkeypatch, tmp_path, entries).can_discard is can


def test_limits_are_told_in_blocks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    entries = {
        "queue/discard_max_bytes": str(1 << 20),
        "queue/discard_granularity": "8192",
        "discard_alignment": "4096",
    }
    for size, expected in ((512, (2048, 16, 8)), (4096, (256, 2, 1))):
        limits = device(monkeypatch, tmp_path, entries).thin_limits(size)
        found = limits.max_unmap_blocks, limits.granularity, limits.alignment
        assert found == expected


@pytest.mark.parametrize(("alignment", "told"), [(0, 0), (4096, 8), (8192, 0)])
def test_an_alignment_of_a_whole_granule_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, alignment: int, told: int
) -> None:
    entries = {"queue/discard_granularity": "8192", "discard_alignment": str(alignment)}
    assert device(monkeypatch, tmp_path, entries).thin_limits(512).alignment == told

"""A thin disk stays thin with other projects' initiators."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.interop.storage import MIB, TARGET, Storage, storage
from tests.support.loop import loop_device
from tests.support.needs import need_programs

pytestmark = pytest.mark.slow

SIZE: Final = 64 * MIB
WRITTEN: Final = (0, 17, 18, 63)
"""Which MiB of the image are not zeros."""


@contextmanager
def a_file(served: Storage, disk: Path) -> Iterator[str]:
    yield served.add_disk(disk, "thin_provisioned=1", size=SIZE)


@contextmanager
def a_block_device(served: Storage, disk: Path) -> Iterator[str]:
    with disk.open("wb") as file:
        file.truncate(SIZE)
    with loop_device(disk) as device:
        served.add_device("vdisk_blockio", "disk", f"filename={device}")
        yield "disk"
        served.write("handlers/vdisk_blockio/mgmt", "del_device disk")


def make_image(path: Path) -> None:
    with path.open("wb") as file:
        # Written zeros, no holes: QEMU must find them.
        file.write(bytes(SIZE))
        for place in WRITTEN:
            file.seek(place * MIB)
            file.write(os.urandom(MIB))


def qemu_img(*argv: str) -> str:
    done = subprocess.run(
        ("qemu-img", *argv), capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", [a_file, a_block_device])
@pytest.mark.parametrize("before", ["empty", "full"])
def test_zeros_take_no_space(
    tmp_path: Path, kind: Callable[[Storage, Path], AbstractContextManager[str]], before: str
) -> None:
    need_programs("qemu-img")
    image, disk = tmp_path / "image", tmp_path / "disk"
    make_image(image)
    with storage(tmp_path) as served, kind(served, disk) as name:
        served.add_target(TARGET, name)
        lun = served.url()
        if before == "full":
            full = tmp_path / "full"
            full.write_bytes(os.urandom(SIZE))
            qemu_img("convert", "-n", "-f", "raw", "-O", "raw", str(full), lun)
            assert disk.stat().st_blocks * 512 >= SIZE
        qemu_img("convert", "-n", "-f", "raw", "-O", "raw", str(image), lun)
        qemu_img("compare", "-f", "raw", "-F", "raw", str(image), lun)
        assert disk.stat().st_blocks * 512 < (len(WRITTEN) + 1) * MIB
    assert disk.read_bytes() == image.read_bytes()


def test_holes_are_known_to_be_zeros(tmp_path: Path) -> None:
    """GET LBA STATUS and LBPRZ together: programs that copy the disk need not read them."""
    need_programs("qemu-img")
    disk = tmp_path / "disk"
    with storage(tmp_path) as served, a_file(served, disk) as name:
        served.add_target(TARGET, name)
        for place in WRITTEN:
            with disk.open("r+b") as file:
                file.seek(place * MIB)
                file.write(os.urandom(MIB))
        extents = json.loads(qemu_img("map", "--output=json", "-f", "raw", served.url()))
    found = [(e["start"] // MIB, e["length"] // MIB, e["data"], e["zero"]) for e in extents]
    assert found == [
        (0, 1, True, False),
        (1, 16, False, True),
        (17, 2, True, False),
        (19, 44, False, True),
        (63, 1, True, False),
    ]

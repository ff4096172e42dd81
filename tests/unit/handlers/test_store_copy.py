from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scstfs.core.blocks import SourceError
from scstfs.handlers.store import FileStore, NullStore
from scstfs.handlers.store_copy import STEP, StoreBlocks
from tests.support.fake_store import FakeStore

SIZE = 4 << 20

Open = Callable[[str], StoreBlocks]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    stores: list[FileStore] = []

    def open_it(name: str) -> StoreBlocks:
        path = tmp_path / name
        if not path.exists():
            with path.open("wb") as file:
                file.truncate(SIZE)
        stores.append(FileStore(str(path), read_only=False))
        return StoreBlocks(stores[-1], thin=True, durable=False)

    yield open_it
    for store in stores:
        store.close()


def fill(blocks: StoreBlocks, offset: int, length: int) -> bytes:
    data = os.urandom(length)
    blocks.store.write(offset, memoryview(data))
    return data


def content(blocks: StoreBlocks, offset: int, length: int) -> bytes:
    data = bytearray(length)
    blocks.store.read(offset, memoryview(data))
    return bytes(data)


def _no_kernel(*arguments: object) -> int:
    raise OSError(errno.EXDEV, "another file system")


def _half(*arguments: object) -> int:
    source, target, length, start, to = arguments
    assert isinstance(source, int)
    assert isinstance(target, int)
    assert isinstance(length, int)
    assert isinstance(start, int)
    assert isinstance(to, int)
    data = os.pread(source, max(length // 2, 1), start)
    return os.pwrite(target, data, to)


def _stuck(*arguments: object) -> int:
    return 0


@pytest.mark.parametrize("by", [None, _no_kernel, _half, _stuck])
def test_bytes_arrive(
    opened: Open, monkeypatch: pytest.MonkeyPatch, by: Callable[..., int] | None
) -> None:
    if by is not None:
        monkeypatch.setattr(os, "copy_file_range", by)
    source, target = opened("source"), opened("target")
    data = fill(source, 4096, STEP + 512)
    target.copy_from(source, 4096, 512, STEP + 512)
    assert content(target, 512, STEP + 512) == data


@pytest.mark.parametrize("thin", [True, False])
def test_holes_stay_holes_where_the_target_is_thin(
    opened: Open, tmp_path: Path, thin: bool
) -> None:
    source, other = opened("source"), opened("target")
    target = StoreBlocks(other.store, thin=thin, durable=False)
    fill(target, 0, 1 << 20)
    data = fill(source, 65536, 65536)
    target.copy_from(source, 0, 0, 1 << 20)
    expected = bytes(65536) + data + bytes((1 << 20) - 131072)
    assert content(target, 0, 1 << 20) == expected
    used = (tmp_path / "target").stat().st_blocks * 512
    assert (used < 1 << 20) is thin


@pytest.mark.parametrize("distance", [512, -512, STEP, -STEP, STEP + 512, 1 << 20, -4096])
def test_ranges_that_overlap(opened: Open, distance: int) -> None:
    length, start = 2 * STEP, SIZE // 2 - STEP
    one, two = opened("disk"), opened("disk")
    data = fill(one, start, length)
    # Through another device of the same file, too.
    two.copy_from(one, start, start + distance, length)
    assert content(one, start + distance, length) == data


def test_two_devices_of_one_file_share_their_medium(opened: Open) -> None:
    one, two, other = opened("disk"), opened("disk"), opened("other")
    null = StoreBlocks(NullStore(512), thin=False, durable=False)
    assert one.shares_medium(two)
    assert not one.shares_medium(other)
    assert not one.shares_medium(null)
    assert null.shares_medium(null)


def test_a_source_that_shrank_is_to_blame(opened: Open, tmp_path: Path) -> None:
    source, target = opened("source"), opened("target")
    fill(source, 0, 65536)
    os.truncate(tmp_path / "source", 4096)
    with pytest.raises(SourceError) as failure:
        StoreBlocks(target.store, thin=False, durable=False).copy_from(
            StoreBlocks(FakeSource(source.store), thin=False, durable=False), 0, 0, 65536
        )
    assert failure.value.error.errno == errno.EIO


class FakeSource(FakeStore):
    """Says that all is allocated and reads a real store."""

    def __init__(self, store: object) -> None:
        super().__init__()
        assert isinstance(store, FileStore)
        self._real = store

    def read(self, offset: int, into: memoryview) -> None:
        self._real.read(offset, into)


def test_a_source_that_can_not_be_asked_is_to_blame(opened: Open) -> None:
    source = FakeStore()
    source.errors["extents"] = OSError(errno.EIO, "broken")
    with pytest.raises(SourceError, match="broken"):
        opened("target").copy_from(StoreBlocks(source, thin=False, durable=False), 0, 0, 512)


def test_a_target_that_is_full_is_to_blame(opened: Open) -> None:
    source, target = opened("source"), FakeStore()
    fill(source, 0, 512)
    target.errors["write"] = OSError(errno.ENOSPC, "full")
    with pytest.raises(OSError, match="full"):
        StoreBlocks(target, thin=False, durable=False).copy_from(source, 0, 0, 512)


def test_nothing_is_copied_as_zeros(opened: Open) -> None:
    target = opened("target")
    fill(target, 0, 4096)
    target.copy_from(StoreBlocks(NullStore(4096), thin=False, durable=False), 0, 0, 4096)
    assert content(target, 0, 4096) == bytes(4096)


@pytest.mark.parametrize("durable", [True, False])
def test_only_durable_devices_are_flushed(durable: bool) -> None:
    store = FakeStore()
    StoreBlocks(store, thin=False, durable=durable).flush()
    assert store.calls == ([("flush",)] if durable else [])


@pytest.mark.parametrize(("thin", "method"), [(True, "zero_by_discard"), (False, "zero")])
def test_zeros(thin: bool, method: str) -> None:
    store = FakeStore()
    StoreBlocks(store, thin=thin, durable=False).zero(512, 1024)
    assert store.calls == [(method, 512, 1024)]

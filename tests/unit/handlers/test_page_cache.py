"""Loans of data in the page cache."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from scstfs.handlers.page_cache import LONGEST, LentFile
from tests.support.descriptors import is_open

MIB = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 4096 * 4)
    return path


def lent_fd(fd: int) -> LentFile:
    return LentFile(fd, partial(os.close, fd))


def lent(path: Path) -> LentFile:
    return lent_fd(os.open(path, os.O_RDWR))


@pytest.mark.parametrize(("offset", "length"), [(0, 4096), (4096 * 3 + 512, 1024), (MIB, LONGEST)])
def test_what_was_just_written_is_in_memory(path: Path, offset: int, length: int) -> None:
    file = lent(path)
    loan = file.lend(offset, length)
    assert loan is not None
    assert loan.offset == offset
    assert os.pread(loan.fd, 4, offset) == path.read_bytes()[offset : offset + 4]
    loan.give_back()
    file.close()


def test_holes_are_not_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "holes"
    path.touch()
    os.truncate(path, MIB)
    file = lent(path)
    assert file.lend(0, MIB) is None
    file.close()


def test_one_missing_page_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "hole"
    with path.open("wb") as opened:
        os.truncate(path, MIB)
        for start, pages in ((0, 4), (5, 8)):
            os.pwrite(opened.fileno(), b"x" * 4096 * pages, start * 4096)
    file = lent(path)
    for start, pages in ((0, 4), (5, 8)):
        assert file.lend(start * 4096, pages * 4096) is not None
    assert file.lend(0, 13 * 4096) is None


def test_only_so_much_is_lent(path: Path) -> None:
    file = lent(path)
    assert file.lend(0, LONGEST + 1) is None
    file.close()


def test_a_file_that_grew_or_shrank(path: Path) -> None:
    file = lent(path)
    loan = file.lend(0, 4096)
    assert loan is not None
    loan.give_back()
    size = path.stat().st_size
    with path.open("ab") as opened:
        opened.write(bytes(MIB))
    more = file.lend(size, MIB)
    assert more is not None
    more.give_back()
    os.truncate(path, 4096)
    assert file.lend(0, 8192) is None
    file.close()


def test_the_file_stays_open_until_the_last_loan_is_given_back(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    file = lent_fd(fd)
    first, second = file.lend(0, 4096), file.lend(0, 4096)
    assert first is not None
    assert second is not None
    file.close()
    assert file.lend(0, 4096) is None
    first.give_back()
    assert is_open(fd)
    second.give_back()
    assert not is_open(fd)


def test_a_file_of_which_nothing_is_lent_is_closed_at_once(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    lent_fd(fd).close()
    assert not is_open(fd)


def test_closing_twice_closes_nobody_elses_file(path: Path) -> None:
    file = lent(path)
    file.close()
    other = os.open(path, os.O_RDONLY)
    file.close()
    assert is_open(other)
    os.close(other)

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from scstfs.admin import tree
from scstfs.admin.configuration import without_internal
from scstfs.admin.files import ENTRIES, RESULT, WHY, Files, Text
from scstfs.sysfs import bulk
from scstfs.sysfs.refusals import XATTR
from tests.support.recorded_tree import recorded_tree


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[tuple[str, str]]]:
    """How often each system call was made with each path."""
    counted: Counter[tuple[str, str]] = Counter()

    def count(name: str) -> None:
        original = getattr(os, name)

        def call(path: str, *arguments: Any, **options: Any) -> Any:
            counted[name, str(path)] += 1
            return original(path, *arguments, **options)

        monkeypatch.setattr(os, name, call)

    for name in ("open", "scandir", "stat", "readlink", "listdir"):
        count(name)
    yield counted
    monkeypatch.undo()


@pytest.mark.parametrize("name", ["02_vdisk", "05_luns_and_groups", "08_device_groups"])
def test_a_walk_reads_everything_at_most_once(
    name: str, tmp_path: Path, calls: Counter[tuple[str, str]]
) -> None:
    root = recorded_tree(name, 4, tmp_path)
    calls.clear()
    found = without_internal(tree.walk(Files(str(root))))
    assert len(list(found.walk())) > 20
    ours = {call: times for call, times in calls.items() if call[1].startswith(str(root))}
    assert len(ours) > 100
    assert [call for call, times in ours.items() if times > 1] == []


def tell(directory: Path, *entries: tuple[str, str, str]) -> None:
    """Give a directory the extended attribute with its entries."""
    told = "\0".join("\0".join(entry) for entry in entries)
    os.setxattr(directory, ENTRIES, told.encode("utf-8", "surrogateescape"))


def test_all_there_is_in_a_directory_is_told_at_once_where_that_is_possible(
    tmp_path: Path, calls: Counter[tuple[str, str]]
) -> None:
    assert ENTRIES == bulk.XATTR
    for name in ("a", "long"):
        (tmp_path / name).write_text(f"{name} in the file\n")
    tell(
        tmp_path,
        ("a", "100600", "a told\n[key]\n\n"),
        ("b", "100644", "\udcff\n"),
        ("long", "100644?", ""),
        ("link", "120777", "../where/to"),
        ("directory", "40755", ""),
    )
    calls.clear()
    files = Files(str(tmp_path))
    assert list(files.entries("").items()) == [
        ("a", stat.S_IFREG),
        ("b", stat.S_IFREG),
        ("long", stat.S_IFREG),
        ("link", stat.S_IFLNK),
        ("directory", stat.S_IFDIR),
    ]
    assert files.text("a") == Text("a told\n[key]\n\n", "a told", key=True)
    assert files.text("b").value == "\udcff"
    assert files.link("link") == "../where/to"
    assert (files.is_private("a"), files.is_private("b")) == (True, False)
    assert calls.total() == 0
    assert files.text("long").value == "long in the file"


def test_what_was_told_does_not_count_after_a_write(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_text("in the file")
    (tmp_path / "mgmt").touch()
    tell(tmp_path / "d", ("a", "100644", "told"), ("b", "100644", "told"), ("c", "120777", "told"))
    files = Files(str(tmp_path))
    files.entries("d")
    assert files.text("d/b").value == "told"
    files.write("mgmt", "x\n")
    assert files.text("d/a").value == "in the file"
    with pytest.raises(FileNotFoundError):
        files.link("d/c")


def test_a_tree_that_tells_nothing_at_once_is_not_asked_again(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    files = Files(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        files.entries("none")
    assert list(files.entries("")) == ["d"]
    tell(tmp_path / "d", ("told", "100644", ""))
    assert files.entries("d") == {}


def test_what_was_read_is_remembered_until_something_is_written(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_text("1\n[key]\n")
    files = Files(str(tmp_path))
    assert files.text("d/a") == Text("1\n[key]\n", "1", key=True)
    assert files.entries("d").keys() == {"a"}
    (tmp_path / "d" / "a").write_text("2\n")
    (tmp_path / "d" / "b").write_text("\n")
    assert files.text("d/a").value == "1"
    assert files.entries("d").keys() == {"a"}
    files.write("d/b", "x\n")
    assert files.text("d/a") == Text("2\n", "2", key=False)
    assert files.entries("d").keys() == {"a", "b"}
    (tmp_path / "d" / "a").write_text("3\n")
    files.forget()
    assert files.text("d/a").value == "3"


def test_modes_say_what_is_secret(tmp_path: Path) -> None:
    for name, mode in (("all", 0o644), ("root", 0o600), ("write", 0o200)):
        (tmp_path / name).touch(mode)
        (tmp_path / name).chmod(mode)
    files = Files(str(tmp_path))
    assert [files.is_private(name) for name in ("all", "root", "write")] == [False, True, True]
    assert [files.is_readable(name) for name in ("all", "root", "write")] == [True, True, False]


def test_bytes_that_are_no_text_come_through(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xff\n")
    files = Files(str(tmp_path))
    files.write("a", files.text("a").raw)
    assert (tmp_path / "a").read_bytes() == b"\xff\n"


class Busy(Files):
    """A kernel that continues a command after EAGAIN."""

    def __init__(self, root: Path, answers: list[str]) -> None:
        super().__init__(str(root), sleep=lambda _: None)
        self.answers = answers

    def read(self, name: str) -> str:
        assert name == RESULT
        answer = self.answers.pop(0)
        if not answer:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return answer


def full_pipe(path: Path) -> int:
    """A file to which write(2) is EAGAIN."""
    os.mkfifo(path)
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while True:
            os.write(fd, bytes(4096))
    return fd


@pytest.mark.parametrize("answers", [["0\n"], ["", "", "0\n"], ["-22\n"], ["", "-17\n"]])
def test_a_command_that_takes_long_is_waited_for(
    answers: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fd = full_pipe(tmp_path / "mgmt")
    opened = os.open
    monkeypatch.setattr(
        os, "open", lambda path, flags, *mode: opened(path, flags | os.O_NONBLOCK, *mode)
    )
    outcome = int(answers[-1])
    files = Busy(tmp_path, answers)
    if outcome:
        with pytest.raises(OSError, match=os.strerror(-outcome)):
            files.write("mgmt", "add_device disk\n")
    else:
        assert files.write("mgmt", "add_device disk\n") == 16
    assert files.answers == []
    os.close(fd)


@pytest.mark.parametrize(
    ("told", "notes"),
    [
        ("EINVAL: it is like that", ["it is like that"]),
        ("EINVAL: a: b", ["a: b"]),
        ("EBUSY: of another refusal", []),
        ("EINVAL", []),
    ],
)
def test_a_refusal_says_why_where_the_tree_tells(
    told: str, notes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_fd: int, _data: bytes) -> int:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    assert WHY == XATTR
    (tmp_path / "mgmt").touch()
    os.setxattr(tmp_path / "mgmt", WHY, told.encode())
    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(OSError, match="Invalid argument") as caught:
        Files(str(tmp_path)).write("mgmt", "x\n")
    assert getattr(caught.value, "__notes__", []) == notes

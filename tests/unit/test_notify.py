from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from scstfs.notify import Notifier


@pytest.fixture
def manager() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(1)
        yield sock


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_ready_and_status_go_to_the_managers_socket(
    manager: socket.socket, tmp_path: Path, abstract: bool
) -> None:
    name = str(tmp_path / "notify")
    manager.bind("\0" + name if abstract else name)
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": "@" + name if abstract else name})
    notifier.ready("serving /x")
    assert manager.recv(1000) == b"READY=1\nSTATUS=serving /x"
    notifier.stopping()
    assert manager.recv(1000) == b"STOPPING=1\nSTATUS=closing sessions"


def test_a_status_cannot_smuggle_in_other_fields(manager: socket.socket, tmp_path: Path) -> None:
    name = str(tmp_path / "notify")
    manager.bind(name)
    Notifier(name).ready("one\nMAINPID=1\n")
    assert manager.recv(1000) == b"READY=1\nSTATUS=one MAINPID=1"


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}], ids=["unset", "empty"])
def test_without_a_manager_nothing_happens(
    environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    Notifier.from_environment(environment).ready("x")
    assert caplog.messages == []


def test_a_manager_that_is_gone_is_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    Notifier(str(tmp_path / "gone")).ready("x")
    assert [record.levelno for record in caplog.records] == [logging.DEBUG]
    assert "No such file" in caplog.messages[0]

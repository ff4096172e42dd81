"""`scstfs watch` of a tree that is mounted: what an administrator and initiators do."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.interop.test_status import ENVIRONMENT
from tests.support.served import TARGET, Served, served

pytestmark = pytest.mark.slow

REGISTER = "5f00000000000000180000"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as daemon:
        daemon.add_target(size=1 << 20)
        yield daemon


@contextmanager
def watching(daemon: Served, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "scstfs", "watch", *options]
    argv = daemon.argv_inside(*command, "--mountpoint", str(daemon.mountpoint))
    with subprocess.Popen(argv, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def until(process: subprocess.Popen[str], kind: str, text: str) -> dict[str, Any]:
    """The first event of this kind with this text."""
    assert process.stdout is not None
    for line in process.stdout:
        event: dict[str, Any] = json.loads(line)
        if event["kind"] == kind and text in event["text"]:
            return event
    raise AssertionError(f"no {kind} with {text}")


def test_what_happens(daemon: Served, tmp_path: Path) -> None:
    with watching(daemon, "--json", "--recent") as process:
        until(process, "configuration", "targets/iscsi/enabled: 1")
        with daemon.log_in() as initiator:
            event = until(process, "login", "logged in to")
            assert (event["target"], event["driver"]) == (TARGET, "iscsi")
            initiator.command(REGISTER[:20], data_out=bytes(8) + (7).to_bytes(8, "big") + bytes(8))
            event = until(process, "reservation", "PERSISTENT RESERVE OUT")
            assert event["device"] == "disk0"
        until(process, "logout", "has left")
        daemon.write("handlers/vdisk_fileio/mgmt", f"add_device disk7 filename={tmp_path}/disk0\n")
        until(process, "configuration", "handlers/vdisk_fileio/mgmt: add_device disk7")
        daemon.write("devices/disk7/active", "0\n")
        assert until(process, "medium", "disk7 is not active")["device"] == "disk7"


def test_lines_for_people(daemon: Served) -> None:
    with watching(daemon, "--recent") as process:
        assert process.stdout is not None
        line = process.stdout.readline()
    assert " configuration   targets/iscsi/mgmt: add_target " in line

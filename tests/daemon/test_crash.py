"""The real daemon is killed, or stopped, while an initiator writes."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.daemon.harness import PATIENCE, SCST_TGT, Daemon, mountinfo
from tests.daemon.target import CHUNK, Writer, log_in, make_disk, read, serving, settle
from tests.support.initiator import ClosedError, Initiator
from tests.support.namespace import in_namespace
from tests.support.needs import need_mounts

pytestmark = pytest.mark.slow

CHUNKS = 32


@pytest.fixture(autouse=True)
def _possible() -> None:
    need_mounts()


@contextmanager
def writing(writer: Writer) -> Iterator[None]:
    """Have *writer* write in a thread; on, when it has flushed twice. Ends with its connection."""
    twice = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            for generation in writer.rounds():
                if generation == 2:
                    twice.set()
        except (ClosedError, OSError):
            pass
        except BaseException as failure:
            failures.append(failure)
        finally:
            twice.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert twice.wait(PATIENCE)
    yield
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert not failures, failures
    assert min(writer.flushed.values()) >= 2


def everything(initiator: Initiator) -> bytes:
    """All chunks as the target reads them."""
    size = CHUNK // 512
    return b"".join(read(initiator, chunk * size, size).data for chunk in range(CHUNKS))


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk", CHUNKS * CHUNK)

    def body() -> None:
        before = mountinfo()
        with serving(tmp_path, disk) as daemon:
            initiator = log_in(daemon)
            settle(initiator)
            writer = Writer(initiator, CHUNKS)
            with writing(writer):
                daemon.kill_all()
                daemon.end()
        # For a tenth of a second stat(2) is answered by the kernel itself.
        time.sleep(0.15)
        for look in (os.stat, os.listdir):
            with pytest.raises(OSError, match="not connected"):
                look(SCST_TGT)
        with Daemon(tmp_path, behaviour=None).ready() as daemon:
            # The configuration is what it was, too.
            assert os.listdir(f"{SCST_TGT}/devices") == [disk.name]
            with log_in(daemon) as again:
                settle(again)
                writer.check(everything(again))
            assert daemon.stop()[0] == 0
            assert "Traceback" not in daemon.log
        writer.check(disk.read_bytes())
        assert mountinfo() == before

    in_namespace(body)


def test_a_stop_while_an_initiator_writes_and_a_shell_is_inside(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk", CHUNKS * CHUNK)

    def body() -> None:
        before = mountinfo()
        with (
            serving(tmp_path, disk) as daemon,
            subprocess.Popen(["sleep", "60"], cwd=f"{SCST_TGT}/devices/disk") as shell,
        ):
            initiator = log_in(daemon)
            settle(initiator)
            writer = Writer(initiator, CHUNKS)
            with writing(writer):
                status, seconds = daemon.stop()
            was_alive = shell.poll() is None
            shell.kill()
            assert was_alive
            assert status == 0
            assert seconds < 5
            assert "Traceback" not in daemon.log
            assert "WARNING" not in daemon.log
            assert initiator.complaints == []
        writer.check(disk.read_bytes())
        assert mountinfo() == before

    in_namespace(body)

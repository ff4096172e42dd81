"""What holds for every test: a log without surprises, and property tests without a clock."""

from __future__ import annotations

import logging
import os
import re
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from scstfs.aio import ENGINES, open_engine
from scstfs.aio.engine import ENVIRONMENT

# How long an example takes says more about what else is running than about the code.
settings.register_profile("scstfs", deadline=None)
settings.load_profile("scstfs")

# Whatever started the tests may have these ignored, as nohup(1) and a shell's "&" do, and the
# programs that tests start would inherit that.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


class _Collector(logging.Handler):
    """Keeps warnings and errors."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture(autouse=True)
def nothing_unexpected_in_the_log(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test in which scstfs logs an unexpected warning or error.

    Expected are lines in which a pattern of ``@pytest.mark.logs(...)`` is found.  A traceback is
    one line with its message here, so that nothing but a pattern for the message hides it.
    """
    collector = _Collector()
    logger = logging.getLogger("scstfs")
    logger.addHandler(collector)
    try:
        yield
    finally:
        logger.removeHandler(collector)
    expected = [
        re.compile(pattern) for mark in request.node.iter_markers("logs") for pattern in mark.args
    ]
    surprises = [
        line for line in collector.lines if not any(pattern.search(line) for pattern in expected)
    ]
    if surprises:
        pytest.fail("unexpected in the log:\n" + "\n".join(surprises), pytrace=False)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests marked ``each_engine`` once with each engine of disk I/O."""
    if metafunc.definition.get_closest_marker("each_engine") and not os.environ.get(ENVIRONMENT):
        metafunc.fixturenames.insert(0, "io_engine")
        metafunc.parametrize("io_engine", ENGINES, indirect=True)


@pytest.fixture
def io_engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The engine that scstfs uses, in this process and in those that the test starts."""
    name: str = request.param
    try:
        open_engine(name, lambda _call: None).close()
    except OSError as error:
        pytest.skip(f"no {name} here: {error.strerror}")
    monkeypatch.setenv(ENVIRONMENT, name)
    return name


@pytest.fixture
def memory_path() -> Iterator[Path]:
    """A directory on a file system where writing can be asked not to wait, unlike ext4."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="scstfs-test-") as directory:
        yield Path(directory)

"""Which engine there is depends on what the system allows."""

from __future__ import annotations

import ctypes
import errno
import logging
import platform
import struct
from collections.abc import Callable

import pytest
import trio

from scstfs.aio import ENGINES, open_engine
from scstfs.aio.engine import ENVIRONMENT
from scstfs.options import IoEngine
from tests.support.namespace import fork
from tests.unit.aio.conftest import running

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_LOAD_NUMBER = (0x20, 0, 0, 0)
_ALLOW = (0x06, 0, 0, 0x7FFF0000)
_REFUSE = 0x00050000
#: The same on all architectures that Linux got since (asm-generic/unistd.h), but for AIO.
_IO_URING_SETUP = 425
_IO_SETUP = {"x86_64": 206, "aarch64": 0}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def refuse_system_calls(numbers: list[int], error: int) -> None:
    """Have these fail in the calling process, as the seccomp profiles of containers do."""
    count = len(numbers)
    program = [_LOAD_NUMBER]
    program += [(0x15, count - at, 0, number) for at, number in enumerate(numbers)]
    program += [_ALLOW, (0x06, 0, 0, _REFUSE | error)]
    packed = b"".join(struct.pack("=HBBI", *one) for one in program)
    libc = ctypes.CDLL(None, use_errno=True)
    filtered = _Program(len(program), packed)
    assert libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(filtered), 0, 0) == 0


def in_child(function: Callable[[], None]) -> None:
    failure = fork(function)()
    assert not failure, failure


async def chosen(name: str = "") -> str:
    engine = open_engine(name, trio.lowlevel.current_trio_token().run_sync_soon)
    engine.close()
    return engine.name


@pytest.fixture(autouse=True)
def no_engine_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)


@pytest.mark.parametrize("name", ENGINES)
async def test_the_engine_that_was_asked_for(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with running(name) as engine:
        assert engine.name == name
    assert caplog.messages == [f"disk I/O by {name}"]


@pytest.mark.parametrize(
    ("refused", "error", "expected"),
    [
        ([], errno.EPERM, "io_uring"),
        ([_IO_URING_SETUP], errno.EPERM, "libaio"),
        ([_IO_URING_SETUP], errno.ENOSYS, "libaio"),
        ([_IO_URING_SETUP, "io_setup"], errno.EPERM, "threads"),
    ],
)
def test_the_best_that_the_system_allows(
    refused: list[int | str], error: int, expected: str
) -> None:
    machine = platform.machine()
    if machine not in _IO_SETUP:
        pytest.skip("system call numbers are not known here")
    numbers = [_IO_SETUP[machine] if isinstance(one, str) else one for one in refused]

    def body() -> None:
        records: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
        logger = logging.getLogger("scstfs.aio")
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        if numbers:
            refuse_system_calls(numbers, error)
        assert trio.run(chosen) == expected
        assert len(records) == 1
        assert records[0].startswith(f"disk I/O by {expected}")
        assert records[0].count("no ") == len(numbers)
        if numbers:
            with pytest.raises(OSError, match="Errno") as failure:
                trio.run(chosen, "io_uring")
            assert failure.value.errno == error

    in_child(body)


def test_the_command_line_has_the_same_names() -> None:
    assert tuple(IoEngine) == (IoEngine.BEST, *ENGINES)


async def test_the_environment_asks_for_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCSTFS_IO_ENGINE", "threads")
    assert await chosen() == "threads"
    assert await chosen("libaio") == "libaio"
    monkeypatch.setenv("SCSTFS_IO_ENGINE", "steam")
    with pytest.raises(OSError, match="there is no engine steam"):
        await chosen()

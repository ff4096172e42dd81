from __future__ import annotations

import errno
from collections import deque

import pytest
import trio

from scstfs.handlers import uevents
from scstfs.handlers.uevents import is_about_scsi_devices, parse, watch_scsi_devices

MESSAGE = (
    b"add@/devices/pseudo_0/adapter0/host2/target2:0:0/2:0:0:0/scsi_device/2:0:0:0\0"
    b"ACTION=add\0DEVPATH=/devices/x\0SUBSYSTEM=scsi_device\0SEQNUM=1234\0"
)


@pytest.mark.parametrize(
    ("message", "variables"),
    [
        (MESSAGE, {"ACTION": "add", "SUBSYSTEM": "scsi_device", "SEQNUM": "1234"}),
        (b"add@/x\0A=1=2\0nothing\0", {"A": "1=2"}),
        (b"add@/x\0A=\xff\0", {"A": "\ufffd"}),
        (b"libudev\0\xfe\xed\xca\xfe", {}),
        (b"", {}),
    ],
)
def test_messages(message: bytes, variables: dict[str, str]) -> None:
    assert variables.items() <= parse(message).items()
    assert bool(parse(message)) is bool(variables)


def test_what_is_about_scsi_devices() -> None:
    assert is_about_scsi_devices(parse(MESSAGE))
    assert not is_about_scsi_devices({"SUBSYSTEM": "block"})
    assert not is_about_scsi_devices({})


class Kernel:
    """A socket that gives what a test puts there, then waits for ever."""

    def __init__(self, *answers: bytes | OSError, port: int = 0) -> None:
        self.answers = deque(answers)
        self.port = port
        self.bound: object = None

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    async def bind(self, address: object) -> None:
        self.bound = address

    async def recvfrom(self, _size: int) -> tuple[bytes, tuple[int, int]]:
        if not self.answers:
            await trio.sleep_forever()
        answer = self.answers.popleft()
        if isinstance(answer, OSError):
            raise answer
        return answer, (self.port, 1)


async def changes(monkeypatch: pytest.MonkeyPatch, kernel: Kernel) -> int:
    """How often something is said to have changed."""
    monkeypatch.setattr(trio.socket, "socket", lambda *arguments: kernel)
    count = 0

    async def changed() -> None:
        nonlocal count
        count += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch_scsi_devices, changed)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return count


@pytest.mark.parametrize(
    ("kernel", "count"),
    [
        (Kernel(), 1),
        (Kernel(MESSAGE), 2),
        (Kernel(MESSAGE, b"add@/x\0SUBSYSTEM=block\0", MESSAGE), 3),
        (Kernel(OSError(errno.ENOBUFS, "overrun")), 2),
        # Only the kernel's own messages come from port 0.
        (Kernel(MESSAGE, port=77), 1),
        pytest.param(
            Kernel(MESSAGE, OSError(errno.EBADF, "broken"), MESSAGE),
            2,
            marks=pytest.mark.logs("will not be noticed: broken"),
        ),
    ],
    ids=["silence", "one", "others between", "lost some", "not the kernel", "broken"],
)
async def test_watching(monkeypatch: pytest.MonkeyPatch, kernel: Kernel, count: int) -> None:
    assert await changes(monkeypatch, kernel) == count
    assert kernel.bound == (0, 1)


@pytest.mark.logs("will not be noticed: not (supported|permitted)")
@pytest.mark.parametrize("step", ["socket", "bind"])
async def test_where_the_kernel_can_not_be_listened_to(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, step: str
) -> None:
    kernel = Kernel()

    async def bind(_address: object) -> None:
        raise PermissionError(errno.EPERM, "not permitted")

    def make(*_arguments: object) -> Kernel:
        if step == "socket":
            raise OSError(errno.EPROTONOSUPPORT, "not supported")
        return kernel

    monkeypatch.setattr(kernel, "bind", bind)
    monkeypatch.setattr(trio.socket, "socket", make)
    count = 0

    async def changed() -> None:
        nonlocal count
        count += 1

    await uevents.watch_scsi_devices(changed)
    assert count == 1
    assert "will not be noticed" in caplog.text

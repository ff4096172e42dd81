from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from scstfs.sgutils import libsgutils, sg_pt
from scstfs.sgutils.libsgutils import SgLibrary
from scstfs.sgutils.sg_pt import PassThroughResult, TransportError, execute
from tests.support.needs import lacking

INQUIRY = b"\x12\0\0\0\x24\0"


@pytest.fixture(autouse=True)
def _installed() -> None:
    if not libsgutils.available():
        lacking("needs libsgutils2")


def test_what_is_no_scsi_device() -> None:
    fd = os.open("/dev/null", os.O_RDWR)
    try:
        with pytest.raises(OSError, match="Errno") as failure:
            execute(fd, INQUIRY, data_in=bytearray(36))
    finally:
        os.close(fd)
    assert failure.value.errno == errno.ENOTTY


def test_a_closed_descriptor() -> None:
    with pytest.raises(OSError, match="Errno"):
        execute(1 << 20, INQUIRY, data_in=bytearray(36))


def test_data_goes_one_way() -> None:
    with pytest.raises(ValueError, match="one direction"):
        execute(0, INQUIRY, b"out", data_in=bytearray(36))


@dataclass
class FakeFunctions:
    """The library's functions, with a device of our own behind them."""

    ffi: Any
    run: Callable[[FakeFunctions], int]
    category: int = 0
    status: int = 0
    resid: int = 0
    sense_length: int = 0
    cdb: bytes = b""
    buffers: dict[str, Any] = field(default_factory=dict)
    destroyed: int = 0

    def construct_scsi_pt_obj(self) -> object:
        return self

    def destruct_scsi_pt_obj(self, pt: object) -> None:
        self.destroyed += 1

    def set_scsi_pt_cdb(self, pt: object, cdb: Any, length: int) -> None:
        self.cdb = bytes(self.ffi.buffer(cdb, length))

    def set_scsi_pt_sense(self, pt: object, sense: Any, length: int) -> None:
        self.buffers["sense"] = self.ffi.buffer(sense, length)

    def set_scsi_pt_data_in(self, pt: object, data: Any, length: int) -> None:
        self.buffers["in"] = self.ffi.buffer(data, length)

    def set_scsi_pt_data_out(self, pt: object, data: Any, length: int) -> None:
        self.buffers["out"] = bytes(self.ffi.buffer(data, length))

    def do_scsi_pt(self, pt: object, fd: int, timeout: int, verbose: int) -> int:
        return self.run(self)

    def get_scsi_pt_result_category(self, pt: object) -> int:
        return self.category

    def get_scsi_pt_resid(self, pt: object) -> int:
        return self.resid

    def get_scsi_pt_status_response(self, pt: object) -> int:
        return self.status

    def get_scsi_pt_sense_len(self, pt: object) -> int:
        return self.sense_length

    def get_scsi_pt_os_err(self, pt: object) -> int:
        return errno.ENODEV

    def get_scsi_pt_transport_err(self, pt: object) -> int:
        return 0x07


def fake(
    monkeypatch: pytest.MonkeyPatch, run: Callable[[FakeFunctions], int] = lambda device: 0
) -> FakeFunctions:
    ffi = libsgutils.load().ffi
    functions = FakeFunctions(ffi, run)
    monkeypatch.setattr(sg_pt, "load", lambda: SgLibrary(functions, ffi))
    return functions


def test_data_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(device: FakeFunctions) -> int:
        device.buffers["in"][:5] = b"hello"
        device.resid = 31
        return 0

    functions = fake(monkeypatch, run)
    room = bytearray(40)
    result = execute(3, INQUIRY, data_in=memoryview(room)[2:38])
    assert result == PassThroughResult(0, b"", 5)
    assert room == b"\0\0hello" + bytes(33)
    assert functions.cdb == INQUIRY
    assert functions.destroyed == 1


def test_data_out(monkeypatch: pytest.MonkeyPatch) -> None:
    functions = fake(monkeypatch)
    assert execute(3, b"\x2a" + bytes(9), b"data") == PassThroughResult(0, b"", 0)
    assert functions.buffers["out"] == b"data"
    assert "in" not in functions.buffers


def test_check_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(device: FakeFunctions) -> int:
        device.buffers["sense"][:3] = b"\x70\x00\x05"
        device.category, device.status, device.sense_length, device.resid = 2, 2, 3, 36
        return 0

    fake(monkeypatch, run)
    result = execute(3, INQUIRY, data_in=bytearray(36))
    assert result == PassThroughResult(2, b"\x70\x00\x05", 0)


def test_a_status_comes_from_the_device_whatever_the_host_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(device: FakeFunctions) -> int:
        device.category, device.status = 3, 0x18
        return 0

    fake(monkeypatch, run)
    assert execute(3, bytes(6)) == PassThroughResult(0x18, b"", 0)


def test_a_transport_error_says_what_the_host_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(device: FakeFunctions) -> int:
        device.category = 3
        return 0

    fake(monkeypatch, run)
    with pytest.raises(TransportError) as failure:
        execute(3, bytes(6))
    assert failure.value.host_status == 0x07


@pytest.mark.parametrize("category", [0, 3], ids=["ends", "fails"])
def test_no_memory_stays_in_use(monkeypatch: pytest.MonkeyPatch, category: int) -> None:
    def run(device: FakeFunctions) -> int:
        device.category = category
        device.buffers.clear()
        return 0

    fake(monkeypatch, run)
    room, given = memoryview(bytearray(36)), memoryview(bytearray(512))
    kept: list[BaseException] = []
    for data_out, data_in in ((b"", room), (given, None)):
        try:
            execute(3, INQUIRY, data_out, data_in=data_in)
        except TransportError as error:
            # And with it the frames in which it was raised.
            kept.append(error)
    room.release()
    given.release()
    assert len(kept) == (2 if category else 0)


@pytest.mark.parametrize("resid", [-4, 40])
def test_residuals_that_can_not_be(monkeypatch: pytest.MonkeyPatch, resid: int) -> None:
    def run(device: FakeFunctions) -> int:
        device.resid = resid
        return 0

    fake(monkeypatch, run)
    assert 0 <= execute(3, INQUIRY, data_in=bytearray(36)).received <= 36


@pytest.mark.parametrize(
    ("result", "category", "number"),
    [
        (2, 0, errno.ETIMEDOUT),
        (1, 0, errno.EINVAL),
        (-errno.EPERM, 0, errno.EPERM),
        (0, 4, errno.ENODEV),
        (0, 3, errno.EIO),
    ],
    ids=["timeout", "bad parameters", "start", "system", "transport"],
)
def test_failures(monkeypatch: pytest.MonkeyPatch, result: int, category: int, number: int) -> None:
    def run(device: FakeFunctions) -> int:
        device.category = category
        return result

    functions = fake(monkeypatch, run)
    with pytest.raises(OSError, match="Errno") as failure:
        execute(3, INQUIRY, data_in=bytearray(36))
    assert failure.value.errno == number
    assert functions.destroyed == 1

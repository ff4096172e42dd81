from __future__ import annotations

import logging
from pathlib import Path

import pytest

from scstfs.scsi import sense
from scstfs.sgutils import libsgutils, t10_names
from scstfs.sgutils.libsgutils import LibraryMissing
from tests.support.needs import lacking
from tests.support.target import target

INVALID_FIELD = sense.invalid_field_in_cdb(2, 0).sense


@pytest.fixture
def installed() -> None:
    if not libsgutils.available():
        lacking("needs libsgutils2")


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> libsgutils.SgLibrary:
        raise LibraryMissing

    monkeypatch.setattr(t10_names, "load", load)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("descriptor", [False, True])
def test_sense_data_in_words(descriptor: bool) -> None:
    words = t10_names.sense_text(INVALID_FIELD.encode(descriptor))
    assert "Illegal Request" in words
    assert "Invalid field in cdb" in words
    assert "byte 2 bit 0" in words
    assert "\n" not in words


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("data", [b"", b"\x70", b"\xff" * 300])
def test_sense_data_that_is_none(data: bytes) -> None:
    assert isinstance(t10_names.sense_text(data), str)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("cdb", "name"),
    [
        (b"\x28" + bytes(9), "Read(10)"),
        (b"\x83\x10" + bytes(14), "Populate token"),
        (b"\x7f" + bytes(7) + b"\0\x09" + bytes(22), "Read(32)"),
        (b"\x12", "Inquiry"),
    ],
)
def test_names_of_commands(cdb: bytes, name: str) -> None:
    assert t10_names.command_name(cdb, 0) == name


@pytest.mark.usefixtures("missing")
def test_without_the_library_there_are_numbers() -> None:
    assert t10_names.sense_text(b"\x70\x00\x05") == "70 00 05"
    assert t10_names.command_name(b"\x28\x00", 0) == "28 00"


@pytest.mark.usefixtures("installed")
async def test_what_initiators_are_told_can_be_traced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with target(tmp_path) as system:
        await system.add("vdisk_nullio", "disk")
        initiator = system.initiator("iqn.a")
        await initiator.execute(b"\x12\0\x80\0\xff\0", data_in=255)
        assert "Illegal Request" not in caplog.text
        system.scst.env.trace.flags |= system.scst.env.trace.bit("scsi")
        await initiator.execute(b"\x12\0\x80\0\xff\0", data_in=255)
        await initiator.execute(bytes(6), lun=7)
    assert (
        "iqn.a: Inquiry on disk: Fixed format, current; Sense key: Illegal Request" in caplog.text
    )
    assert "Test Unit Ready on LUN 0007000000000000" in caplog.text

from __future__ import annotations

import errno

import pytest

from scstfs.handlers.settings import VdiskSettings, apply
from scstfs.handlers.vdisk_rows import SETTINGS
from scstfs.sysfs.errors import SysfsError
from scstfs.sysfs.mgmt import Lexer, Parameter


def parameters(text: str) -> list[Parameter]:
    return list(Lexer(text.encode()).parameters())


def parsed(text: str) -> VdiskSettings:
    settings = VdiskSettings()
    apply(settings, parameters(text), SETTINGS)
    return settings


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("filename=/back/disk1", "filename", "/back/disk1"),
        ("read_only=1", "read_only", True),
        ("read_only=2", "read_only", False),  # one bit
        ("READ_ONLY=3", "read_only", True),
        ("rotational=2", "rotational", False),
        ("async=2", "asynchronous", True),  # any number but 0
        ("thin_provisioned=0", "thin_provisioned", False),
        ("tst=0", "tst", 0),
        ("dummy=1", "dummy", True),
        ("blocksize=4096", "block_shift", 12),
        ("blocksize=513", "block_shift", 9),
        ("blocksize=0", "block_shift", 9),
        ("blocksize=0x1000", "block_shift", 12),
        ("size=1048576", "size", 1 << 20),
        ("size_mb=3", "size", 3 << 20),
        ("size_mb=0", "size", 0),
        ("numa_node_id=-1", "numa_node_id", -1),
        ("numa_node_id=4294967295", "numa_node_id", -1),
        ("t10_dev_id=abc", "t10_dev_id", "abc"),
        (f"t10_dev_id={'x' * 25}", "t10_dev_id", "x" * 25),
    ],
)
def test_values(text: str, field: str, value: object) -> None:
    assert getattr(parsed(text), field) == value


@pytest.mark.parametrize(
    "text",
    [
        "unknown=1",
        "read_only",
        "read_only=",
        "read_only=1 2",
        "read_only=yes",
        "read_only=-1",
        "tst=2",
        "dummy=2",
        "blocksize=511",
        "blocksize=512k",
        "filename=relative",
        "filename=/a;filename=/b",
        "numa_node_id=-2",
        "t10_dev_id=" + "x" * 26,
        "dif_mode=tgt|bogus",
        "dif_mode=|tgt",
        "dif_mode=tgt||scst",
        "dif_filename=relative",
        "size=1000",
        "blocksize=4096;size=512",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(SysfsError) as refused:
        parsed(text)
    assert refused.value.errno == errno.EINVAL


def test_what_a_number_overflows_is_out_of_range() -> None:
    with pytest.raises(SysfsError) as refused:
        parsed("size=99999999999999999999")
    assert refused.value.errno == errno.ERANGE


def test_a_handler_takes_only_its_own_parameters() -> None:
    with pytest.raises(SysfsError):
        apply(VdiskSettings(), parameters("filename=/x"), [s for s in SETTINGS if s.name == "tst"])


def test_parameters_are_taken_from_left_to_right() -> None:
    settings = VdiskSettings()
    with pytest.raises(SysfsError):
        apply(settings, parameters("read_only=1;nonsense=1;removable=1"), SETTINGS)
    assert (settings.read_only, settings.removable) == (True, False)

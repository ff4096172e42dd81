from __future__ import annotations

import pytest

from scstfs.drivers.iscsi.parameters import BY_NAME, parse
from scstfs.sysfs.errors import SysfsError


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("MaxBurstLength", "4096", 4096),
        ("MaxBurstLength", "0x1000", 4096),
        ("MaxBurstLength", "010000", 4096),
        ("MaxBurstLength", "4096K", 4096),
        ("MaxBurstLength", ":default:", 1048576),
        ("MaxBurstLength", "4294971392", 4096),
        ("MaxSessions", "", 0),
        ("MaxSessions", "none", 0),
        ("MaxOutstandingR2T", "65535", 65535),
        ("InitialR2T", "Yes", 1),
        ("InitialR2T", "No", 0),
        ("HeaderDigest", "None", 1),
        ("HeaderDigest", "CRC32C", 2),
        ("HeaderDigest", "crc32c,NONE", 3),
        ("HeaderDigest", "CRC32Cx", 2),
    ],
)
def test_values(name: str, text: str, value: int) -> None:
    assert parse(BY_NAME[name.lower()], text) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("MaxBurstLength", "511"),
        ("MaxBurstLength", "1048577"),
        ("MaxBurstLength", "-1"),
        ("MaxBurstLength", "x"),
        ("NopInTimeout", "1"),
        ("InitialR2T", "yes"),
        ("InitialR2T", "1"),
        ("InitialR2T", ""),
        ("HeaderDigest", ""),
        ("HeaderDigest", "MD5"),
        ("HeaderDigest", "CRC32C,"),
        ("MaxBurstLength", ":Default:"),
    ],
)
def test_what_is_no_value(name: str, text: str) -> None:
    with pytest.raises(SysfsError) as caught:
        parse(BY_NAME[name.lower()], text)
    assert caught.value.errno == 22

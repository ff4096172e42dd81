from __future__ import annotations

from dataclasses import fields

import pytest

from scstfs.iscsi.keys import (
    ATTRIBUTES,
    KEYS,
    SESSION_ATTRIBUTES,
    Bounds,
    KeyKind,
    KeyPhase,
    defaults,
)
from scstfs.iscsi.negotiate import SessionParameters

# Target attributes of SCST 3.10: default as printed, least and greatest value accepted.
TARGET_ATTRIBUTES = {
    "QueuedCommands": ("32", 1, 2048),
    "RspTimeout": ("90", 2, 65535),
    "NopInInterval": ("30", 0, 65535),
    "NopInTimeout": ("30", 2, 65535),
    "MaxSessions": ("0", 0, 65535),
    "InitialR2T": ("No", 0, 1),
    "ImmediateData": ("Yes", 0, 1),
    "MaxRecvDataSegmentLength": ("1048576", 512, 1048576),
    "MaxXmitDataSegmentLength": ("1048576", 512, 1048576),
    "MaxBurstLength": ("1048576", 512, 1048576),
    "FirstBurstLength": ("65536", 512, 1048576),
    "MaxOutstandingR2T": ("32", 1, 65535),
    "HeaderDigest": ("None", 1, 3),
    "DataDigest": ("None", 1, 3),
    "RDMAExtensions": ("No", 0, 1),
}

# Default and range of RFC 7143 13.
STANDARD = {
    "InitialR2T": (1, 0, 1),
    "ImmediateData": (1, 0, 1),
    "MaxRecvDataSegmentLength": (8192, 512, 16777215),
    "MaxBurstLength": (262144, 512, 16777215),
    "FirstBurstLength": (65536, 512, 16777215),
    "MaxConnections": (1, 1, 65535),
    "DefaultTime2Wait": (2, 0, 3600),
    "DefaultTime2Retain": (20, 0, 3600),
    "MaxOutstandingR2T": (1, 1, 65535),
    "DataPDUInOrder": (1, 0, 1),
    "DataSequenceInOrder": (1, 0, 1),
    "ErrorRecoveryLevel": (0, 0, 2),
    "iSCSIProtocolLevel": (0, 0, 31),
}


def test_attributes_are_those_of_scst() -> None:
    table = {}
    for key in ATTRIBUTES:
        assert key.attribute is not None
        table[key.name] = (key.show(key.default), key.attribute.low, key.attribute.high)
    assert table == TARGET_ATTRIBUTES


def test_defaults_are_one_value_for_each_attribute() -> None:
    values = defaults()
    assert values.keys() == TARGET_ATTRIBUTES.keys()
    assert values["MaxBurstLength"] == 1048576
    values["MaxBurstLength"] = 512
    assert defaults()["MaxBurstLength"] == 1048576


@pytest.mark.parametrize(("name", "row"), STANDARD.items(), ids=STANDARD)
def test_standard_defaults_and_ranges(name: str, row: tuple[int, int, int]) -> None:
    key = KEYS[name]
    assert (key.rfc_default, *key.bounds) == row
    assert key.clause.startswith("13.")


def test_session_attributes() -> None:
    assert {key.name for key in SESSION_ATTRIBUTES} == {
        "InitialR2T",
        "ImmediateData",
        "MaxRecvDataSegmentLength",
        "MaxXmitDataSegmentLength",
        "MaxBurstLength",
        "FirstBurstLength",
        "MaxOutstandingR2T",
        "HeaderDigest",
        "DataDigest",
    }


def test_session_parameters_start_as_the_table_says() -> None:
    parameters = SessionParameters()
    in_table = {key.field: key.rfc_default for key in KEYS.values() if key.field}
    assert {field.name: getattr(parameters, field.name) for field in fields(parameters)} == in_table


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("InitialR2T", 1, "Yes"),
        ("ImmediateData", 0, "No"),
        ("MaxBurstLength", 512, "512"),
        ("HeaderDigest", 1, "None"),
        ("HeaderDigest", 2, "CRC32C"),
        ("DataDigest", 3, "None,CRC32C"),
    ],
)
def test_show(name: str, value: int, shown: str) -> None:
    assert KEYS[name].show(value) == shown


@pytest.mark.parametrize(("value", "clamped"), [(0, 2), (2, 2), (5, 5), (9, 9), (10, 9)])
def test_bounds(value: int, clamped: int) -> None:
    assert Bounds(2, 9).clamp(value) == clamped


def test_rows_are_consistent() -> None:
    for name, key in KEYS.items():
        assert name == key.name
        assert (key.phases == KeyPhase.NEVER) is (key.kind is KeyKind.SETTING)
        assert (key.kind is KeyKind.LIST) is bool(key.choices)
        for other in filter(None, (key.at_most, key.peer_limits)):
            assert KEYS[other].field
        if key.attribute is not None:
            assert key.attribute.low <= key.default <= key.attribute.high

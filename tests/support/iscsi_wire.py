"""iSCSI PDUs for tests: a separate codec, so that the product's is not tested against itself.

Deliberately simple and permissive: a header is 48 bytes with names for some of them, and every
field takes any value. Layouts are (offset, length) as in the figures of RFC 7143 clause 11.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

NOP_OUT, SCSI_COMMAND, TASK_REQUEST, LOGIN_REQUEST = 0x00, 0x01, 0x02, 0x03
TEXT_REQUEST, DATA_OUT, LOGOUT_REQUEST, SNACK = 0x04, 0x05, 0x06, 0x10
NOP_IN, SCSI_RESPONSE, TASK_RESPONSE, LOGIN_RESPONSE = 0x20, 0x21, 0x22, 0x23
TEXT_RESPONSE, DATA_IN, LOGOUT_RESPONSE = 0x24, 0x25, 0x26
R2T, ASYNC, REJECT = 0x31, 0x32, 0x3F
NO_TAG: Final = 0xFFFFFFFF

FINAL: Final = 0x80
CONTINUE: Final = 0x40
READ: Final = 0x40
WRITE: Final = 0x20

Layout: TypeAlias = Mapping[str, tuple[int, int]]

_COMMON: Final[Layout] = {
    "opcode": (0, 1),
    "flags": (1, 1),
    "ahs_length": (4, 1),
    "data_length": (5, 3),
    "itt": (16, 4),
}
_LUN: Final[Layout] = {"lun": (8, 8)}
_TTT: Final[Layout] = {"ttt": (20, 4)}
_NUMBERS: Final[Layout] = {"cmd_sn": (24, 4), "exp_stat_sn": (28, 4)}
_ANSWER: Final[Layout] = {"stat_sn": (24, 4), "exp_cmd_sn": (28, 4), "max_cmd_sn": (32, 4)}

LAYOUTS: Final[Mapping[int, Layout]] = {
    NOP_OUT: {**_COMMON, **_LUN, **_TTT, **_NUMBERS},
    SCSI_COMMAND: {**_COMMON, **_LUN, "expected_length": (20, 4), **_NUMBERS, "cdb": (32, 16)},
    TASK_REQUEST: {
        **_COMMON,
        **_LUN,
        "referenced_tag": (20, 4),
        **_NUMBERS,
        "ref_cmd_sn": (32, 4),
        "exp_data_sn": (36, 4),
    },
    LOGIN_REQUEST: {
        **_COMMON,
        "version_max": (2, 1),
        "version_min": (3, 1),
        "isid": (8, 6),
        "tsih": (14, 2),
        "cid": (20, 2),
        **_NUMBERS,
    },
    TEXT_REQUEST: {**_COMMON, **_LUN, **_TTT, **_NUMBERS},
    DATA_OUT: {
        **_COMMON,
        **_LUN,
        **_TTT,
        "exp_stat_sn": (28, 4),
        "data_sn": (36, 4),
        "buffer_offset": (40, 4),
    },
    LOGOUT_REQUEST: {**_COMMON, "cid": (20, 2), **_NUMBERS},
    SNACK: {
        **_COMMON,
        **_LUN,
        **_TTT,
        "exp_stat_sn": (28, 4),
        "beg_run": (40, 4),
        "run_length": (44, 4),
    },
    NOP_IN: {**_COMMON, **_LUN, **_TTT, **_ANSWER},
    SCSI_RESPONSE: {
        **_COMMON,
        "response": (2, 1),
        "status": (3, 1),
        "snack_tag": (20, 4),
        **_ANSWER,
        "exp_data_sn": (36, 4),
        "bidi_residual": (40, 4),
        "residual": (44, 4),
    },
    TASK_RESPONSE: {**_COMMON, "response": (2, 1), **_ANSWER},
    LOGIN_RESPONSE: {
        **_COMMON,
        "version_max": (2, 1),
        "version_active": (3, 1),
        "isid": (8, 6),
        "tsih": (14, 2),
        **_ANSWER,
        "status": (36, 2),
    },
    TEXT_RESPONSE: {**_COMMON, **_LUN, **_TTT, **_ANSWER},
    DATA_IN: {
        **_COMMON,
        "status": (3, 1),
        **_LUN,
        **_TTT,
        **_ANSWER,
        "data_sn": (36, 4),
        "buffer_offset": (40, 4),
        "residual": (44, 4),
    },
    LOGOUT_RESPONSE: {
        **_COMMON,
        "response": (2, 1),
        **_ANSWER,
        "time2wait": (40, 2),
        "time2retain": (42, 2),
    },
    R2T: {
        **_COMMON,
        **_LUN,
        **_TTT,
        **_ANSWER,
        "r2t_sn": (36, 4),
        "buffer_offset": (40, 4),
        "desired_length": (44, 4),
    },
    ASYNC: {
        **_COMMON,
        **_LUN,
        **_ANSWER,
        "event": (36, 1),
        "vendor_code": (37, 1),
        "parameter1": (38, 2),
        "parameter2": (40, 2),
        "parameter3": (42, 2),
    },
    REJECT: {**_COMMON, "reason": (2, 1), **_ANSWER, "data_sn": (36, 4)},
}
_BLOBS: Final = frozenset({"lun", "cdb", "isid"})


class Pdu:
    """A PDU: 48-byte header, additional header segments, data without padding."""

    def __init__(self, header: bytes, data: bytes = b"", ahs: bytes = b"") -> None:
        assert len(header) == 48
        self.header = bytearray(header)
        self.data = data
        self.ahs = ahs

    @classmethod
    def make(
        cls,
        opcode: int,
        *,
        data: bytes = b"",
        ahs: bytes = b"",
        immediate: bool = False,
        **fields: int | bytes,
    ) -> Pdu:
        """Build a PDU; lengths are right unless they are among the fields."""
        made = cls(bytes(48), data, ahs)
        made.header[0] = opcode | (0x40 if immediate else 0)
        made["data_length"] = len(data)
        made["ahs_length"] = len(ahs) // 4
        for name, value in fields.items():
            made[name] = value
        return made

    @property
    def opcode(self) -> int:
        return self.header[0] & 0x3F

    @property
    def flags(self) -> int:
        return self.header[1]

    @property
    def layout(self) -> Layout:
        return LAYOUTS.get(self.opcode, _COMMON)

    def __getitem__(self, name: str) -> int:
        offset, length = self.layout[name]
        return int.from_bytes(self.header[offset : offset + length], "big")

    def __setitem__(self, name: str, value: int | bytes) -> None:
        offset, length = self.layout[name]
        if isinstance(value, int):
            self.header[offset : offset + length] = (value % 256**length).to_bytes(length, "big")
        else:
            self.header[offset : offset + length] = value.ljust(length, b"\0")[:length]

    def __contains__(self, name: str) -> bool:
        return name in self.layout

    def blob(self, name: str) -> bytes:
        offset, length = self.layout[name]
        return bytes(self.header[offset : offset + length])

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The data as key=value text."""
        return parse_pairs(self.data)

    @property
    def raw(self) -> bytes:
        """All bytes as sent without digests."""
        return bytes(self.header) + self.ahs + self.data + bytes(-len(self.data) % 4)

    def __repr__(self) -> str:
        shown = (
            f"{name}={self.blob(name).hex() if name in _BLOBS else hex(self[name])}"
            for name in self.layout
        )
        return f"<Pdu {' '.join(shown)} data={self.data[:64]!r}>"


def text_of(pairs: Iterable[tuple[str, str]]) -> bytes:
    return b"".join(f"{key}={value}".encode() + b"\0" for key, value in pairs)


def parse_pairs(data: bytes) -> list[tuple[str, str]]:
    if not data:
        return []
    assert data.endswith(b"\0"), f"text does not end with NUL: {data!r}"
    pairs = []
    for item in data[:-1].split(b"\0"):
        key, equals, value = item.decode().partition("=")
        assert equals, f"no '=' in {item!r}"
        pairs.append((key, value))
    return pairs


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_CRC: Final = _crc_table()


def crc32c(data: bytes) -> bytes:
    """The digest of RFC 7143 13.1 in its byte order on the wire."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return (crc ^ 0xFFFFFFFF).to_bytes(4, "little")

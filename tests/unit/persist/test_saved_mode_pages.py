from __future__ import annotations

import pytest

from scstfs.persist.saved_mode_pages import decode, encode


def test_encode() -> None:
    assert encode("disk1", "TAS=1\nQERR=3\n") == b"disk1\nTAS=1\nQERR=3\n"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"disk1\nTAS=1\nQERR=3\n", "TAS=1\nQERR=3"),
        (b"disk1\nTAS=1\n\0\0SWP=1\n", "TAS=1\n"),
        (b"disk1\n\nTAS=1\n", "TAS=1"),
        (b"disk1\n", ""),
        (b"disk1", ""),
        (b"disk1\nT\xff\n", "T\ufffd"),
        (b"disk11\nTAS=1\n", None),
        (b"disk\nTAS=1\n", None),
        (b"\0\0\0\0\0\0TAS=1\n", None),
        (b"", None),
    ],
)
def test_decode(data: bytes, text: str | None) -> None:
    assert decode("disk1", data) == text

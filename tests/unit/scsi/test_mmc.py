from __future__ import annotations

import pytest

from scstfs.scsi.mmc import read_toc
from scstfs.scsi.sense import CheckCondition

BLOCKS = 0x600


@pytest.mark.parametrize(
    ("cdb", "data"),
    [
        # track 1, and the lead-out at the end of the medium
        (
            "43 00 00 000000 00 0100 00",
            "0012 01 01 0014 01 00 00000000 0014 aa 00 00000600",
        ),
        ("43 02 00 000000 01 0100 00", "0012 01 01 0014 01 00 00000000 0014 aa 00 00000600"),
        ("43 00 00 000000 aa 0100 00", "000a 01 01 0014 aa 00 00000600"),
        ("43 00 01 000000 00 0100 00", "000a 01 01 0014 01 00 00000000"),  # sessions
        ("43 00 00 000000 00 0000 00", ""),
    ],
)
def test_table_of_contents(cdb: str, data: str) -> None:
    assert read_toc(bytes.fromhex(cdb), BLOCKS) == bytes.fromhex(data)


@pytest.mark.parametrize(
    ("cdb", "sense"),
    [
        ("43 00 02 000000 00 0100 00", "240000 cd0002"),  # full table of contents
        ("43 00 04 000000 00 0100 00", "240000 cd0002"),
        ("43 00 00 000000 02 0100 00", "240000 c00006"),  # track 2
        ("43 00 01 000000 01 0100 00", "240000 c00006"),
    ],
)
def test_refusing(cdb: str, sense: str) -> None:
    with pytest.raises(CheckCondition) as refused:
        read_toc(bytes.fromhex(cdb), BLOCKS)
    assert refused.value.sense.encode()[12:] == bytes.fromhex(sense)

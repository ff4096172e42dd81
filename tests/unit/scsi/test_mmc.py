from __future__ import annotations

from collections.abc import Callable

import pytest

from scstfs.scsi import mmc
from scstfs.scsi.mmc import MediaEvent, Profile, read_toc
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
        ("43 00 00 000000 aa 0100 00", "000a 01 01 0014 aa 00 00000600"),
        ("43 00 01 000000 00 0100 00", "000a 01 01 0014 01 00 00000000"),  # sessions
        ("43 00 00 000000 00 0000 00", ""),
        # MSF: block 0 is after two seconds, block 1536 is (1536 + 150) / 75 = 22 s and 36 frames
        ("43 02 00 000000 01 0100 00", "0012 01 01 0014 01 00 00000200 0014 aa 00 00001624"),
        ("43 02 00 000000 aa 0100 00", "000a 01 01 0014 aa 00 00001624"),
        ("43 02 01 000000 00 0100 00", "000a 01 01 0014 01 00 00000200"),
    ],
)
def test_table_of_contents(cdb: str, data: str) -> None:
    assert read_toc(bytes.fromhex(cdb), BLOCKS) == bytes.fromhex(data)


@pytest.mark.parametrize(
    ("blocks", "address"),
    [
        (74, "0000024a"),
        (4350, "00010000"),
        (449_849, "00633b4a"),
        (449_850, "00ff3b4a"),
        (1 << 31, "00ff3b4a"),
    ],
)
def test_minutes_seconds_and_frames(blocks: int, address: str) -> None:
    toc = read_toc(bytes.fromhex("43 02 00 000000 aa 0100 00"), blocks)
    assert toc[8:].hex() == address


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


PROFILES_CD, PROFILES_DVD = "0000 03 08 00100000 00080100", "0000 03 08 00100100 00080000"
NO_PROFILE = "0000 03 08 00100000 00080000"
CORE, REMOVABLE = "0001 03 04 00000001", "0003 03 04 21000000"
READABLE, NOT_READABLE = "0010 01 08 00000800 0001 0000", "0010 00 08 00000800 0001 0000"


@pytest.mark.parametrize(
    ("cdb", "blocks", "head", "features"),
    [
        ("46 00 0000 000000 0100 00", 1536, "0008", [PROFILES_CD, CORE, REMOVABLE, READABLE]),
        ("46 00 0000 000000 0100 00", 449_849, "0008", [PROFILES_CD, CORE, REMOVABLE, READABLE]),
        ("46 00 0000 000000 0100 00", 449_850, "0010", [PROFILES_DVD, CORE, REMOVABLE, READABLE]),
        ("46 00 0000 000000 0100 00", 0, "0000", [NO_PROFILE, CORE, REMOVABLE, NOT_READABLE]),
        ("46 01 0000 000000 0100 00", 0, "0000", [NO_PROFILE, CORE, REMOVABLE]),
        ("46 01 0002 000000 0100 00", 1536, "0008", [REMOVABLE, READABLE]),
        ("46 00 0011 000000 0100 00", 1536, "0008", []),
        ("46 02 0003 000000 0100 00", 1536, "0008", [REMOVABLE]),
        ("46 02 0010 000000 0100 00", 0, "0000", [NOT_READABLE]),
        ("46 02 001f 000000 0100 00", 1536, "0008", []),
    ],
)
def test_configuration(cdb: str, blocks: int, head: str, features: list[str]) -> None:
    body = bytes.fromhex("0000" + head + "".join(features))
    found = mmc.get_configuration(bytes.fromhex(cdb), blocks)
    assert found == len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize(
    ("blocks", "profile"),
    [(0, Profile.NONE), (1, Profile.CD_ROM), (350_000, Profile.CD_ROM), (1 << 21, Profile.DVD_ROM)],
)
def test_what_the_drive_is(blocks: int, profile: Profile) -> None:
    assert mmc.current_profile(blocks) is profile


@pytest.mark.parametrize(
    ("event", "present", "data"),
    [
        (MediaEvent.NO_CHANGE, True, "0006 04 10 00020000"),
        (MediaEvent.NO_CHANGE, False, "0006 04 10 00000000"),
        (MediaEvent.NEW_MEDIA, True, "0006 04 10 02020000"),
        (MediaEvent.REMOVAL, False, "0006 04 10 03000000"),
        (None, True, "0002 80 10"),
    ],
)
def test_events(event: MediaEvent | None, present: bool, data: str) -> None:
    assert mmc.event_status(event, present=present) == bytes.fromhex(data)


def test_which_events_are_wanted() -> None:
    assert mmc.wants_media_event(bytes.fromhex("4a 01 0000 10 0000 0008 00"))
    assert mmc.wants_media_event(bytes.fromhex("4a 01 0000 ff 0000 0008 00"))
    assert not mmc.wants_media_event(bytes.fromhex("4a 01 0000 6e 0000 0008 00"))
    with pytest.raises(CheckCondition) as refused:
        mmc.wants_media_event(bytes.fromhex("4a 00 0000 10 0000 0008 00"))
    assert refused.value.sense.encode()[12:] == bytes.fromhex("240000 c80001")


def test_there_is_no_changer() -> None:
    assert mmc.mechanism_status() == bytes.fromhex("00 00 000000 01 0000")


def test_a_disc_that_can_not_be_written() -> None:
    data = mmc.read_disc_information(bytes.fromhex("51 00 0000000000 0022 00"))
    assert data == bytes.fromhex("0020 0e 01 01 01 01 20" + "00" * 8 + "ff" * 8 + "00" * 10)


@pytest.mark.parametrize(
    ("function", "cdb", "sense"),
    [
        (lambda cdb: mmc.get_configuration(cdb, 1), "46 03 0000 000000 0100 00", "240000 c90001"),
        (mmc.read_disc_information, "51 01 0000000000 0022 00", "240000 ca0001"),
    ],
)
def test_refusing_other_forms(function: Callable[[bytes], bytes], cdb: str, sense: str) -> None:
    with pytest.raises(CheckCondition) as refused:
        function(bytes.fromhex(cdb))
    assert refused.value.sense.encode()[12:] == bytes.fromhex(sense)

from __future__ import annotations

import pytest

from scstfs.scsi.control import ControlValues
from scstfs.scsi.modes import Geometry, ModePages, SetCache, SetControl
from scstfs.scsi.opcodes import DeviceType
from scstfs.scsi.sense import CheckCondition

DISK = Geometry(131072, 512)
SENSE_6, SENSE_10 = 0x1A, 0x5A


def sense_6(pages: ModePages, page: int, flags: int = 8, subpage: int = 0) -> str:
    cdb = bytes((SENSE_6, flags, page, subpage, 255, 0))
    return pages.sense(cdb, DISK, read_only=False)[4:].hex()


def refusal(refused: CheckCondition) -> str:
    return refused.sense.encode()[12:].hex(" ", 3)


def test_header_and_block_descriptor() -> None:
    pages = ModePages()
    six = pages.sense(bytes((SENSE_6, 0, 0x0A, 0, 255, 0)), DISK, read_only=True)
    # length, disk, WP and DPOFUA, 8 bytes of descriptor: 131072 blocks of 512
    assert six[:12] == bytes.fromhex("17 00 90 08 00020000 00000200")
    ten = pages.sense(bytes((SENSE_10, 0, 0x0A, 0, 0, 0, 0, 1, 0, 0)), DISK, read_only=False)
    assert ten[:16] == bytes.fromhex("001a 00 10 00 00 0008 00020000 00000200")
    large = Geometry(1 << 33, 4096)
    six = pages.sense(bytes((SENSE_6, 0, 0x0A, 0, 255, 0)), large, read_only=False)
    assert six[4:12] == bytes.fromhex("ffffffff 00001000")


def test_a_cd_rom_has_other_pages_and_no_dpofua() -> None:
    pages = ModePages(device_type=DeviceType.CD_ROM)
    cdb = bytes((SENSE_6, 8, 0x3F, 0, 255, 0))
    data = pages.sense(cdb, Geometry(1536, 2048), read_only=True)
    assert data[:4] == bytes.fromhex("3d 05 80 00")
    assert data[4:].hex().startswith("010ac001")
    assert len(data) == 62
    codes = []
    offset = 4
    while offset < len(data):
        codes.append(data[offset] & 0x3F)
        offset += 2 + data[offset + 1]
    assert codes == [0x01, 0x0A, 0x1C, 0x2A]


@pytest.mark.parametrize(
    ("page_control", "locked", "expected"),
    [
        (0x00, False, "2a14 1b00 1000 2100 2c19 0000 0800 2c19 000000000000"),
        (0x00, True, "2a14 1b00 1000 2300 2c19 0000 0800 2c19 000000000000"),
        (0x80, False, "2a14 1b00 1000 2100 2c19 0000 0800 2c19 000000000000"),
        (0x40, True, "2a14 0000 0000 0000 0000 0000 0000 0000 000000000000"),
    ],
)
def test_what_the_drive_can_do(page_control: int, locked: bool, expected: str) -> None:
    pages = ModePages(device_type=DeviceType.CD_ROM)
    cdb = bytes((SENSE_6, 8, page_control | 0x2A, 0, 255, 0))
    data = pages.sense(cdb, Geometry(1536, 2048, locked=locked), read_only=True)
    assert data[4:] == bytes.fromhex(expected)


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (0x01, "010ac001000000000100ffff"),
        (0x02, "020e8080000a00000000000000000000"),
        (0x03, "031600000000000000000038020000000000000040000000"),
        (0x04, "041600000aff00000000000000000000000000003a980000"),
        (0x08, "8812040000000000000000008014000000000000"),
        (0x0A, "8a0a2010000000000000024b"),
        (0x1C, "1c0a08000000000000000000"),
        (0x48, "8812040000000000000000000000000000000000"),  # changeable: WCE
        (0x4A, "8a0a1cf60840000000000000"),
        (0x41, "010a00000000000000000000"),
    ],
)
def test_pages(page: int, expected: str) -> None:
    assert sense_6(ModePages(), page) == expected


def test_caching_page_of_other_caches() -> None:
    through = ModePages(write_through=True)
    assert sense_6(through, 0x08)[:6] == "881200"
    assert sense_6(through, 0x88)[:6] == "881204"  # the default is a cache
    assert sense_6(through, 0xC8)[:6] == "881204"  # and so are the saved values
    volatile = ModePages(nv_cache=True)
    assert sense_6(volatile, 0x08)[:6] == "081200"  # nothing to save
    assert sense_6(volatile, 0x48)[:6] == "081200"
    assert sense_6(ModePages(saving=False), 0x08)[:6] == "081204"


@pytest.mark.parametrize(
    ("pages", "page", "subpage", "sense"),
    [
        (ModePages(), 0x0A, 1, "240000 c00003"),
        (ModePages(), 0x3F, 0xFF, "240000 c00003"),
        (ModePages(), 0x2A, 0, "240000 c80002"),
        (ModePages(device_type=DeviceType.CD_ROM), 0x08, 0, "240000 c80002"),
        (ModePages(saving=False), 0xCA, 0, "390000 000000"),
        (ModePages(saving=False), 0xCA, 1, "390000 000000"),
    ],
)
def test_refusing_to_tell(pages: ModePages, page: int, subpage: int, sense: str) -> None:
    with pytest.raises(CheckCondition) as refused:
        sense_6(pages, page, subpage=subpage)
    assert refusal(refused.value) == sense


def test_no_room_no_answer() -> None:
    assert ModePages().sense(bytes((SENSE_6, 0, 0x2A, 1, 0, 0)), DISK, read_only=False) == b""


CACHE_ON = "0812 040000000000000000000000000000000000"
CACHE_OFF = "0812 000000000000000000000000000000000000"
# TST 1, D_SENSE; unrestricted reordering
D_SENSE = "0a0a 2410 00000000 00000000"
WRONG_TST = "0a0a 0410 00000000 00000000"


def select(pages: ModePages, body: str, flags: int = 0x10, header: str = "00000000") -> str:
    """Take the steps of a MODE SELECT(6); returns what it answered."""
    cdb = bytes((0x15, flags, 0, 0, 0, 0))
    try:
        steps = pages.select(cdb, bytes.fromhex(header) + bytes.fromhex(body))
    except CheckCondition as refused:
        return refusal(refused)
    for step in steps:
        if pages.apply(step):
            pages.keep(step)
    return ""


def test_switching_the_cache() -> None:
    pages = ModePages()
    assert select(pages, CACHE_OFF) == ""
    assert pages.write_through
    assert not pages.saved_write_through
    assert select(pages, CACHE_ON) == ""
    assert not pages.write_through


def test_saving() -> None:
    pages = ModePages()
    assert select(pages, CACHE_OFF, flags=0x11) == ""
    assert pages.saved_write_through
    assert select(pages, D_SENSE, flags=0x11) == ""
    assert pages.saved.d_sense
    assert sense_6(pages, 0xCA) == "8a0a2410000000000000024b"


@pytest.mark.parametrize("pages", [ModePages(nv_cache=True), ModePages(fixed_cache=True)])
def test_a_cache_that_cannot_be_switched(pages: ModePages) -> None:
    assert select(pages, CACHE_OFF) == ""
    assert not pages.write_through


def test_a_block_descriptor_is_skipped() -> None:
    pages = ModePages()
    assert select(pages, "0002000000000200" + CACHE_OFF, header="00000008") == ""
    assert pages.write_through


def test_the_long_form() -> None:
    pages = ModePages()
    data = bytes.fromhex("0000 00 00 00 00 0000" + D_SENSE)
    steps = pages.select(bytes.fromhex("55 10 0000000000 0014 00"), data)
    assert steps == [SetControl(ControlValues(d_sense=1), save=False)]


@pytest.mark.parametrize(
    ("body", "flags", "header", "sense"),
    [
        (CACHE_ON, 0x00, "00000000", "240000 c00001"),  # PF
        (CACHE_ON, 0x10, "00000004", "260000 800003"),  # block descriptor length
        ("8812" + CACHE_ON[5:], 0x10, "00000000", "260000 8f0004"),  # PS
        ("0811" + CACHE_ON[5:], 0x10, "00000000", "260000 800005"),  # page length
        ("4a0a" + D_SENSE[5:], 0x10, "00000000", "260000 8e0004"),  # a subpage
        ("0a0b" + D_SENSE[5:], 0x10, "00000000", "260000 800005"),
        ("3902ffff", 0x10, "00000000", "260000 880004"),  # no such page
        (WRONG_TST, 0x10, "00000000", "260000 8d0006"),
        ("0a0a 2020 00000000 00000000", 0x10, "00000000", "260000 8c0007"),  # QUEUE_ALG 2
        ("0a0a 2014 00000000 00000000", 0x10, "00000000", "260000 890007"),  # QErr 2
    ],
)
def test_refusing(body: str, flags: int, header: str, sense: str) -> None:
    pages = ModePages()
    assert select(pages, body, flags, header) == sense
    assert (pages.current, pages.write_through) == (ControlValues(), False)


@pytest.mark.parametrize(
    "body", ["0a", "08", D_SENSE[:4], D_SENSE[:7], D_SENSE[:-2], CACHE_OFF[:7], CACHE_OFF[:-2]]
)
def test_a_page_that_the_list_cuts_off(body: str) -> None:
    pages = ModePages()
    assert select(pages, body) == "1a0000 000000"
    assert (pages.current, pages.write_through) == (ControlValues(), False)


@pytest.mark.parametrize(
    ("cdb", "size"), [("15 10 0000 03 00", 3), ("55 10 0000000000 0007 00", 7)]
)
def test_a_header_that_the_list_cuts_off(cdb: str, size: int) -> None:
    with pytest.raises(CheckCondition) as refused:
        ModePages().select(bytes.fromhex(cdb), bytes(size))
    assert refusal(refused.value) == "1a0000 000000"


def test_a_block_descriptor_that_the_list_cuts_off() -> None:
    assert select(ModePages(), "00020000000002", header="00000008") == "1a0000 000000"


def test_refusing_to_save() -> None:
    assert select(ModePages(saving=False), CACHE_OFF, 0x11) == "240000 c80001"
    assert select(ModePages(nv_cache=True), CACHE_OFF, 0x11) == "240000 c80001"
    assert select(ModePages(saving=False), D_SENSE, 0x11) == "240000 c90002"


def test_in_a_cluster_nothing_can_be_set() -> None:
    assert select(ModePages(cluster_mode=True), D_SENSE) == "240000 000000"
    assert sense_6(ModePages(cluster_mode=True), 0x4A) == "8a0a00000000000000000000"


def test_nothing_is_good() -> None:
    pages = ModePages()
    assert pages.select(bytes((0x15, 0, 0, 0, 0, 0)), b"") == []
    assert select(pages, "") == ""


@pytest.mark.parametrize("bodies", [(D_SENSE, CACHE_OFF), (CACHE_OFF, D_SENSE)])
@pytest.mark.parametrize("flags", [0x10, 0x11])
def test_several_pages(bodies: tuple[str, str], flags: int) -> None:
    pages = ModePages()
    assert select(pages, "".join(bodies), flags) == ""
    assert pages.current.d_sense
    assert pages.write_through
    assert pages.saved.d_sense == pages.saved_write_through == flags & 1


def test_several_pages_in_the_long_form() -> None:
    steps = ModePages().select(
        bytes.fromhex("55 10 0000000000 0030 00"),
        bytes.fromhex("0000 00 00 00 00 0008 0002000000000200" + CACHE_OFF + D_SENSE),
    )
    assert steps == [
        SetCache(write_through=True, save=False),
        SetControl(ControlValues(d_sense=1), save=False),
    ]


def test_the_last_one_of_a_page_counts() -> None:
    pages = ModePages()
    assert select(pages, CACHE_OFF + CACHE_ON + CACHE_OFF) == ""
    assert pages.write_through


@pytest.mark.parametrize(
    ("body", "sense"),
    [
        (D_SENSE + "8812" + CACHE_OFF[5:], "260000 8f0010"),
        (CACHE_OFF + WRONG_TST, "260000 8d001a"),
        (WRONG_TST + CACHE_OFF, "260000 8d0006"),
        (CACHE_OFF + "3902ffff", "260000 880018"),
        (CACHE_OFF + D_SENSE[:-2], "1a0000 000000"),
        (CACHE_OFF + "0a", "1a0000 000000"),
    ],
)
def test_a_mistake_anywhere_and_nothing_is_done(body: str, sense: str) -> None:
    pages = ModePages()
    assert select(pages, body) == sense
    assert (pages.current, pages.write_through) == (ControlValues(), False)


def test_taking_back() -> None:
    pages = ModePages()
    before = pages.values()
    assert pages.apply(SetControl(ControlValues(swp=1), save=True))
    assert not pages.apply(SetControl(ControlValues(swp=1), save=True))  # no change, no save
    pages.apply(SetCache(write_through=True, save=False))
    pages.revert(before)
    assert pages.values() == (ControlValues(), False)
    assert pages.saved == ControlValues()


def test_reset() -> None:
    pages = ModePages(write_through=True, saved=ControlValues(tas=1))
    pages.current = ControlValues(swp=1)
    pages.reset()
    assert pages.current == ControlValues(tas=1)
    assert not pages.write_through


def test_saved_tmf_only_is_told_wrong() -> None:
    pages = ModePages(saved=ControlValues(tmf_only=1, dpicz=1))
    assert sense_6(pages, 0xCA) == "8a0a2810000000000000024b"

from __future__ import annotations

import pytest

from scstfs.scsi.control import ControlValues
from scstfs.scsi.mode_text import decode, encode
from scstfs.scsi.modes import ModePages

EVERYTHING = ControlValues(1, 3, 1, 1, 1, 1, 0)


def test_only_what_is_not_the_default_is_written() -> None:
    assert encode(ModePages()) == ""
    pages = ModePages(current=EVERYTHING, write_through=True)
    assert encode(pages) == (
        "TAS=1\nQERR=3\nTMF_ONLY=1\nSWP=1\nD_SENSE=1\nDPICZ=1\nQUEUE_ALG=0\nWRITE_THROUGH=1\n"
    )
    assert encode(ModePages(default=EVERYTHING, current=EVERYTHING)) == ""


def test_reading_sets_current_and_saved() -> None:
    pages = ModePages()
    assert decode(pages, encode(ModePages(current=EVERYTHING, write_through=True)))
    assert pages.current == EVERYTHING
    assert pages.saved == EVERYTHING
    assert pages.write_through
    assert pages.saved_write_through


@pytest.mark.parametrize(
    ("text", "good", "swp", "tas", "through"),
    [
        ("SWP=1", True, 1, 0, False),  # the last byte of the file is lost
        ("swp = 0x1 ; tas 01\n", True, 1, 1, False),  # the words are the kernel's
        ("SWP=1\n\nTAS=1\n", True, 1, 0, False),  # an empty line ends it
        ("SWP=1\n \nTAS=1\n", True, 1, 0, False),
        ("SWP=1\0TAS=1\n", True, 1, 0, False),
        ("WRITE_THROUGH=1\nSWP=1\n", False, 0, 0, True),  # control values come first
        ("SWP=1\nNEW=1\nTAS=1\n", False, 1, 0, False),
        ("SWP=1\nTAS=2\n", False, 1, 0, False),
        ("SWP=1\nQERR=2\nTAS=1\n", False, 1, 0, False),
        ("SWP=1\nTAS\n", False, 1, 0, False),
        ("SWP=1 1\n", False, 0, 0, False),
        ("SWP=-1\n", False, 0, 0, False),
        ("SWP=08\n", False, 0, 0, False),
        ("SWP=0x\n", False, 0, 0, False),
        ("SWP=18446744073709551616\n", False, 0, 0, False),
        ("WRITE_THROUGH=2\n", False, 0, 0, False),
        ("", True, 0, 0, False),
    ],
)
def test_reading_stops_at_what_it_does_not_understand(
    text: str, good: bool, swp: int, tas: int, through: bool
) -> None:
    pages = ModePages()
    assert decode(pages, text) == good
    assert (pages.current.swp, pages.current.tas, pages.write_through) == (swp, tas, through)
    assert pages.saved == pages.current

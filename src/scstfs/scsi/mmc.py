"""The multi-media commands of a drive that reads (MMC-6): an image is a disc with one data track.

An image whose addresses fit into minutes, seconds and frames is a CD, a larger one a DVD.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Final, NamedTuple

from scstfs.scsi.sense import invalid_field_in_cdb

_BLOCK_SIZE: Final = 2048

# READ TOC

_LEAD_OUT: Final = 0xAA
# ADDR 1 (current position in the Q sub-channel), CONTROL 4 (data track, recorded uninterrupted).
_DATA_TRACK: Final = 0x14
_SESSION_FORMAT: Final = 0x01
_MSF: Final = 0x02
_FRAMES: Final = 75
_SECONDS: Final = 60
#: Where block 0 is: after two seconds.
_PREGAP: Final = 2 * _FRAMES
_LONGEST_CD: Final = 100 * _SECONDS * _FRAMES - 1 - _PREGAP
_BEYOND_MSF: Final = bytes((0, 0xFF, 59, 74))


def read_toc(cdb: bytes, blocks: int) -> bytes:
    """Return the table of contents for a 10-byte READ TOC `cdb` (MMC-6 6.25), to be cut.

    `blocks` is the size of the medium.  Raises CheckCondition.
    """
    track, wanted = cdb[6], cdb[2] & 0x0F
    if wanted & 0x0E:
        raise invalid_field_in_cdb(2, 5)
    if (track and wanted == _SESSION_FORMAT) or (track > 1 and track != _LEAD_OUT):
        raise invalid_field_in_cdb(6)
    if not any(cdb[7:9]):
        return b""
    address = _minutes if cdb[1] & _MSF else _block
    body = bytes((0x01, 0x01))
    if track <= 1:
        body += bytes((0, _DATA_TRACK, 0x01, 0)) + address(0)
    if wanted != _SESSION_FORMAT:
        body += bytes((0, _DATA_TRACK, _LEAD_OUT, 0)) + address(blocks)
    return len(body).to_bytes(2, "big") + body


def _block(lba: int) -> bytes:
    return (lba & 0xFFFFFFFF).to_bytes(4, "big")


def _minutes(lba: int) -> bytes:
    """Return the MSF form of an address (MMC-6 4.2.4.3): minute, second, frame."""
    if lba > _LONGEST_CD:
        return _BEYOND_MSF
    seconds, frame = divmod(lba + _PREGAP, _FRAMES)
    return bytes((0, *divmod(seconds, _SECONDS), frame))


# GET CONFIGURATION


class Profile(enum.IntEnum):
    """Profiles: a drive with its present medium (MMC-6 5.3.1)."""

    NONE = 0x0000
    CD_ROM = 0x0008
    DVD_ROM = 0x0010


def current_profile(blocks: int) -> Profile:
    """Return the profile for a medium of `blocks` blocks; 0 stands for an empty drive."""
    if not blocks:
        return Profile.NONE
    return Profile.CD_ROM if blocks <= _LONGEST_CD else Profile.DVD_ROM


class _Feature(NamedTuple):
    """A feature descriptor (MMC-6 5.2.2)."""

    code: int
    persistent: bool
    current: bool
    data: bytes

    def encode(self) -> bytes:
        flags = self.persistent << 1 | self.current
        return self.code.to_bytes(2, "big") + bytes((flags, len(self.data))) + self.data


class _Requested(enum.IntEnum):
    """The RT field: the features to return."""

    ALL = 0
    CURRENT = 1
    ONE = 2


_SCSI_INTERFACE: Final = (1).to_bytes(4, "big")
# A tray, of which PREVENT ALLOW MEDIUM REMOVAL keeps the medium; initiators cannot open it.
_TRAY: Final = 0x20
_LOCKS: Final = 0x01


def _features(profile: Profile) -> Iterator[_Feature]:
    """The features, in ascending order; those that need a medium are current with one."""
    profiles = b"".join(
        known.to_bytes(2, "big") + bytes((known is profile, 0))
        for known in (Profile.DVD_ROM, Profile.CD_ROM)
    )
    yield _Feature(0x0000, True, True, profiles)  # profile list
    yield _Feature(0x0001, True, True, _SCSI_INTERFACE)  # core
    yield _Feature(0x0003, True, True, bytes((_TRAY | _LOCKS, 0, 0, 0)))  # removable medium
    # Random readable: a block at a time can be read.
    readable = _BLOCK_SIZE.to_bytes(4, "big") + (1).to_bytes(2, "big") + bytes(2)
    yield _Feature(0x0010, False, profile is not Profile.NONE, readable)


def get_configuration(cdb: bytes, blocks: int) -> bytes:
    """Return profile and features for a 10-byte GET CONFIGURATION `cdb` (MMC-6 6.6), to be cut.

    `blocks` is the size of the medium, 0 without one.  Raises CheckCondition.
    """
    requested, first = cdb[1] & 0x03, int.from_bytes(cdb[2:4], "big")
    if requested not in tuple(_Requested):
        raise invalid_field_in_cdb(1, 1)
    profile = current_profile(blocks)
    body = bytes(2) + profile.to_bytes(2, "big")
    for feature in _features(profile):
        if requested == _Requested.ONE:
            wanted = feature.code == first
        else:
            wanted = feature.code >= first and (feature.current or requested == _Requested.ALL)
        if wanted:
            body += feature.encode()
    return len(body).to_bytes(4, "big") + body


# GET EVENT STATUS NOTIFICATION


class MediaEvent(enum.IntEnum):
    """What happened to the medium (MMC-6 6.7.3.6)."""

    NO_CHANGE = 0
    NEW_MEDIA = 2
    REMOVAL = 3


#: Bytes before the event itself.
EVENT_HEADER_LENGTH: Final = 4
_POLLED: Final = 0x01
_MEDIA_CLASS: Final = 4
_SUPPORTED_CLASSES: Final = 1 << _MEDIA_CLASS
_NO_EVENT_AVAILABLE: Final = 0x80
_MEDIA_PRESENT: Final = 0x02


def wants_media_event(cdb: bytes) -> bool:
    """Return whether a GET EVENT STATUS NOTIFICATION asks for events of the medium.

    Raises CheckCondition for one that wants to wait for an event (asynchronous, optional).
    """
    if not cdb[1] & _POLLED:
        raise invalid_field_in_cdb(1, 0)
    return bool(cdb[4] & _SUPPORTED_CLASSES)


def event_status(event: MediaEvent | None, *, present: bool) -> bytes:
    """Return the data of GET EVENT STATUS NOTIFICATION (MMC-6 6.7), to be cut.

    `event` is None if no supported class was requested, `present` whether there is a medium.
    """
    if event is None:
        header, body = _NO_EVENT_AVAILABLE, b""
    else:
        header, body = _MEDIA_CLASS, bytes((event, _MEDIA_PRESENT if present else 0, 0, 0))
    # The length does not count itself.
    return (len(body) + 2).to_bytes(2, "big") + bytes((header, _SUPPORTED_CLASSES)) + body


# MECHANISM STATUS, READ DISC INFORMATION, and the mode page about the drive

_ONE_SLOT: Final = 1


def mechanism_status() -> bytes:
    """Return the data of MECHANISM STATUS (MMC-6 6.10), to be cut: idle, closed, no changer."""
    return bytes((0, 0, 0, 0, 0, _ONE_SLOT, 0, 0))


_DISC_INFORMATION_LENGTH: Final = 34
# The last session is complete, and the disc finalised.
_COMPLETE: Final = 0x0E
_UNRESTRICTED_USE: Final = 0x20


def read_disc_information(cdb: bytes) -> bytes:
    """Return the data of READ DISC INFORMATION (MMC-6 6.22), to be cut: one session, one track.

    Raises CheckCondition for anything but the standard information.
    """
    if cdb[1] & 0x07:
        raise invalid_field_in_cdb(1, 2)
    out = bytearray(_DISC_INFORMATION_LENGTH)
    out[0:2] = (len(out) - 2).to_bytes(2, "big")
    out[2] = _COMPLETE
    # First track; sessions; first and last track of the last session.
    out[3:7] = bytes((1, 1, 1, 1))
    out[7] = _UNRESTRICTED_USE
    # There is no next session: neither its lead-in nor the last lead-out has an address.
    out[16:24] = b"\xff" * 8
    return bytes(out)


_CAPABILITIES: Final = 0x2A
_CAPABILITIES_LENGTH: Final = 20
# CD-R, CD-RW, DVD-ROM and DVD-R can be read; sectors of mode 2 form 1.
_READS: Final = 0x1B
_MODE_2_FORM_1: Final = 0x10
_LOCKED: Final = 0x02
_KIBIBYTES_OF_BUFFER: Final = 2048
# In 1000 bytes a second: about 64 times that of a CD, or 8 times that of a DVD.
_SPEED: Final = 11289


def capabilities_page(locked: bool) -> bytes:
    """Return mode page 2Ah, CD/DVD Capabilities and Mechanical Status (MMC-3 5.5.10).

    `locked` is whether removal of the medium is prevented.
    """
    out = bytearray(2 + _CAPABILITIES_LENGTH)
    out[0:2] = bytes((_CAPABILITIES, _CAPABILITIES_LENGTH))
    out[2] = _READS
    out[4] = _MODE_2_FORM_1
    out[6] = _TRAY | _LOCKS | (_LOCKED if locked else 0)
    out[8:10] = out[14:16] = _SPEED.to_bytes(2, "big")
    out[12:14] = _KIBIBYTES_OF_BUFFER.to_bytes(2, "big")
    return bytes(out)

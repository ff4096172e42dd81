"""The identification attributes of a virtual device, and which of them a user has set."""

from __future__ import annotations

from typing import Final

from scstfs.scsi.identity import T10_DEV_ID_LENGTH, Identity, default_identity
from scstfs.sysfs.errors import invalid
from scstfs.sysfs.text import BLANKS, cut_at_nul, encode

#: Attributes that hold text, and the most bytes of each.
TEXT_LIMITS: Final = {
    "t10_vend_id": 8,
    "vend_specific_id": 128,
    "prod_id": 16,
    "prod_rev_lvl": 4,
    "t10_dev_id": T10_DEV_ID_LENGTH,
    "usn": 20,
    "scsi_device_name": 256,
    "inq_vend_specific": 160,
}

_NAA_FIRST_DIGITS: Final = {0: "", 16: "235", 32: "6"}
_EUI64_LENGTHS: Final = (0, 16, 24, 32)


#: The attribute that may hold any bytes.
_BYTES: Final = "inq_vend_specific"

#: Attributes whose length is taken over the whole write, not over its first line.
_WHOLE_WRITE: Final = frozenset({"t10_dev_id", "usn"})


def parse_text(name: str, data: bytes) -> bytes:
    """The text that a write to attribute ``name`` sets; raises SysfsError if it is too long.

    A NUL counts as a byte for the limit and ends the text, except in vendor specific bytes.
    """
    line = data.partition(b"\n")[0]
    measured = data.removesuffix(b"\n") if name in _WHOLE_WRITE else line
    if len(measured) > TEXT_LIMITS[name]:
        raise invalid(f"{name} is too long (max {TEXT_LIMITS[name]} characters)")
    return line if name == _BYTES else cut_at_nul(line)


def parse_naa_id(data: bytes) -> bytes:
    """The number that a write to ``naa_id`` sets, empty for none; raises SysfsError."""
    digits = _hex_digits(data)
    first = _NAA_FIRST_DIGITS.get(len(digits))
    # SCST checks the byte behind 0x, even if it is the end of the line.
    blank = not digits and data.lstrip(BLANKS) not in (b"", b"0x")
    if blank or first is None or (digits and digits[0] not in first):
        raise invalid("an NAA identifier has 16 digits from 2, 3 or 5 on, or 32 from 6 on")
    return bytes.fromhex(digits)


def parse_eui64_id(data: bytes) -> bytes:
    """The number that a write to ``eui64_id`` sets, empty for none; raises SysfsError."""
    digits = _hex_digits(data)
    if len(digits) not in _EUI64_LENGTHS:
        raise invalid("an EUI-64 identifier has 16, 24 or 32 digits")
    return bytes.fromhex(digits)


def _hex_digits(data: bytes) -> str:
    text = data.strip(BLANKS).decode("ascii", "replace")
    digits = text.removeprefix("0x").lower()
    if not all(digit in "0123456789abcdef" for digit in digits):
        raise invalid(f"{text!r} is not a hexadecimal number")
    return digits


class IdentityAttributes:
    """Values as the tree shows and INQUIRY uses them."""

    def __init__(self, name: str, setup_id: int, vendor: bytes) -> None:
        made_up = default_identity(encode(name), setup_id, vendor)
        self._values: dict[str, bytes] = {
            field: getattr(made_up, field) for field in Identity.__slots__
        }
        self._written: set[str] = set()

    def get(self, name: str) -> bytes:
        """The value of one attribute."""
        return self._values[name]

    def was_set(self, name: str) -> bool:
        """Whether the attribute was written, even with an empty value."""
        return name in self._written

    def set(self, name: str, value: bytes) -> None:
        """Change one attribute."""
        self._values[name] = value
        self._written.add(name)

    def as_identity(self) -> Identity:
        """All values for INQUIRY."""
        return Identity(**self._values)

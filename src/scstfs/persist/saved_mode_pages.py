"""The file format of saved mode pages (``vdev_mode_pages/NAME``).

The first line is the device's name and doubles as the signature; ``KEY=value`` lines follow, one
for each setting that differs from its default.
"""

from __future__ import annotations


def encode(device_name: str, text: str) -> bytes:
    """The file's bytes."""
    return _name(device_name) + b"\n" + text.encode()


def _name(device_name: str) -> bytes:
    # Names need not be UTF-8.
    return device_name.encode("utf-8", "surrogateescape")


def decode(device_name: str, data: bytes) -> str | None:
    """The ``KEY=value`` lines; None if the file is not this device's.

    Like SCST this never sees the file's last byte (normally the last line's newline).
    """
    name, _, rest = data.partition(b"\n")
    if name != _name(device_name):
        return None
    return rest[:-1].partition(b"\0")[0].lstrip(b"\n").decode("ascii", "replace")

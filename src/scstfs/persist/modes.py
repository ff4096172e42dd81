"""The file format of saved mode pages (``vdev_mode_pages/NAME``).

The first line is the device's name and doubles as the signature; ``KEY=value`` lines follow, one
for each setting that differs from its default.
"""

from __future__ import annotations


def encode(device_name: str, text: str) -> bytes:
    """The file's bytes."""
    return f"{device_name}\n{text}".encode()


def decode(device_name: str, data: bytes) -> str | None:
    """The ``KEY=value`` lines; None if the file is not this device's.

    Like SCST this never sees the file's last byte (normally the last line's newline).
    """
    name, _, rest = data.partition(b"\n")
    if name != device_name.encode():
        return None
    return rest[:-1].partition(b"\0")[0].lstrip(b"\n").decode("ascii", "replace")

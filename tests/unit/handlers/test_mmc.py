from __future__ import annotations

from scstfs.handlers.media import change_medium
from tests.support.target import System


async def test_the_table_of_contents_ends_with_the_medium(system: System) -> None:
    image = system.directory / "image"
    image.write_bytes(bytes(100 * 2048))
    drive = await system.add("vcdrom", "disk")
    await change_medium(drive, str(image))
    drive.medium_changed = False
    result = await system.initiator().execute(b"\x43" + bytes(6) + b"\0\xff\0", data_in=255)
    assert len(result.data) == 20
    assert result.data[14] == 0xAA, "lead-out"
    assert int.from_bytes(result.data[16:20], "big") == 100

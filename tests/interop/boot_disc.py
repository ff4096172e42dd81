"""A CD-ROM that a BIOS and UEFI boot, from the sources in tests/data/boot."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path
from typing import Final

from tests.support.needs import need_programs

_SOURCES: Final = Path(__file__).parents[1] / "data" / "boot"
_SECTOR: Final = 512
_BLOCK: Final = 2048

#: Attributes of FAT directory entries.
_DIRECTORY, _ARCHIVE = 0x10, 0x20


def make_disc(disc: Path) -> None:
    """Make the image *disc*, with its parts in a directory next to it."""
    need_programs("as", "ld", "xorriso")
    files = disc.with_suffix(".files")
    files.mkdir()
    _assemble("bios", files / "bios", "--32", "elf_i386", "0x7c00")
    _assemble("efi", files / "efi", "--64", "elf_x86_64", "0")
    (files / "partition").write_bytes(fat12((files / "efi").read_bytes()))
    loaded = _BLOCK // _SECTOR
    subprocess.run(
        (
            *("xorriso", "-as", "mkisofs", "-quiet", "-o", str(disc)),
            *("-b", "bios", "-no-emul-boot", "-boot-load-size", str(loaded), "-boot-info-table"),
            *("-eltorito-alt-boot", "-e", "partition", "-no-emul-boot"),
            str(files),
        ),
        check=True,
        capture_output=True,
    )


def _assemble(name: str, program: Path, bits: str, emulation: str, base: str) -> None:
    """Make a flat binary that runs at address *base*."""
    made = program.with_suffix(".o")
    subprocess.run(("as", bits, "-o", str(made), str(_SOURCES / f"{name}.S")), check=True)
    link = ("ld", "-m", emulation, "-Ttext", base, "-e", "0", "--oformat", "binary")
    subprocess.run((*link, "-o", str(program), str(made)), check=True)
    made.unlink()


def fat12(program: bytes) -> bytes:
    """A FAT file system whose only file, \\EFI\\BOOT\\BOOTX64.EFI, is *program*."""
    sectors = 64
    boot = bytearray(_SECTOR)
    boot[0:11] = b"\xeb\x3c\x90scstfs  "
    # Bytes a sector, sectors a cluster, reserved sectors, FATs, root entries, sectors, medium,
    # sectors a FAT, geometry.
    layout = (_SECTOR, 1, 1, 1, 16, sectors, 0xF8, 1, 1, 1, 0, 0)
    struct.pack_into("<HBHBHHBHHHLL", boot, 11, *layout)
    boot[36:62] = b"\x80\0\x29" + bytes(4) + b"NO NAME    FAT12   "
    boot[510:] = b"\x55\xaa"
    count = -(-len(program) // _SECTOR)
    clusters = [0xFF8, 0xFFF, 0xFFF, 0xFFF, *range(5, 4 + count), 0xFFF, 0]
    pairs = zip(clusters[::2], clusters[1::2], strict=False)
    table = b"".join((one | other << 12).to_bytes(3, "little") for one, other in pairs)
    root = _entry(b"EFI", _DIRECTORY, 2)
    outer = _entry(b".", _DIRECTORY, 2) + _entry(b"..", _DIRECTORY, 0)
    outer += _entry(b"BOOT", _DIRECTORY, 3)
    inner = _entry(b".", _DIRECTORY, 3) + _entry(b"..", _DIRECTORY, 2)
    inner += _entry(b"BOOTX64 EFI", _ARCHIVE, 4, len(program))
    parts = (bytes(boot), table, root, outer, inner, program)
    return b"".join(map(_whole_sectors, parts)).ljust(sectors * _SECTOR, b"\0")


def _entry(name: bytes, attributes: int, cluster: int, size: int = 0) -> bytes:
    return name.ljust(11) + bytes((attributes,)) + bytes(14) + struct.pack("<HL", cluster, size)


def _whole_sectors(data: bytes) -> bytes:
    return data.ljust(-(-len(data) // _SECTOR) * _SECTOR, b"\0")

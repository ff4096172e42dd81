"""A machine boots from a CD-ROM drive over iSCSI: QEMU, with iPXE."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.interop.boot_disc import make_disc
from tests.interop.storage import TARGET, storage
from tests.support.needs import lacking, need_programs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

OVMF: Final = Path("/usr/share/OVMF")
CODE, VARIABLES = OVMF / "OVMF_CODE_4M.fd", OVMF / "OVMF_VARS_4M.fd"
ROMS: Final = (Path("/usr/lib/ipxe/qemu"), Path("/usr/share/qemu"))
IPXE: Final = Path("/usr/lib/ipxe/ipxe.efi")

PATIENCE: Final = 60.0
"""Seconds; a BIOS takes 6, UEFI 11, without hardware acceleration."""

HOST: Final = "10.0.2.2"
"""This machine, as machines on QEMU's user network see it."""

BOOTED: Final = 33
"""What the programs on the disc have QEMU exit with."""


def bios(directory: Path) -> list[str]:
    return ["-machine", "pc,graphics=off"]


def uefi(directory: Path) -> list[str]:
    # Newer firmware does not run iPXE's ROM, but starts a program on a disk.
    if not (CODE.exists() and VARIABLES.exists() and IPXE.exists()):
        lacking("needs OVMF and iPXE for UEFI")
    started = directory / "disk/EFI/BOOT/BOOTX64.EFI"
    started.parent.mkdir(parents=True)
    shutil.copy(IPXE, started)
    variables = directory / "variables"
    shutil.copy(VARIABLES, variables)
    flash = "if=pflash,format=raw"
    code = ("-drive", f"{flash},readonly=on,file={CODE}", "-drive", f"{flash},file={variables}")
    disk = f"if=none,id=disk,format=raw,file=fat:rw:{directory / 'disk'}"
    drive = ("-drive", disk, "-device", "ide-hd,drive=disk,bootindex=0")
    return ["-machine", "q35", *code, *drive]


@pytest.mark.parametrize(
    ("firmware", "message"), [(bios, "booted by a BIOS\n"), (uefi, "booted by UEFI\n")]
)
def test_a_machine_boots(
    firmware: Callable[[Path], list[str]], message: str, tmp_path: Path
) -> None:
    need_programs("qemu-system-x86_64")
    if not any((directory / "pxe-e1000.rom").exists() for directory in ROMS):
        lacking("needs iPXE's ROMs for QEMU")
    disc = tmp_path / "disc.iso"
    make_disc(disc)
    served_by_tftp = tmp_path / "tftp"
    served_by_tftp.mkdir()
    console, printed = tmp_path / "console", tmp_path / "printed"
    with storage(tmp_path) as served:
        served.add_device("vcdrom", "drive")
        served.write("devices/drive/filename", str(disc))
        served.add_target(TARGET, "drive")
        port = served.portal.rpartition(":")[2]
        # Without a host name some releases of iPXE have no name to log in with.
        name = "set initiator-iqn iqn.2005-03.org.example:machine"
        script = f"#!ipxe\n{name}\nsanboot iscsi:{HOST}::{port}:0:{TARGET}\n"
        (served_by_tftp / "script").write_text(script)
        done = subprocess.run(
            (
                *("qemu-system-x86_64", "-accel", "tcg", "-m", "256", "-nodefaults", "-no-reboot"),
                *("-display", "none", "-serial", f"file:{console}", *firmware(tmp_path)),
                *("-netdev", f"user,id=net,tftp={served_by_tftp},bootfile=script"),
                *("-device", "e1000,netdev=net,bootindex=1"),
                *("-chardev", f"file,id=printed,path={printed}"),
                *("-device", "isa-debugcon,iobase=0xe9,chardev=printed"),
                *("-device", "isa-debug-exit,iobase=0xf4,iosize=1"),
            ),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        seen = console.read_text(errors="replace")
        assert (done.returncode, printed.read_text()) == (BOOTED, message), done.stderr + seen
